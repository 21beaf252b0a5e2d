//! Many live connections without their sockets: rows of the view, loaded in bulk, and requests as the gateway makes them.
//!
//! For what depends on how many are there. The gateway knows none of them, so a test has to say what it answers.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use events::{ConnectionId, time};
use handlers::{Function, Payload};
use lambda_runtime::{Context, LambdaEvent};
use local::{Archive, CONNECTIONS, Effect, Faults, Runtime, StartError};
use projections::connections::live_shard;
use serde_dynamo::{AttributeValue, Item};
use serde_json::{Value, json};

/// What browsers call themselves.
pub const USER_AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// The id of the n-th connection, shaped as API Gateway's are.
#[must_use]
pub fn connection(n: usize) -> ConnectionId {
    // Spread over the alphabet, as real ones are.
    let spread = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{spread:016x}=")[1..].parse().expect("a connection id")
}

/// Rows of `count` live connections in a folder that no runtime holds yet.
pub async fn load(folder: &Path, count: usize) -> Result<(), StartError> {
    let opened_at = time::now() - TimeDelta::minutes(5);
    Archive::load(folder, CONNECTIONS, (0..count).map(|n| row(&connection(n), opened_at))).await
}

fn row(connection: &ConnectionId, opened_at: DateTime<Utc>) -> Item {
    let attributes = [
        ("connection", connection.to_string()),
        ("opened_at", time::to_text(opened_at)),
        ("source_ip", "203.0.113.195".to_owned()),
        ("user_agent", USER_AGENT.to_owned()),
        ("live", live_shard(connection).to_string()),
    ];
    attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), AttributeValue::S(value)))
        .collect::<std::collections::HashMap<_, _>>()
        .into()
}

/// The gateway takes every push and says of every connection that it is there.
pub fn answer_for_all(faults: &Faults) {
    for operation in ["PostToConnection", "GetConnection"] {
        faults.inject(operation, "", Effect::Refuse(200, "None"), usize::MAX);
    }
}

/// Invokes a function of a runtime directly, as Lambda would.
pub async fn invoke(runtime: &Runtime, function: Function, event: &Value) -> Payload {
    let service = function.service(runtime.settings(), runtime.sdk());
    let mut context = Context::default();
    // Always the same, as a sweep begins where its request's id says.
    context.request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned();
    let timeout = function.timeout(&runtime.settings().timing);
    context.deadline = u64::try_from((time::now() + timeout).timestamp_millis()).expect("a time after 1970");
    let payload = serde_json::value::to_raw_value(event).expect("JSON");
    service(LambdaEvent::new(payload, context)).await.expect("an answer")
}

/// A frame of a client, as the gateway hands it to the route's function.
#[must_use]
pub fn request(route: &str, from: &ConnectionId, frame: &Value) -> Value {
    let mut request = context(route, "MESSAGE", from);
    request["body"] = json!(frame.to_string());
    request
}

/// A handshake.
#[must_use]
pub fn handshake(from: &ConnectionId) -> Value {
    let mut request = context("$connect", "CONNECT", from);
    request["headers"] = json!({"Host": "nn27okk1we.execute-api.us-east-1.amazonaws.com", "User-Agent": USER_AGENT});
    request
}

/// It is time for a sweep.
#[must_use]
pub fn scheduled() -> Value {
    json!({"version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "detail": {}})
}

fn context(route: &str, kind: &str, from: &ConnectionId) -> Value {
    let now = time::now().timestamp_millis();
    // As long as API Gateway's: it is stored with the event.
    let request_id = &uuid::Uuid::new_v4().simple().to_string()[..16];
    json!({
        "requestContext": {
            "routeKey": route, "eventType": kind, "messageDirection": "IN", "stage": "poc", "apiId": "nn27okk1we",
            "domainName": "nn27okk1we.execute-api.us-east-1.amazonaws.com", "connectionId": from, "requestId": request_id,
            "extendedRequestId": request_id, "connectedAt": now - 300_000, "requestTimeEpoch": now,
            "requestTime": "24/Nov/2026:15:00:00 +0000",
            "identity": {"sourceIp": "203.0.113.195", "userAgent": USER_AGENT},
        },
        "isBase64Encoded": false,
    })
}
