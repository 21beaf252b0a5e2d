//! The stored form of an event: the attributes of an item of the event table and of its stream records.
//!
//! A contract, pinned by `tests/golden/`. To change the data of a type, raise its version in the decision that makes
//! it, keep the old struct, and upcast it in [`event`]; to add a type, add an arm there.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_dynamo::{AttributeValue, Item, from_attribute_value, to_attribute_value};

use crate::{Event, EventId, RecordedEvent, StreamName, Unknown, time};

/// Number of shards of one day of the log.
pub(crate) const LOG_SHARDS: u8 = 8;

/// Types of events that are not of connections, all at version 1.
pub(crate) const OTHER_TYPES: [&str; 6] =
    ["MessageBroadcast", "MessageSent", "MessageDelivered", "MessageUndeliverable", "BroadcastDelivered", "DaySealed"];

/// An event as read: most decode, and one that does not must not hide the others.
pub type Stored = Result<RecordedEvent, Undecodable>;

/// An item that is no event of ours: damaged, or written by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {} of stream {} cannot be decoded: {why}", or_unknown(.id), or_unknown(.stream))]
pub struct Undecodable {
    /// The item's `stream`, if it has one.
    pub stream: Option<String>,
    /// The item's `id`, if it has one.
    pub id: Option<String>,
    /// What is wrong, naming the attribute.
    pub why: String,
}

/// A key for a log line: what it holds is somebody else's.
fn or_unknown(text: &Option<String>) -> String {
    text.as_deref().unwrap_or("(none)").escape_debug().to_string()
}

/// The attributes beside `type`, `version` and `data`.
#[derive(Serialize, Deserialize)]
struct Envelope {
    stream: StreamName,
    id: EventId,
    #[serde(with = "time")]
    at: DateTime<Utc>,
    version: u32,
    request_id: String,
    #[serde(rename = "type")]
    event_type: String,
}

/// The item of an event, with the keys of the `log` index.
pub fn to_item(recorded: &RecordedEvent) -> Result<Item, serde_dynamo::Error> {
    let envelope = Envelope {
        stream: recorded.stream.clone(),
        id: recorded.id,
        at: recorded.at,
        version: recorded.version,
        request_id: recorded.request_id.clone(),
        event_type: recorded.event.type_name().to_owned(),
    };
    let mut item: Item = serde_dynamo::to_item(&envelope)?;
    let text = |text: String| AttributeValue::S(text);
    let (day, logged) = log_key(recorded.at, recorded.id);
    item.insert("data".to_owned(), data(&recorded.event)?);
    item.insert("day".to_owned(), text(day));
    item.insert("logged".to_owned(), text(logged));
    Ok(item)
}

/// Where the log keeps an event: its day's shard, and its place in it.
pub(crate) fn log_key(at: DateTime<Utc>, id: EventId) -> (String, String) {
    let day = log_day(at.date_naive(), id.shard(LOG_SHARDS));
    (day, format!("{}#{id}", time::to_text(at)))
}

/// One shard of one day: `2026-11-22#3`.
pub(crate) fn log_day(day: chrono::NaiveDate, shard: u8) -> String {
    format!("{day}#{shard}")
}

fn data(event: &Event) -> Result<AttributeValue, serde_dynamo::Error> {
    match event {
        Event::ConnectionOpened(data) => to_attribute_value(data),
        Event::ConnectionClosed(data) => to_attribute_value(data),
        Event::ConnectionLost(data) => to_attribute_value(data),
        Event::MessageBroadcast(data) => to_attribute_value(data),
        Event::MessageSent(data) => to_attribute_value(data),
        Event::MessageDelivered(data) => to_attribute_value(data),
        Event::MessageUndeliverable(data) => to_attribute_value(data),
        Event::BroadcastDelivered(data) => to_attribute_value(data),
        Event::DaySealed(data) => to_attribute_value(data),
        Event::Unknown(unknown) => to_attribute_value(&unknown.data),
    }
}

/// The event in an item of the table or in the `NewImage` of a stream record.
pub fn from_item(mut item: Item) -> Stored {
    let key = |name: &str| match item.get(name) {
        Some(AttributeValue::S(text)) => Some(text.clone()),
        _ => None,
    };
    let (stream, id) = (key("stream"), key("id"));
    let undecodable = |why: String| Undecodable { stream, id, why };
    let data = item.remove("data");
    let envelope: Envelope = match serde_dynamo::from_item(item) {
        Ok(envelope) => envelope,
        Err(error) => return Err(undecodable(error.to_string())),
    };
    let Some(data) = data else {
        return Err(undecodable("attribute `data` is missing".to_owned()));
    };
    match event(envelope.event_type, envelope.version, data) {
        Ok(event) => Ok(RecordedEvent {
            stream: envelope.stream,
            id: envelope.id,
            at: envelope.at,
            event,
            version: envelope.version,
            request_id: envelope.request_id,
        }),
        Err(error) => Err(undecodable(format!("attribute `data`: {error}"))),
    }
}

fn event(event_type: String, version: u32, data: AttributeValue) -> Result<Event, serde_dynamo::Error> {
    fn parse<T: DeserializeOwned>(data: AttributeValue, event: fn(T) -> Event) -> Result<Event, serde_dynamo::Error> {
        from_attribute_value(data).map(event)
    }
    match (event_type.as_str(), version) {
        ("ConnectionOpened", 1) => parse(data, Event::ConnectionOpened),
        ("ConnectionClosed", 1) => parse(data, Event::ConnectionClosed),
        ("ConnectionLost", 1) => parse(data, Event::ConnectionLost),
        ("MessageBroadcast", 1) => parse(data, Event::MessageBroadcast),
        ("MessageSent", 1) => parse(data, Event::MessageSent),
        ("MessageDelivered", 1) => parse(data, Event::MessageDelivered),
        ("MessageUndeliverable", 1) => parse(data, Event::MessageUndeliverable),
        ("BroadcastDelivered", 1) => parse(data, Event::BroadcastDelivered),
        ("DaySealed", 1) => parse(data, Event::DaySealed),
        _ => from_attribute_value(data).map(|data| Event::Unknown(Unknown { event_type, data })),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails

    use std::collections::BTreeSet;

    use super::*;

    /// Or `EventLog::scan_connections` would leave out too much, or too little.
    #[test]
    fn every_type_is_of_connections_or_listed_as_another() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let others: BTreeSet<String> = names.filter(|name| !name.starts_with("Connection")).collect();
        assert_eq!(others, OTHER_TYPES.iter().map(|name| format!("{name}.1.json")).collect());
    }
}
