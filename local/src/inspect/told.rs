//! Events and observed calls, as the page gets them. Long texts are cut: the page shows lines.

use events::{RecordedEvent, from_item};
use serde_json::{Value, json};

use super::history::place;
use crate::{
    observer::Call,
    tables::{CONNECTIONS, EVENTS, PARKED},
};

/// Characters shown of a text.
const MAX_TEXT: usize = 400;

/// An event and its place in the log.
pub(super) fn event(event: &RecordedEvent) -> Value {
    let mut told = serde_json::to_value(event).unwrap_or_default();
    told["place"] = json!(place(event));
    shorten(&mut told);
    told
}

/// What a call meant: nothing, one thing, or a notice for each entry.
pub(super) fn call(call: &Call) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let mut told = match (call.operation, body["TableName"].as_str()) {
        ("PutItem", Some(EVENTS)) => append(&body).into_iter().collect(),
        ("PutItem", Some(PARKED)) => vec![parked(&body)],
        ("UpdateItem", Some(CONNECTIONS)) => {
            vec![json!({"kind": "view", "connection": body["Key"]["connection"]["S"]})]
        }
        ("PutEvents", _) => notices(&body, &serde_json::from_slice(&call.answer).unwrap_or_default()),
        ("PostToConnection", _) => vec![json!({"kind": "push", "connection": recipient(&call.path), "frame": body})],
        _ => Vec::new(),
    };
    for one in &mut told {
        one["number"] = json!(call.number);
        one["status"] = json!(call.status.as_u16());
        #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit")]
        let began = call.began.timestamp_micros() as f64 / 1000.0;
        one["at"] = json!(began);
        one["took"] = json!(call.took.as_secs_f64() * 1000.0);
        shorten(one);
    }
    told
}

fn append(body: &Value) -> Option<Value> {
    let item: serde_dynamo::Item = serde_json::from_value(body["Item"].clone()).ok()?;
    Some(json!({"kind": "append", "event": event(&from_item(item).ok()?)}))
}

fn parked(body: &Value) -> Value {
    let [stream, id, why] = ["stream", "id", "why"].map(|name| &body["Item"][name]["S"]);
    json!({"kind": "parked", "stream": stream, "id": id, "why": why})
}

fn notices(body: &Value, answer: &Value) -> Vec<Value> {
    let entries = body["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let told = |(index, entry): (usize, &Value)| {
        let detail: Value =
            entry["Detail"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let failed = &answer["Entries"][index]["ErrorCode"];
        json!({"kind": "notice", "notice": entry["DetailType"], "detail": detail, "failed": failed})
    };
    entries.iter().enumerate().map(told).collect()
}

/// The connection in `/local/@connections/<id>`, where the id may be escaped.
fn recipient(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().replace("%3D", "=").replace("%3d", "=")
}

/// Cuts every long text in it.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}
