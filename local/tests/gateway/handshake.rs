//! Getting in, or not: the upgrade and what `$connect` says to it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::{client::IntoClientRequest, http::HeaderValue};

use crate::{
    toys::{Toy, answers, echoes, fails, gated, never_answers, ok, panics},
    world::{Setup, World, connection_id, within},
};

async fn world_with_connect(function: Toy) -> World {
    Setup::new().route("$connect", function).start().await
}

async fn status_when_connect(function: Toy) -> u16 {
    let world = world_with_connect(function).await;
    let (status, _) = world.refused(world.request("/local")).await;
    assert_eq!(world.gateway.connections(), 0);
    status
}

/// Point 1.
#[tokio::test]
async fn the_101_waits_for_connect() {
    let (gate, function) = gated(ok());
    let world = Arc::new(world_with_connect(function).await);
    let upgrade = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.handshake(world.request("/local")).await }
    });
    world.event("$connect").await;
    assert!(!upgrade.is_finished());
    assert_eq!((world.gateway.connections(), world.gateway.in_flight()), (0, 1));
    gate.add_permits(1);
    assert!(upgrade.await.unwrap().is_ok());
}

/// Point 2.
#[tokio::test]
async fn any_2xx_lets_the_client_in() {
    let world = world_with_connect(answers(json!({ "statusCode": 201 }))).await;
    world.client().await;
    assert_eq!(world.gateway.connections(), 1);
}

/// Point 3.
#[tokio::test]
async fn any_other_status_is_the_status_of_the_failed_upgrade() {
    for status in [301, 400, 401, 403, 500, 501] {
        assert_eq!(status_when_connect(answers(json!({ "statusCode": status }))).await, status);
    }
}

#[tokio::test]
async fn a_refusal_says_which_request_was_refused() {
    let world = world_with_connect(answers(json!({ "statusCode": 403, "body": "not shown" }))).await;
    let (_, body) = world.refused(world.request("/local")).await;
    let context = &world.event("$connect").await["requestContext"];
    let refusal =
        json!({ "message": "Forbidden", "connectionId": context["connectionId"], "requestId": context["requestId"] });
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), refusal);
}

/// Point 4.
#[tokio::test]
async fn a_connect_that_fails_is_a_bad_gateway() {
    assert_eq!(status_when_connect(fails()).await, 502);
    assert_eq!(status_when_connect(panics()).await, 502);
}

/// Point 5.
#[tokio::test]
async fn a_connect_that_answers_nonsense_is_a_bad_gateway() {
    for nonsense in [json!({}), json!(null), json!("ok"), json!({ "statusCode": "yes" })] {
        assert_eq!(status_when_connect(answers(nonsense)).await, 502);
    }
}

#[tokio::test]
async fn a_connect_that_takes_too_long_is_a_gateway_timeout() {
    let timing = |timing: &mut events::Timing| timing.integration_timeout = Duration::from_millis(20);
    let setup = Setup::new().route("$connect", never_answers()).timing(timing);
    let world = setup.start().await;
    assert_eq!(world.refused(world.request("/local")).await.0, 504);
    assert_eq!(world.gateway.in_flight(), 1, "the function runs on");
}

/// Point 6.
#[tokio::test]
async fn without_a_connect_route_everybody_is_let_in() {
    let world = Setup::new().without("$connect").route("$default", echoes()).start().await;
    let mut client = world.client().await;
    assert_eq!(client.ask("hi").await, "hi");
}

/// Point 7.
#[tokio::test]
async fn a_refused_connection_never_was() {
    let world = world_with_connect(answers(json!({ "statusCode": 401 }))).await;
    world.refused(world.request("/local")).await;
    let id = connection_id(&world.event("$connect").await);
    assert!(matches!(world.post(&id, "hi").await, Err(aws_sdk_apigatewaymanagement::Error::GoneException(_))));
    assert_eq!(world.events_left("$disconnect").await, 0);
}

/// Point 8.
#[tokio::test]
async fn the_subprotocol_connect_chose_is_the_only_header_that_gets_through() {
    let headers = json!({ "Sec-WebSocket-Protocol": "b", "X-Other": "x", "Set-Cookie": "c=1" });
    let world = world_with_connect(answers(json!({ "statusCode": 200, "headers": headers }))).await;
    let mut request = world.request("/local");
    let offered = HeaderValue::from_static("a,b");
    request.headers_mut().insert("Sec-WebSocket-Protocol", offered);
    let (_, response) = world.handshake(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "b");
    assert!(!response.headers().contains_key("x-other") && !response.headers().contains_key("set-cookie"));
}

/// Point 9. By hand: the test's own WebSocket client refuses such a 101, as browsers do.
#[tokio::test]
async fn no_subprotocol_is_chosen_for_the_client() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let world = world_with_connect(ok()).await;
    let mut tcp = BufReader::new(world.raw_client().await);
    let request = "GET /local HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: DM+9PqsQtaZrN+IMZbWTzg==\r\n\
                   Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(within(tcp.read_line(&mut head)).await.unwrap(), 0);
    }
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(!head.contains("sec-websocket-protocol") && !head.contains("sec-websocket-extensions"), "{head}");
}

/// Point 10.
#[tokio::test]
async fn connect_sees_the_query_if_there_is_one() {
    let world = Setup::new().start().await;
    world.handshake(world.request("/local?t=1&t=2&u=%20x")).await.unwrap();
    let event = world.event("$connect").await;
    assert_eq!(event["queryStringParameters"], json!({ "t": "2", "u": " x" }));
    assert_eq!(event["multiValueQueryStringParameters"], json!({ "t": ["1", "2"], "u": [" x"] }));

    world.handshake(world.request("/local")).await.unwrap();
    let event = world.event("$connect").await;
    assert_eq!(event.get("queryStringParameters"), None);
    assert_eq!(event.get("multiValueQueryStringParameters"), None);
}

/// Point 11.
#[tokio::test]
async fn connect_sees_the_headers_of_the_upgrade() {
    let world = Setup::new().start().await;
    let mut request = world.request("/local");
    request.headers_mut().insert("user-agent", HeaderValue::from_static("a browser"));
    request.headers_mut().insert("origin", HeaderValue::from_static("https://app"));
    world.handshake(request).await.unwrap();
    let event = world.event("$connect").await;
    let headers = event["headers"].as_object().unwrap();
    assert!(!headers.contains_key("Connection") && !headers.contains_key("Upgrade"));
    assert_eq!(headers["Sec-WebSocket-Version"], "13");
    assert_eq!(headers["Origin"], "https://app");
    assert_eq!(headers["X-Forwarded-For"], "127.0.0.1");
    assert!(headers.contains_key("Host") && headers.contains_key("Sec-WebSocket-Key"));
    for (name, value) in headers {
        assert_eq!(event["multiValueHeaders"][name], json!([value]));
    }
    let identity = &event["requestContext"]["identity"];
    assert_eq!(*identity, json!({ "userAgent": "a browser", "sourceIp": "127.0.0.1" }));
}

/// Point 13. And the fields AWS leaves out.
#[tokio::test]
async fn a_connect_event_has_aws_shape_and_nothing_else() {
    let world = Setup::new().start().await;
    world.client().await;
    let event = world.event("$connect").await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&event), ["headers", "isBase64Encoded", "multiValueHeaders", "requestContext"]);
    let context = &event["requestContext"];
    let expected = "apiId connectedAt connectionId domainName eventType extendedRequestId identity messageDirection \
                    requestId requestTime requestTimeEpoch routeKey stage";
    assert_eq!(keys(context).join(" "), expected);
    assert_eq!(context["eventType"], "CONNECT");
    assert_eq!(context["messageDirection"], "IN");
    for id in [&context["connectionId"], &context["requestId"]] {
        let (symbols, end) = id.as_str().unwrap().split_at(15);
        assert!(symbols.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(end, "=");
    }
}

/// Point 12.
#[tokio::test]
async fn the_events_of_one_connection_belong_together() {
    let world = Setup::new().route("$default", echoes()).start().await;
    let mut client = world.client().await;
    client.ask("hi").await;
    client.0.close(None).await.unwrap();
    let mut request_ids = Vec::new();
    let connect = world.event("$connect").await;
    for key in ["$default", "$disconnect"] {
        let event = world.event(key).await;
        let (first, context) = (&connect["requestContext"], &event["requestContext"]);
        assert_eq!(context["routeKey"], key);
        assert_eq!(context["connectedAt"], first["connectedAt"]);
        assert_eq!(context["connectionId"], first["connectionId"]);
        assert_eq!(context["requestId"], context["extendedRequestId"]);
        assert!(context["requestTimeEpoch"].as_i64() >= first["requestTimeEpoch"].as_i64());
        assert!(context["requestTimeEpoch"].as_i64() >= context["connectedAt"].as_i64());
        request_ids.push(context["requestId"].clone());
    }
    request_ids.push(connect["requestContext"]["requestId"].clone());
    request_ids.sort_by_key(ToString::to_string);
    request_ids.dedup();
    assert_eq!(request_ids.len(), 3);
}

/// Point 15. The harness parses every event of every test here; this one looks at what comes of it.
#[tokio::test]
async fn every_kind_of_event_is_read_as_a_handler_in_rust_reads_it() {
    use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
    let world = Setup::new().route("$default", echoes()).start().await;
    let mut client = world.client().await;
    client.ask("hi").await;
    client.0.close(None).await.unwrap();
    for (route, kind) in [("$connect", "CONNECT"), ("$default", "MESSAGE"), ("$disconnect", "DISCONNECT")] {
        let event = world.event(route).await;
        let read: ApiGatewayWebsocketProxyRequest = serde_json::from_value(event.clone()).unwrap();
        let context = read.request_context;
        assert_eq!(context.event_type.as_deref(), Some(kind));
        assert_eq!(json!(context.connected_at), event["requestContext"]["connectedAt"]);
        assert_eq!(context.connection_id.as_deref(), event["requestContext"]["connectionId"].as_str());
        assert_eq!(read.body.as_deref(), (kind == "MESSAGE").then_some("hi"));
    }
}

#[tokio::test]
async fn a_plain_request_is_told_to_upgrade() {
    let world = Setup::new().start().await;
    let (status, head, _) = world.get_public("/local").await;
    assert_eq!(status, 426);
    assert!(head.contains("upgrade: websocket"), "{head}");
    assert_eq!(world.events_left("$connect").await, 0);
}

#[tokio::test]
async fn an_unknown_stage_is_forbidden() {
    let world = Setup::new().start().await;
    let forbidden = (403, r#"{"message":"Forbidden"}"#.to_owned());
    assert_eq!(world.refused(world.request("/prod")).await, forbidden);
    let (status, _, body) = world.get_public("/prod").await;
    assert_eq!((status, body), forbidden);
}

/// Point 31.
#[tokio::test]
async fn a_connection_cannot_be_pushed_to_while_it_is_opening() {
    let (gate, function) = gated(ok());
    let world = Arc::new(world_with_connect(function).await);
    let upgrade = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.handshake(world.request("/local")).await }
    });
    let id = connection_id(&world.event("$connect").await);
    let sdk = world.sdk();
    let early = sdk.get_connection().connection_id(&id).send().await;
    assert!(early.unwrap_err().into_service_error().is_gone_exception());
    assert!(world.post(&id, "hi").await.is_err());
    gate.add_permits(1);
    let (mut client, _) = upgrade.await.unwrap().unwrap();
    within(world.gateway.idle()).await;
    world.post(&id, "hi").await.unwrap();
    assert_eq!(client.text().await, "hi");
}

/// Starts an upgrade, leaves while `$connect` runs, and lets `$connect` go on when the gateway knows.
async fn leave_during(connect: Toy) -> (World, String) {
    let (gate, function) = gated(connect);
    let world = world_with_connect(function).await;
    let mut tcp = world.raw_client().await;
    let request = "GET /local HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: DM+9PqsQtaZrN+IMZbWTzg==\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let id = connection_id(&world.event("$connect").await);
    drop(tcp);
    world.nobody_upgrading().await;
    gate.add_permits(1);
    (world, id)
}

#[tokio::test]
async fn a_client_that_leaves_while_being_let_in_is_disconnected() {
    let (world, id) = leave_during(ok()).await;
    let event = world.event("$disconnect").await;
    assert_eq!(connection_id(&event), id);
    assert_eq!(event["requestContext"]["disconnectStatusCode"], 1006);
    assert_eq!(event["requestContext"]["disconnectReason"], "");
    within(world.gateway.idle()).await;
    assert_eq!(world.gateway.connections(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_while_being_refused_is_not_disconnected() {
    let (world, _) = leave_during(answers(json!({ "statusCode": 403 }))).await;
    assert_eq!(world.events_left("$disconnect").await, 0);
}

#[tokio::test]
async fn an_outdated_websocket_is_told_to_upgrade() {
    let world = Setup::new().start().await;
    let mut request = world.request("/local").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Version", HeaderValue::from_static("8"));
    assert_eq!(world.refused(request).await.0, 426);
}
