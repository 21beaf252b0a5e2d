//! The events a function is fed: what AWS sends, with the time of now, as requests of yesterday are refused.

use std::time::SystemTime;

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::{Value, json};

/// Connections of one `deliver`.
pub(crate) const PAGE: usize = 500;
/// The message of every broadcast here.
const MESSAGE: &str = "019f2a6b-3c4d-7abc-8def-0123456789ab";
const AT: &str = "2026-11-22T08:55:46.123Z";

/// A gateway's event, of now; the fixtures are those of handlers/tests.
fn request(fixture: &str) -> Result<Bytes> {
    let mut event: Value = serde_json::from_str(fixture)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    *event.pointer_mut("/requestContext/requestTimeEpoch").context("no time in the fixture")? = json!(now as u64);
    Ok(Bytes::from(event.to_string()))
}

pub(crate) fn connect() -> Result<Bytes> {
    request(include_str!("../../handlers/tests/events/connect.json"))
}

pub(crate) fn chat() -> Result<Bytes> {
    request(include_str!("../../handlers/tests/events/chat.json"))
}

/// An event of the bus.
fn notice(detail_type: &str, detail: &Value) -> Bytes {
    let event = json!({
        "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "source": "webchat", "account": "123456789012",
        "time": "2026-11-22T08:55:46Z", "region": "us-east-1", "resources": [], "detail-type": detail_type, "detail": detail,
    });
    Bytes::from(event.to_string())
}

pub(crate) fn broadcast() -> Bytes {
    notice("broadcast", &json!({"id": MESSAGE, "at": AT, "from": "TXzPWdnOjoECGjA=", "text": "Anybody home?"}))
}

pub(crate) fn deliver(page: usize, connections: &[String]) -> Bytes {
    let detail = json!({
        "id": MESSAGE, "at": AT, "from": "TXzPWdnOjoECGjA=", "text": "Anybody home?",
        "page": page, "attempt": 1, "connections": connections,
    });
    notice("deliver", &detail)
}

/// A `deliver` as it was published.
pub(crate) fn published(detail: &str) -> Result<Bytes> {
    Ok(notice("deliver", &serde_json::from_str(detail)?))
}

/// A batch of the stream, and what it must cause.
pub(crate) struct Batch {
    pub(crate) event: Bytes,
    pub(crate) connections: usize,
    /// Of those, opened here and ended in an earlier batch: a second update.
    pub(crate) ended_before: usize,
    pub(crate) notices: usize,
}

/// 100 records: connections that open, that end, or both; messages; outcomes.
pub(crate) fn batch() -> Batch {
    let mut records = Vec::new();
    let mut batch = Batch { event: Bytes::new(), connections: 0, ended_before: 0, notices: 0 };
    for number in 0..30 {
        let ended = number % 5 == 0;
        let connection = format!("TXzP{number:010}{}=", if ended { 'E' } else { 'A' });
        let stream = format!("connection#{connection}");
        let opened = json!({"source_ip": {"S": "185.69.197.15"}, "user_agent": {"S": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0)"}});
        records.push(record(records.len(), &stream, "ConnectionOpened", &opened));
        (batch.connections, batch.notices) = (batch.connections + 1, batch.notices + 1);
        batch.ended_before += usize::from(ended);
        if number % 3 == 1 && !ended {
            records.push(record(records.len(), &stream, "ConnectionClosed", &json!({"code": {"N": "1000"}})));
        }
    }
    for number in 0..15 {
        let stream = format!("connection#TXzQ{number:011}=");
        records.push(record(records.len(), &stream, "ConnectionClosed", &json!({"code": {"N": "1001"}})));
        batch.connections += 1;
    }
    let (from, to) = (json!({"S": "TXzPWdnOjoECGjA="}), json!({"S": "TXzPWeFOjoECHKw="}));
    let conversation = "conversation#TXzPWdnOjoECGjA=~TXzPWeFOjoECHKw=";
    while records.len() < 100 {
        let (stream, event_type, data) = match records.len() % 4 {
            0 => ("conversation#lobby", "MessageBroadcast", json!({"from": from, "text": {"S": "Anybody home?"}})),
            1 => (
                "delivery#019f2a6b-3c4d-7abc-8def-0123456789ab",
                "MessageDelivered",
                json!({"conversation": {"S": conversation}, "from": from, "to": to, "receipt": {"BOOL": true}}),
            ),
            _ => (
                conversation,
                "MessageSent",
                json!({"from": from, "to": to, "text": {"S": "Yo! 👋"}, "receipt": {"BOOL": true}}),
            ),
        };
        records.push(record(records.len(), stream, event_type, &data));
        batch.notices += 1;
    }
    batch.event = Bytes::from(json!({ "Records": records }).to_string());
    batch
}

fn record(number: usize, stream: &str, event_type: &str, data: &Value) -> Value {
    let id = format!("019f2a6b-{number:04x}-7abc-8def-0123456789ab");
    let keys = json!({"stream": {"S": stream}, "id": {"S": id}});
    let image = json!({
        "stream": {"S": stream}, "id": {"S": id}, "at": {"S": AT}, "type": {"S": event_type}, "version": {"N": "1"},
        "request_id": {"S": "TXzPWFkkjoEF92g="}, "day": {"S": "2026-11-22#0"}, "logged": {"S": format!("{AT}#{id}")},
        "data": {"M": data},
    });
    json!({
        "eventID": format!("{number:032}"), "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_337_746, "Keys": keys, "NewImage": image,
            "SequenceNumber": format!("{}", 1_405_400_000_000_002_063_282_832_u128 + number as u128), "SizeBytes": 230,
            "StreamViewType": "NEW_IMAGE",
        },
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/webchat-poc-events/stream/2026-11-22T00:00:00.000",
    })
}
