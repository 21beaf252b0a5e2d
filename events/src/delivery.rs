//! What became of a message: one stream per message, written by `post` alone.
//!
//! Delivered and undeliverable share one id per recipient, so the first outcome stands whatever is pushed again later.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ConnectionId, Event, EventId, RecordedEvent, StreamName};

// Stream

const CATEGORY: &str = "delivery";

/// `delivery#<message id>`.
#[must_use]
pub fn stream(message: EventId) -> StreamName {
    StreamName::new(CATEGORY, message)
}

/// The message whose deliveries this stream records.
#[must_use]
pub fn of_stream(stream: &StreamName) -> Option<EventId> {
    stream.identity_in(CATEGORY)?.parse().ok()
}

// Events

/// The gateway took the message for its recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDelivered {
    /// Whose message to whom.
    #[serde(flatten)]
    pub address: Address,
}

/// The message will not reach its recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageUndeliverable {
    /// Whose message to whom.
    #[serde(flatten)]
    pub address: Address,
    /// Why.
    pub reason: Reason,
}

/// What an outcome repeats of its message, so that whoever reads it need not look the message up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The stream the message is in.
    pub conversation: StreamName,
    /// The sender.
    pub from: ConnectionId,
    /// The recipient.
    pub to: ConnectionId,
    /// Whether the sender wants to hear of the delivery.
    pub receipt: bool,
}

/// Why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The recipient had disconnected.
    Ended,
    /// The gateway no longer knew the recipient.
    Gone,
    /// The gateway refused the push for good.
    Refused,
    /// Every attempt failed.
    Unreachable,
}

/// One page of a broadcast's audience was pushed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastDelivered {
    /// Number of the page, from 0.
    pub page: u32,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Connections the gateway took the message for, in this attempt.
    pub delivered: u32,
    /// Connections found ended or gone, in this attempt.
    pub gone: u32,
    /// Connections given up: those the gateway refused for good, and in the last attempt also those it did not take.
    pub failed: u32,
}

// Decisions

/// The event of a push that was taken.
#[must_use]
pub fn delivered(message: EventId, address: Address, at: DateTime<Utc>, request_id: &str) -> RecordedEvent {
    outcome(message, &address.to.clone(), Event::MessageDelivered(MessageDelivered { address }), at, request_id)
}

/// The event of a push that was given up.
#[must_use]
pub fn undeliverable(
    message: EventId,
    address: Address,
    reason: Reason,
    at: DateTime<Utc>,
    request_id: &str,
) -> RecordedEvent {
    let to = address.to.clone();
    outcome(message, &to, Event::MessageUndeliverable(MessageUndeliverable { address, reason }), at, request_id)
}

fn outcome(message: EventId, to: &ConnectionId, event: Event, at: DateTime<Utc>, request_id: &str) -> RecordedEvent {
    record(message, "outcome", to.as_str(), event, at, request_id)
}

/// The event of one attempt at one page.
#[must_use]
pub fn broadcast_delivered(
    message: EventId,
    data: BroadcastDelivered,
    at: DateTime<Utc>,
    request_id: &str,
) -> RecordedEvent {
    let detail = format!("{}/{}", data.page, data.attempt);
    record(message, "BroadcastDelivered", &detail, Event::BroadcastDelivered(data), at, request_id)
}

fn record(
    message: EventId,
    kind: &str,
    detail: &str,
    event: Event,
    at: DateTime<Utc>,
    request_id: &str,
) -> RecordedEvent {
    let stream = stream(message);
    RecordedEvent {
        id: EventId::of_fact(&stream, kind, Some(detail)),
        stream,
        at,
        event,
        version: 1,
        request_id: request_id.to_owned(),
    }
}
