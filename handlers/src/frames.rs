//! The frames the server sends: replies to a request, and pushes that come of an event.
//!
//! Their JSON is the wire protocol (docs/PROTOCOL.md), pinned by the tests below: add fields, never change or remove.

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails

    use events::delivery::Reason;

    use super::*;

    fn id() -> EventId {
        "019f2a6b-3c4d-7abc-8def-0123456789ab".parse().unwrap()
    }

    fn at() -> DateTime<Utc> {
        time::from_millis(1_795_337_746_120).unwrap()
    }

    fn connection(text: &str) -> ConnectionId {
        text.parse().unwrap()
    }

    fn reply(reply: Reply, reference: Option<&str>) -> String {
        reply.with_ref(reference.map(str::to_owned)).to_json().unwrap()
    }

    fn push<'a>(push: impl Into<Push<'a>>) -> String {
        serde_json::to_string(&push.into()).unwrap()
    }

    #[test]
    fn the_json_of_accepted() {
        let accepted = || Reply::Accepted { id: id(), at: at() };
        assert_eq!(
            reply(accepted(), None),
            r#"{"type":"accepted","id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.120Z"}"#
        );
        assert_eq!(
            reply(accepted(), Some("a \"7\"")),
            r#"{"type":"accepted","id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.120Z","ref":"a \"7\""}"#
        );
    }

    #[test]
    fn the_json_of_connections() {
        let alice = LiveConnection { connection: connection("JC1dgf9yoAMCK-g="), opened_at: at() };
        let next = Some(Cursor::behind(1, alice.connection.clone()));
        assert_eq!(
            reply(Reply::Connections { connections: vec![alice], next }, Some("7")),
            r#"{"type":"connections","connections":[{"connection":"JC1dgf9yoAMCK-g=","opened_at":"2026-11-22T08:55:46.120Z"}],"next":"1.JC1dgf9yoAMCK-g=","ref":"7"}"#
        );
        assert_eq!(
            reply(Reply::Connections { connections: vec![], next: None }, None),
            r#"{"type":"connections","connections":[]}"#
        );
    }

    #[test]
    fn the_json_of_pong() {
        let pong = || Reply::Pong { connection: connection("JC1dgf9yoAMCK-g=") };
        assert_eq!(reply(pong(), None), r#"{"type":"pong","connection":"JC1dgf9yoAMCK-g="}"#);
        assert_eq!(reply(pong(), Some("")), r#"{"type":"pong","connection":"JC1dgf9yoAMCK-g=","ref":""}"#);
    }

    #[test]
    fn the_json_of_error() {
        let refused = Refusal::invalid("message", "`message` is missing: a string");
        assert_eq!(
            reply(refused.into(), Some("7")),
            r#"{"type":"error","code":"invalid_request","message":"`message` is missing: a string","field":"message","ref":"7"}"#
        );
        let error = Reply::Error { code: Code::Unavailable, message: "not just now".to_owned(), field: None };
        assert_eq!(reply(error, None), r#"{"type":"error","code":"unavailable","message":"not just now"}"#);
    }

    #[test]
    fn the_codes_of_errors() {
        let codes = [
            (Code::InvalidJson, "invalid_json"),
            (Code::InvalidRequest, "invalid_request"),
            (Code::UnknownAction, "unknown_action"),
            (Code::MessageTooLarge, "message_too_large"),
            (Code::UnknownConnection, "unknown_connection"),
            (Code::Unavailable, "unavailable"),
        ];
        for (code, text) in codes {
            assert_eq!(serde_json::to_value(code).unwrap(), text);
        }
    }

    #[test]
    fn the_log_calls_a_reply_by_its_type() {
        let connection = connection("bob");
        for sent in [
            Reply::Accepted { id: id(), at: at() },
            Reply::Connections { connections: vec![], next: None },
            Reply::Pong { connection },
            Refusal::unavailable().into(),
        ] {
            let sent = sent.with_ref(None);
            assert_eq!(serde_json::to_value(&sent).unwrap()["type"], sent.kind());
        }
    }

    #[test]
    fn the_json_of_welcome() {
        let welcome = notices::Welcome { id: id(), at: at(), connection: connection("JC1dgf9yoAMCK-g="), attempt: 2 };
        assert_eq!(
            push(&welcome),
            r#"{"type":"welcome","id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.120Z","connection":"JC1dgf9yoAMCK-g=","message":"Welcome! - connected on JC1dgf9yoAMCK-g="}"#
        );
    }

    #[test]
    fn the_json_of_broadcast() {
        let said =
            Said { id: id(), at: at(), from: connection("alice"), text: "Anybody \"home\"? \u{1f44b}".to_owned() };
        assert_eq!(
            push(&said),
            r#"{"type":"broadcast","id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.120Z","from":"alice","message":"Anybody \"home\"? 👋"}"#
        );
    }

    #[test]
    fn the_json_of_chat() {
        let (from, to, text) = (connection("alice"), connection("bob"), "Yo!".to_owned());
        let chat = notices::Chat { id: id(), at: at(), from, to, text, receipt: true, attempt: 1 };
        assert_eq!(
            push(&chat),
            r#"{"type":"chat","id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.120Z","from":"alice","to":"bob","message":"Yo!"}"#
        );
    }

    #[test]
    fn the_json_of_receipt() {
        let receipt = |outcome| {
            let message_id = "019f2a6b-0000-7abc-8def-0123456789ab".parse().unwrap();
            let to = connection("alice");
            push(&notices::Receipt { id: id(), at: at(), to, message_id, outcome, attempt: 1 })
        };
        assert_eq!(
            receipt(Outcome::Delivered),
            r#"{"type":"receipt","id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.120Z","message_id":"019f2a6b-0000-7abc-8def-0123456789ab","status":"delivered"}"#
        );
        assert_eq!(
            receipt(Outcome::Undeliverable { reason: Reason::Gone }),
            r#"{"type":"receipt","id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.120Z","message_id":"019f2a6b-0000-7abc-8def-0123456789ab","status":"undeliverable","reason":"gone"}"#
        );
    }
}
