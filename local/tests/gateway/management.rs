//! The `@connections` API, through the AWS SDK and by hand.

use aws_sdk_apigatewaymanagement::{Error, primitives::Blob};

use crate::{
    toys::echoes,
    world::{Setup, within},
};

const NEVER_WAS: &str = "JC1dgf9yoAMCK-g=";

/// Point 32.
#[tokio::test]
async fn a_push_after_the_client_left_is_gone() {
    let world = Setup::new().start().await;
    let (mut client, id) = world.client_with_id().await;
    client.0.close(None).await.unwrap();
    world.event("$disconnect").await;
    let sdk = world.sdk();
    let push = sdk.post_to_connection().connection_id(&id).data(Blob::new("hi"));
    assert!(push.send().await.unwrap_err().into_service_error().is_gone_exception());
    let get = sdk.get_connection().connection_id(&id).send().await;
    assert!(get.unwrap_err().into_service_error().is_gone_exception());
    let delete = sdk.delete_connection().connection_id(&id).send().await;
    assert!(delete.unwrap_err().into_service_error().is_gone_exception());

    let (status, head, body) = world.manage("POST", &format!("/local/@connections/{id}"), b"hi").await;
    assert_eq!((status, body.as_str()), (410, ""));
    assert!(head.contains("x-amzn-errortype: goneexception"), "{head}");
}

/// Point 33.
#[tokio::test]
async fn an_id_of_the_wrong_shape_is_a_bad_request_and_an_unknown_one_is_gone() {
    let world = Setup::new().start().await;
    let (status, head, body) = world.manage("POST", "/local/@connections/not-an-id", b"hi").await;
    assert_eq!((status, body.as_str()), (400, r#"{"message":"Invalid connectionId: not-an-id"}"#));
    assert!(head.contains("x-amzn-errortype: badrequestexception"), "{head}");
    assert!(matches!(world.post(NEVER_WAS, "hi").await, Err(Error::GoneException(_))));
    // Decoded once: a percent sign in the id is a percent sign.
    let twice = format!("/local/@connections/{}", NEVER_WAS.replace('=', "%253D"));
    assert_eq!(world.manage("GET", &twice, b"").await.0, 400);
    assert_eq!(world.manage("GET", "/local/@connections/%ff", b"").await.0, 400);
}

/// Point 34.
#[tokio::test]
async fn a_push_over_128_kb_is_refused_and_not_delivered() {
    let world = Setup::new().start().await;
    let (mut client, id) = world.client_with_id().await;
    let most = "x".repeat(128 * 1024);
    for bytes in [most.len() + 1, 3 * 1024 * 1024] {
        let refused = world.post(&id, &"x".repeat(bytes)).await;
        assert!(matches!(refused, Err(Error::PayloadTooLargeException(_))), "{refused:?}");
    }
    world.post(&id, &most).await.unwrap();
    assert_eq!(client.text().await, most);
}

/// Point 35.
#[tokio::test]
async fn another_stage_is_forbidden() {
    let world = Setup::new().start().await;
    let (status, head, body) = world.manage("GET", &format!("/prod/@connections/{NEVER_WAS}"), b"").await;
    assert_eq!((status, body.as_str()), (403, r#"{"message":"Forbidden"}"#));
    assert!(head.contains("x-amzn-errortype: forbiddenexception"), "{head}");
}

/// Point 36.
#[tokio::test]
async fn every_spelling_of_the_path_reaches_the_connection() {
    let world = Setup::new().start().await;
    let (mut client, id) = world.client_with_id().await;
    let encoded = id.replace('=', "%3D");
    for path in [
        format!("/local/@connections/{id}"),
        format!("/local/@connections/{encoded}"),
        format!("/local/%40connections/{encoded}"),
    ] {
        let (status, _, body) = world.manage("POST", &path, path.as_bytes()).await;
        assert_eq!((status, body.as_str()), (200, ""));
        assert_eq!(client.text().await, path);
    }
}

#[tokio::test]
async fn pushes_made_one_after_the_other_arrive_in_order() {
    let world = Setup::new().start().await;
    let (mut client, id) = world.client_with_id().await;
    for number in 0..20 {
        world.post(&id, &number.to_string()).await.unwrap();
    }
    for number in 0..20 {
        assert_eq!(client.text().await, number.to_string());
    }
}

/// Point 37.
#[tokio::test]
async fn a_client_that_does_not_read_is_limited_and_not_everybodys_problem() {
    let world = Setup::new().route("$default", echoes()).start().await;
    let (stuck, id) = world.client_with_id().await;
    let (sdk, data) = (world.sdk_with_attempts(1), Blob::new("x".repeat(64 * 1024)));
    let push = || sdk.post_to_connection().connection_id(&id).data(data.clone()).send();
    let refusal = loop {
        if let Err(refusal) = push().await {
            break refusal.into_service_error();
        }
    };
    assert!(refusal.is_limit_exceeded_exception(), "{refusal}");

    let before = world.management_calls();
    assert!(matches!(world.post(&id, "hi").await, Err(Error::LimitExceededException(_))));
    assert_eq!(world.management_calls() - before, 3, "the SDK tries again");

    assert_eq!(world.client().await.ask("hi").await, "hi");
    // And it can still be got rid of.
    sdk.delete_connection().connection_id(&id).send().await.unwrap();
    world.event("$disconnect").await;
    drop(stuck);
}

/// Point 38.
#[tokio::test]
async fn get_tells_who_is_there_and_when_it_was_last_heard_of() {
    let world = Setup::new().route("$default", echoes()).start().await;
    let client = world.client().await;
    let connect = world.event("$connect").await;
    let id = crate::world::connection_id(&connect);
    let sdk = world.sdk();
    let get = || async { sdk.get_connection().connection_id(&id).send().await.unwrap() };
    let first = get().await;
    let connected_at = first.connected_at().unwrap().to_millis().unwrap();
    assert_eq!(connect["requestContext"]["connectedAt"], connected_at);
    assert_eq!(first.identity().unwrap().source_ip(), Some("127.0.0.1"));
    let mut client = client;
    within(async {
        // As often as it takes for the clock to move on by a millisecond.
        loop {
            client.ask("hi").await;
            if get().await.last_active_at() > first.last_active_at() {
                break;
            }
        }
    })
    .await;
    assert_eq!(get().await.connected_at(), first.connected_at());
}
