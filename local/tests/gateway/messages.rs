//! Text frames: the route each takes and the reply that comes back.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    toys::{answers, echoes, fails, gated, never_answers, panics, says_its_route, toy},
    world::Setup,
};

/// The frame the gateway sends in its own name, byte for byte.
fn gateway_says(message: &str, context: &Value) -> String {
    let (connection, request) = (&context["connectionId"], &context["requestId"]);
    format!(r#"{{"message": "{message}", "connectionId":{connection}, "requestId":{request}}}"#)
}

/// Point 14.
#[tokio::test]
async fn a_message_event_is_the_frame_and_its_context() {
    let world = Setup::new().route("$default", echoes()).start().await;
    let mut client = world.client().await;
    let frame = "{ \"action\" : \"ünknown\",\n\t\"x\":1e400 } ";
    client.ask(frame).await;
    let event = world.event("$default").await;
    let keys: Vec<_> = event.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["body", "isBase64Encoded", "requestContext"]);
    assert_eq!(event["body"], frame);
    assert_eq!(event["requestContext"]["eventType"], "MESSAGE");
    assert_eq!(event["requestContext"]["messageId"].as_str().unwrap().len(), 16);
    assert_eq!(event["requestContext"].get("disconnectStatusCode"), None);
}

/// Point 16. Point 17.
#[tokio::test]
async fn a_frame_takes_the_route_its_action_names() {
    let world = Setup::new().route("chat", says_its_route()).route("$default", says_its_route()).start().await;
    let mut client = world.client().await;
    assert_eq!(client.ask(r#"{"action":"chat"}"#).await, "chat");
    assert_eq!(client.ask(r#"{"action":"chat","x":"\ud800"}"#).await, "chat");
    for other in [r#"{"action":"list"}"#, "hi", "", r#"{"action":"$connect"}"#, r#"{"action":"$disconnect"}"#] {
        assert_eq!(client.ask(other).await, "$default", "{other}");
    }
    let deep = format!(r#"{{"x":{}{},"action":"chat"}}"#, "[".repeat(9000), "]".repeat(9000));
    assert_eq!(client.ask(&deep).await, "chat");
}

/// Point 18.
#[tokio::test]
async fn without_a_route_the_client_is_told_forbidden_and_stays() {
    let world = Setup::new().route("chat", echoes()).start().await;
    let (mut client, id) = world.client_with_id().await;
    let said = client.ask("hi").await;
    let request = serde_json::from_str::<Value>(&said).unwrap()["requestId"].clone();
    assert_eq!(said, gateway_says("Forbidden", &json!({ "connectionId": id, "requestId": request })));
    assert_eq!(client.ask(r#"{"action":"chat"}"#).await, r#"{"action":"chat"}"#);
}

/// Point 20.
#[tokio::test]
async fn the_body_comes_back_whatever_the_status() {
    let answer =
        json!({ "statusCode": 500, "headers": {}, "multiValueHeaders": {}, "body": "b", "isBase64Encoded": false });
    let world = Setup::new().route("$default", answers(answer)).start().await;
    assert_eq!(world.client().await.ask("hi").await, "b");
}

#[tokio::test]
async fn no_body_comes_back_as_an_empty_frame() {
    for answer in [json!({ "statusCode": 200 }), json!({ "statusCode": 200, "body": null })] {
        let world = Setup::new().route("$default", answers(answer)).start().await;
        assert_eq!(world.client().await.ask("hi").await, "");
    }
}

/// Point 21.
#[tokio::test]
async fn a_function_that_fails_is_an_internal_server_error_and_the_client_stays() {
    for broken in [fails(), panics(), answers(json!(null)), answers(json!({ "statusCode": 200, "body": {} }))] {
        let world = Setup::new().route("broken", broken).route("$default", echoes()).start().await;
        let mut client = world.client().await;
        let said = client.ask(r#"{"action":"broken"}"#).await;
        let event = world.event("broken").await;
        assert_eq!(said, gateway_says("Internal server error", &event["requestContext"]));
        assert_eq!(client.ask("hi").await, "hi");
    }
}

/// Point 22.
#[tokio::test]
async fn a_function_over_its_timeout_is_an_internal_server_error() {
    let timeout = Duration::from_millis(20);
    let setup = Setup::new().route_with_timeout("slow", timeout, never_answers());
    let world = setup.route("$default", echoes()).start().await;
    let mut client = world.client().await;
    let said = client.ask(r#"{"action":"slow"}"#).await;
    let event = world.event("slow").await;
    assert_eq!(said, gateway_says("Internal server error", &event["requestContext"]));
    assert_eq!(client.ask("hi").await, "hi");
}

/// Point 46.
#[tokio::test]
async fn a_throttled_function_is_an_internal_server_error_and_the_client_stays() {
    let (gate, held) = gated(echoes());
    let world = Setup::new().route("$default", held).reserve("$default", 1).start().await;
    let mut client = world.client().await;
    client.send("first").await;
    world.event("$default").await;
    let said: Value = serde_json::from_str(&client.ask("second").await).unwrap();
    assert_eq!(said["message"], "Internal server error");
    gate.add_permits(1);
    assert_eq!(client.text().await, "first");
    assert_eq!(world.events_left("$default").await, 0, "the second never ran");
}

#[tokio::test]
async fn a_function_over_the_integration_timeout_is_answered_for_and_runs_on() {
    let (gate, slow) = gated(echoes());
    let setup = Setup::new().timing(|timing| timing.integration_timeout = Duration::from_millis(20));
    let world = setup.route("slow", slow).start().await;
    let mut client = world.client().await;
    let said = client.ask(r#"{"action":"slow"}"#).await;
    let event = world.event("slow").await;
    assert_eq!(said, gateway_says("Internal server error", &event["requestContext"]));
    assert_eq!(world.gateway.in_flight(), 1);
    gate.add_permits(1);
    crate::world::within(world.gateway.idle()).await;
}

#[tokio::test]
async fn frames_begin_in_order_and_do_not_wait_for_each_other() {
    let begun = Arc::<Mutex<Vec<usize>>>::default();
    let seen = Arc::clone(&begun);
    let (gate, gated_echo) = gated(echoes());
    let world = Setup::new()
        .route(
            "$default",
            toy(move |event| {
                let number = event["body"].as_str().unwrap().parse().unwrap();
                seen.lock().unwrap().push(number);
                gated_echo(event)
            }),
        )
        .start()
        .await;
    let mut client = world.client().await;
    for number in 0..16 {
        client.send(number.to_string()).await;
    }
    for _ in 0..16 {
        world.event("$default").await;
    }
    assert_eq!(*begun.lock().unwrap(), (0..16).collect::<Vec<_>>());
    assert_eq!(world.gateway.in_flight(), 16);
    gate.add_permits(16);
    let mut replies = Vec::new();
    for _ in 0..16 {
        replies.push(client.text().await.parse::<usize>().unwrap());
    }
    replies.sort_unstable();
    assert_eq!(replies, (0..16).collect::<Vec<_>>());
}
