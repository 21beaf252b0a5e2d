//! A conversation: the lobby, where everyone hears everyone, or two connections between themselves.
//!
//! Used by `broadcast` and `chat`. Order within a conversation is the order of ids, final after 30 s (docs/adr/0001);
//! nobody reads a conversation before writing to it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ConnectionId, Event, EventId, RecordedEvent, StreamName, connection};

// Stream

const CATEGORY: &str = "conversation";

/// `conversation#lobby`.
#[must_use]
pub fn lobby() -> StreamName {
    StreamName::new(CATEGORY, "lobby")
}

/// `conversation#<a>~<b>`, the two ids sorted: the same stream whoever writes.
#[must_use]
pub fn between(a: &ConnectionId, b: &ConnectionId) -> StreamName {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    StreamName::new(CATEGORY, format_args!("{first}~{second}"))
}

// Events

/// Somebody said something to everyone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageBroadcast {
    /// The sender, as the gateway knows it.
    pub from: ConnectionId,
    /// 1 byte to [`MAX_TEXT`] of UTF-8.
    pub text: String,
}

/// Somebody said something to one other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSent {
    /// The sender, as the gateway knows it.
    pub from: ConnectionId,
    /// The recipient.
    pub to: ConnectionId,
    /// 1 byte to [`MAX_TEXT`] of UTF-8.
    pub text: String,
    /// Whether the sender wants to hear of the delivery.
    pub receipt: bool,
}

/// Longest text of a message in bytes of UTF-8. Even if JSON escapes every byte (`\u0000`, six for one), a frame stays
/// below the gateway's 128 KB and a notice below EventBridge's 256 KB.
pub const MAX_TEXT: usize = 16 * 1024;

// Decisions

/// Why a message is not taken. The sender is told; nothing is appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No text.
    #[error("the message is empty")]
    Empty,
    /// More than [`MAX_TEXT`].
    #[error("the message has {0} bytes of UTF-8, at most {MAX_TEXT} are taken")]
    TooLarge(usize),
    /// The recipient never connected, or has left.
    #[error("connection {0} is not here")]
    UnknownConnection(ConnectionId),
}

/// Say something to everyone.
pub fn broadcast(
    from: ConnectionId,
    text: String,
    at: DateTime<Utc>,
    request_id: &str,
) -> Result<RecordedEvent, Rejection> {
    check(&text)?;
    Ok(said(lobby(), Event::MessageBroadcast(MessageBroadcast { from, text }), at, request_id))
}

/// Say something to one other, whose stream folds to `recipient`.
pub fn send(
    message: MessageSent,
    recipient: &connection::State,
    at: DateTime<Utc>,
    request_id: &str,
) -> Result<RecordedEvent, Rejection> {
    check(&message.text)?;
    if !recipient.is_live() {
        return Err(Rejection::UnknownConnection(message.to));
    }
    Ok(said(between(&message.from, &message.to), Event::MessageSent(message), at, request_id))
}

fn check(text: &str) -> Result<(), Rejection> {
    match text.len() {
        0 => Err(Rejection::Empty),
        1..=MAX_TEXT => Ok(()),
        bytes => Err(Rejection::TooLarge(bytes)),
    }
}

fn said(stream: StreamName, event: Event, at: DateTime<Utc>, request_id: &str) -> RecordedEvent {
    RecordedEvent {
        stream,
        id: EventId::of_request(at, request_id),
        at,
        event,
        version: 1,
        request_id: request_id.to_owned(),
    }
}
