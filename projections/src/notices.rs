//! Notices: what goes over the bus, and which events cause one.
//!
//! The projector publishes what [`of`] derives; `post` and `manage` receive it. A notice repeats what its receiver needs
//! of the event, and delivery is at least once and unordered: the event's id is in every one. Detail types and fields
//! are a contract between versions that run side by side during a deployment.

use chrono::{DateTime, Utc};
use events::{ConnectionId, Event, EventId, RecordedEvent, connection, delivery, delivery::Reason, time};
use serde::{Deserialize, Serialize};

use crate::Cursor;

/// Source of every notice on the bus.
pub const SOURCE: &str = "webchat";

/// A notice, with the shape of an EventBridge event: `detail-type` and `detail`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "detail-type", content = "detail")]
#[allow(missing_docs)] // each variant is documented at its detail
pub enum Notice {
    #[serde(rename = "welcome")]
    Welcome(Welcome),
    #[serde(rename = "chat")]
    Chat(Chat),
    #[serde(rename = "broadcast")]
    Broadcast(Broadcast),
    #[serde(rename = "deliver")]
    Deliver(Deliver),
    #[serde(rename = "receipt")]
    Receipt(Receipt),
    #[serde(rename = "connection.gone")]
    ConnectionGone(ConnectionGone),
}

/// Greet a new connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Of `ConnectionOpened`.
    pub id: EventId,
    /// When it opened.
    #[serde(with = "time")]
    pub at: DateTime<Utc>,
    /// Whom to greet.
    pub connection: ConnectionId,
    /// Counts the notices of this push, from 1.
    pub attempt: u32,
}

/// Push a message to its one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// Of `MessageSent`.
    pub id: EventId,
    /// When it was sent.
    #[serde(with = "time")]
    pub at: DateTime<Utc>,
    /// The sender.
    pub from: ConnectionId,
    /// The recipient.
    pub to: ConnectionId,
    /// What it says.
    pub text: String,
    /// Whether the sender wants to hear of the delivery.
    pub receipt: bool,
    /// Counts the notices of this push, from 1.
    pub attempt: u32,
}

/// What a broadcast says: the same in the plan and in every page of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Of `MessageBroadcast`.
    pub id: EventId,
    /// When it was sent. Who connected later does not hear it.
    #[serde(with = "time")]
    pub at: DateTime<Utc>,
    /// The sender.
    pub from: ConnectionId,
    /// What it says.
    pub text: String,
}

/// Push a message to everyone who is there: directly, or by planning pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    /// The message.
    #[serde(flatten)]
    pub said: Said,
    /// Where an earlier planner stopped, short of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// Where to go on planning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The place in the live index.
    pub cursor: Cursor,
    /// Number of the next page.
    pub page: u32,
}

/// Push a message to exactly these connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// The message.
    #[serde(flatten)]
    pub said: Said,
    /// Number of the page of the audience, from 0.
    pub page: u32,
    /// Counts the notices of this page, from 1.
    pub attempt: u32,
    /// Whom to push to.
    pub connections: Vec<ConnectionId>,
}

/// Tell a sender what became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Of the outcome's event.
    pub id: EventId,
    /// When the outcome was known.
    #[serde(with = "time")]
    pub at: DateTime<Utc>,
    /// The sender of the message, who gets the receipt.
    pub to: ConnectionId,
    /// The message.
    pub message_id: EventId,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Counts the notices of this push, from 1.
    pub attempt: u32,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// The gateway took it.
    Delivered,
    /// It will not arrive.
    Undeliverable {
        /// Why.
        reason: Reason,
    },
}

/// Look into a connection that a push found gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionGone {
    /// Of the event that was being pushed.
    pub id: EventId,
    /// The connection.
    pub connection: ConnectionId,
}

impl Notice {
    /// The bus's `detail-type`.
    #[must_use]
    pub fn detail_type(&self) -> &'static str {
        match self {
            Notice::Welcome(_) => "welcome",
            Notice::Chat(_) => "chat",
            Notice::Broadcast(_) => "broadcast",
            Notice::Deliver(_) => "deliver",
            Notice::Receipt(_) => "receipt",
            Notice::ConnectionGone(_) => "connection.gone",
        }
    }

    /// The bus's `detail`, as JSON.
    pub fn detail(&self) -> serde_json::Result<String> {
        match self {
            Notice::Welcome(detail) => serde_json::to_string(detail),
            Notice::Chat(detail) => serde_json::to_string(detail),
            Notice::Broadcast(detail) => serde_json::to_string(detail),
            Notice::Deliver(detail) => serde_json::to_string(detail),
            Notice::Receipt(detail) => serde_json::to_string(detail),
            Notice::ConnectionGone(detail) => serde_json::to_string(detail),
        }
    }
}

/// The notice an event causes, if any.
#[must_use]
pub fn of(recorded: &RecordedEvent) -> Option<Notice> {
    let (id, at, attempt) = (recorded.id, recorded.at, 1);
    match &recorded.event {
        Event::ConnectionOpened(_) => {
            let connection = connection::of_stream(&recorded.stream)?;
            Some(Notice::Welcome(Welcome { id, at, connection, attempt }))
        }
        Event::MessageSent(m) => {
            let (from, to, text) = (m.from.clone(), m.to.clone(), m.text.clone());
            Some(Notice::Chat(Chat { id, at, from, to, text, receipt: m.receipt, attempt }))
        }
        Event::MessageBroadcast(m) => {
            let said = Said { id, at, from: m.from.clone(), text: m.text.clone() };
            Some(Notice::Broadcast(Broadcast { said, resume: None }))
        }
        Event::MessageDelivered(m) if m.address.receipt => receipt(recorded, &m.address, Outcome::Delivered),
        Event::MessageUndeliverable(m) => receipt(recorded, &m.address, Outcome::Undeliverable { reason: m.reason }),
        _ => None,
    }
}

fn receipt(recorded: &RecordedEvent, address: &delivery::Address, outcome: Outcome) -> Option<Notice> {
    let message_id = delivery::of_stream(&recorded.stream)?;
    let (id, at, to) = (recorded.id, recorded.at, address.from.clone());
    Some(Notice::Receipt(Receipt { id, at, to, message_id, outcome, attempt: 1 }))
}
