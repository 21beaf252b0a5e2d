//! An event, and an event as recorded: with its stream, id and time.
//!
//! The variants' names are the stored type names. A new kind of event starts here and in `stored.rs`.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::{
    EventId, StreamName,
    connection::{ConnectionClosed, ConnectionLost, ConnectionOpened},
    conversation::{MessageBroadcast, MessageSent},
    delivery::{BroadcastDelivered, MessageDelivered, MessageUndeliverable},
    seal::DaySealed,
    time,
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", content = "data")]
#[allow(missing_docs)] // each variant is documented at its data
pub enum Event {
    ConnectionOpened(ConnectionOpened),
    ConnectionClosed(ConnectionClosed),
    ConnectionLost(ConnectionLost),
    MessageBroadcast(MessageBroadcast),
    MessageSent(MessageSent),
    MessageDelivered(MessageDelivered),
    MessageUndeliverable(MessageUndeliverable),
    BroadcastDelivered(BroadcastDelivered),
    DaySealed(DaySealed),
    /// Written by a newer version of this program: kept as it is, skipped and counted by readers.
    #[serde(untagged)]
    Unknown(Unknown),
}

/// An event of a type, or of a version of a type, that this program does not know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unknown {
    /// The stored type name.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What the event says.
    pub data: Value,
}

impl Event {
    /// The stored type name.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Event::ConnectionOpened(_) => "ConnectionOpened",
            Event::ConnectionClosed(_) => "ConnectionClosed",
            Event::ConnectionLost(_) => "ConnectionLost",
            Event::MessageBroadcast(_) => "MessageBroadcast",
            Event::MessageSent(_) => "MessageSent",
            Event::MessageDelivered(_) => "MessageDelivered",
            Event::MessageUndeliverable(_) => "MessageUndeliverable",
            Event::BroadcastDelivered(_) => "BroadcastDelivered",
            Event::DaySealed(_) => "DaySealed",
            Event::Unknown(unknown) => &unknown.event_type,
        }
    }
}

/// An event with its place and time: what the log keeps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordedEvent {
    /// Whose history it belongs to.
    pub stream: StreamName,
    /// Unique within the stream; the same fact always has the same id.
    pub id: EventId,
    /// For events of a request, the request's time at the gateway; else the clock just before the append.
    #[serde(serialize_with = "time::serialize")]
    pub at: DateTime<Utc>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// Version of the stored shape of this type.
    pub version: u32,
    /// The gateway's or the invocation's request id, for tracing.
    pub request_id: String,
}
