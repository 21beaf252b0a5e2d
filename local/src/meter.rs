//! What calls come to on AWS: how many, and the units each is billed by. For tests and benches; off unless asked for.
//!
//! It reads the AWS-facing wire, so no handler knows of it. Capacity is what the tables answer to
//! `ReturnConsumedCapacity`, which it adds to each request; dynoxide computes it by the rules AWS documents, indexes
//! included. An answer to a failed condition carries none, so that one is billed here by the same rule: a write of
//! what was to be written.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::aws::{MAX_BODY, operation};

/// API Gateway meters messages by 32 KB.
const MESSAGE: usize = 32 * 1024;
/// EventBridge meters events by 64 KB.
const EVENT: usize = 64 * 1024;

/// The calls of one runtime. Clones share them.
#[derive(Clone, Default)]
pub struct Meter(Option<Arc<Mutex<Vec<Metered>>>>);

/// One call, or one entry of PutEvents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metered {
    /// What was called: operation, table, and index or type of the event, such as `PutItem events MessageSent`.
    pub call: String,
    /// Write units of the table.
    pub write: f64,
    /// Write units of its index.
    pub index_write: f64,
    /// Read units.
    pub read: f64,
    /// 32 KB parts of a push, or 64 KB parts of an event on the bus.
    pub parts: usize,
    /// Bytes of the item put, the frame pushed or the event published.
    pub bytes: usize,
}

impl Meter {
    /// A meter that runs.
    #[must_use]
    pub fn on() -> Meter {
        Meter(Some(Arc::default()))
    }

    /// The calls since the last time, in the order of their answers.
    #[must_use]
    pub fn take(&self) -> Vec<Metered> {
        self.0
            .as_ref()
            .map_or_else(Vec::new, |calls| std::mem::take(&mut *calls.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Middleware: has the tables say what a call costs, and notes it.
pub(crate) async fn measure(State(meter): State<Meter>, request: Request, next: Next) -> Response {
    let (Some(calls), Some(name)) = (meter.0, operation(&request)) else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let body = match asked.get("TableName").or(asked.get("RequestItems")) {
        Some(_) => {
            let mut asked = asked.clone();
            asked["ReturnConsumedCapacity"] = json!("INDEXES");
            Bytes::from(asked.to_string())
        }
        None => body,
    };
    let bytes = body.len();
    let (answer, body) = next.run(Request::from_parts(parts, Body::from(body))).await.into_parts();
    let body = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let answered: Value = serde_json::from_slice(&body).unwrap_or_default();
    let metered = metered(&name, answer.status, &asked, &answered, bytes);
    calls.lock().unwrap_or_else(PoisonError::into_inner).extend(metered);
    Response::from_parts(answer, Body::from(body))
}

fn metered(name: &str, status: StatusCode, asked: &Value, answered: &Value, bytes: usize) -> Vec<Metered> {
    let failed = if status.is_success() { String::new() } else { format!(" {}", status.as_u16()) };
    match name {
        "PutEvents" => put_events(asked, failed),
        "PostToConnection" => {
            let call = format!("{name}{failed}");
            vec![Metered { call, parts: bytes.div_ceil(MESSAGE), bytes, ..Metered::default() }]
        }
        "GetConnection" | "DeleteConnection" => {
            vec![Metered { call: format!("{name}{failed}"), ..Metered::default() }]
        }
        _ => vec![table_call(name, failed, asked, answered)],
    }
}

/// The call, and each of its entries: those are what is billed.
fn put_events(asked: &Value, failed: String) -> Vec<Metered> {
    let entries = asked["Entries"].as_array().map_or(&[][..], Vec::as_slice).iter().map(|entry| {
        let length = |field: &str| entry[field].as_str().map_or(0, str::len);
        let bytes = length("Source") + length("DetailType") + length("Detail");
        let call = format!("event {}{failed}", entry["DetailType"].as_str().unwrap_or_default());
        Metered { call, parts: bytes.div_ceil(EVENT), bytes, ..Metered::default() }
    });
    let call = Metered { call: format!("PutEvents{failed}"), ..Metered::default() };
    std::iter::once(call).chain(entries).collect()
}

fn table_call(name: &str, failed: String, asked: &Value, answered: &Value) -> Metered {
    let table = asked["TableName"].as_str().unwrap_or_default();
    let table = table.rsplit('-').next().unwrap_or_default();
    let detail = asked["IndexName"].as_str().or(asked["Item"]["type"]["S"].as_str());
    let there = answered["__type"].as_str().is_some_and(|kind| kind.ends_with("ConditionalCheckFailedException"));
    let failed = if there { ", there already" } else { failed.as_str() };
    let call = [name, table].into_iter().chain(detail).collect::<Vec<_>>().join(" ") + failed;

    let bytes = asked["Item"].as_object().map_or(0, item_size);
    let used = &answered["ConsumedCapacity"];
    let units = |of: &Value| of["CapacityUnits"].as_f64().unwrap_or(0.0);
    let indexes = used["GlobalSecondaryIndexes"].as_object();
    let index: f64 = indexes.into_iter().flat_map(|indexes| indexes.values()).map(units).sum();
    let own = units(&used["Table"]);
    if name.starts_with("Get") || name.starts_with("Query") || name.starts_with("Scan") {
        return Metered { call, read: own + index, ..Metered::default() };
    }
    let write = if there { bytes.div_ceil(1024).max(1) as f64 } else { own };
    Metered { call, write, index_write: index, bytes, ..Metered::default() }
}

/// Bytes of an item as DynamoDB counts them: names and values in UTF-8; a list or map takes 3, and 1 for each entry.
fn item_size(item: &serde_json::Map<String, Value>) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else { return 0 };
    match (kind.as_str(), value) {
        ("S", Value::String(text)) => text.len(),
        ("N", Value::String(number)) => number.len().div_ceil(2) + 1,
        ("M", Value::Object(map)) => 3 + map.len() + item_size(map),
        ("L", Value::Array(list)) => 3 + list.len() + list.iter().map(value_size).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_as_large_as_dynamodb_says() {
        let item = json!({"stream": {"S": "s"}, "version": {"N": "1"}, "ok": {"BOOL": true}, "data": {"M": {"to": {"S": "bob"}}}});
        let size = item.as_object().map(item_size);
        assert_eq!(size, Some((6 + 1) + (7 + 2) + (2 + 1) + (4 + 3 + 1 + 2 + 3)));
    }

    #[test]
    fn a_failed_condition_is_billed_as_a_write_of_the_item() {
        let asked = json!({"TableName": "webchat-local-events", "Item": {"type": {"S": "MessageSent"}, "text": {"S": "x".repeat(1024)}}});
        let answered = json!({"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"});
        let [call] = metered("PutItem", StatusCode::BAD_REQUEST, &asked, &answered, 0).try_into().unwrap_or_default();
        assert_eq!((call.call.as_str(), call.write), ("PutItem events MessageSent, there already", 2.0));
    }

    #[test]
    fn entries_of_a_call_are_billed_by_64_kb() {
        let detail = |bytes: usize| json!({"Source": "webchat", "DetailType": "chat", "Detail": "x".repeat(bytes)});
        let asked = json!({"Entries": [detail(10), detail(64 * 1024)]});
        let calls = metered("PutEvents", StatusCode::OK, &asked, &Value::Null, 0);
        assert_eq!(calls.iter().map(|call| call.parts).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
