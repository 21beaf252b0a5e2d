//! The frames the server sends: replies to a request, and pushes that come of an event.
//!
//! Their JSON is the wire protocol (docs/PROTOCOL.md), pinned by `tests/frames.rs`: add fields, never change or remove.

use chrono::{DateTime, Utc};
use events::{ConnectionId, EventId, time};
use projections::{
    Cursor, LiveConnection,
    notices::{self, Outcome, Said},
};
use serde::Serialize;

use crate::request::Refusal;

/// A reply: the route response to one frame.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WithRef {
    #[serde(flatten)]
    reply: Reply,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
}

/// What a reply says.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The event is durably appended.
    Accepted {
        id: EventId,
        #[serde(with = "time")]
        at: DateTime<Utc>,
    },
    /// Who is there.
    Connections {
        connections: Vec<LiveConnection>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<Cursor>,
    },
    /// The way here and back works.
    Pong { connection: ConnectionId },
    /// Nothing was done.
    Error {
        code: Code,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<&'static str>,
    },
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    InvalidJson,
    InvalidRequest,
    UnknownAction,
    MessageTooLarge,
    UnknownConnection,
    Unavailable,
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Reply::Error { code: refusal.code, message: refusal.message, field: refusal.field }
    }
}

impl Reply {
    /// The reply with the request's `ref`.
    pub(crate) fn with_ref(self, reference: Option<String>) -> WithRef {
        WithRef { reply: self, reference }
    }
}

impl WithRef {
    /// The `type`, for the log.
    pub(crate) fn kind(&self) -> &'static str {
        match self.reply {
            Reply::Accepted { .. } => "accepted",
            Reply::Connections { .. } => "connections",
            Reply::Pong { .. } => "pong",
            Reply::Error { .. } => "error",
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// A push: sent through `@connections`, because of an event.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Push<'a> {
    Welcome {
        id: EventId,
        #[serde(with = "time")]
        at: DateTime<Utc>,
        connection: &'a ConnectionId,
        message: String,
    },
    Broadcast {
        id: EventId,
        #[serde(with = "time")]
        at: DateTime<Utc>,
        from: &'a ConnectionId,
        message: &'a str,
    },
    Chat {
        id: EventId,
        #[serde(with = "time")]
        at: DateTime<Utc>,
        from: &'a ConnectionId,
        to: &'a ConnectionId,
        message: &'a str,
    },
    Receipt {
        id: EventId,
        #[serde(with = "time")]
        at: DateTime<Utc>,
        message_id: EventId,
        #[serde(flatten)]
        outcome: &'a Outcome,
    },
}

impl<'a> From<&'a notices::Welcome> for Push<'a> {
    fn from(n: &'a notices::Welcome) -> Self {
        let message = format!("Welcome! - connected on {}", n.connection);
        Push::Welcome { id: n.id, at: n.at, connection: &n.connection, message }
    }
}

impl<'a> From<&'a Said> for Push<'a> {
    fn from(said: &'a Said) -> Self {
        Push::Broadcast { id: said.id, at: said.at, from: &said.from, message: &said.text }
    }
}

impl<'a> From<&'a notices::Chat> for Push<'a> {
    fn from(n: &'a notices::Chat) -> Self {
        Push::Chat { id: n.id, at: n.at, from: &n.from, to: &n.to, message: &n.text }
    }
}

impl<'a> From<&'a notices::Receipt> for Push<'a> {
    fn from(n: &'a notices::Receipt) -> Self {
        Push::Receipt { id: n.id, at: n.at, message_id: n.message_id, outcome: &n.outcome }
    }
}
