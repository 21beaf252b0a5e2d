//! A connection: it opens once, is closed at most once, and is found lost at most once.
//!
//! Used by `connect`, `disconnect`, `chat` (is the recipient there?), `post` and `manage`. The stream has three events
//! at the most, so reading it is one small query.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ConnectionId, Event, EventId, RecordedEvent, StreamName};

// Stream

const CATEGORY: &str = "connection";

/// `connection#<id>`.
#[must_use]
pub fn stream(connection: &ConnectionId) -> StreamName {
    StreamName::new(CATEGORY, connection)
}

/// The connection whose stream this is.
#[must_use]
pub fn of_stream(stream: &StreamName) -> Option<ConnectionId> {
    stream.identity_in(CATEGORY)?.parse().ok()
}

// Events

/// A client connected: appended before the handshake is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionOpened {
    /// The client's address as the gateway saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// The client's `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// The gateway told us that the connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionClosed {
    /// WebSocket close code, such as 1000; 1006 where there was no close frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// The reason that came with the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// We concluded that the connection is gone, as the gateway no longer knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionLost {
    /// What led there.
    pub found_by: FoundBy,
}

/// What made us ask the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// A push was answered with 410.
    Post,
    /// The regular look at every live connection.
    Sweep,
}

// State

/// What a connection's stream says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    opened_at: Option<DateTime<Utc>>,
    ended: bool,
}

impl State {
    /// The state after these events, in any order.
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a RecordedEvent>) -> State {
        let mut state = State::default();
        events.into_iter().for_each(|recorded| state.apply(recorded));
        state
    }

    fn apply(&mut self, recorded: &RecordedEvent) {
        match &recorded.event {
            Event::ConnectionOpened(_) => self.opened_at = Some(recorded.at),
            Event::ConnectionClosed(_) | Event::ConnectionLost(_) => self.ended = true,
            _ => {}
        }
    }

    /// Whether it has opened and not ended, as far as we know.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.opened_at.is_some() && !self.ended
    }

    /// Whether it was closed or found lost.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it opened more than `age` before `now`. One that never opened is as old as can be.
    #[must_use]
    pub fn older_than(&self, age: Duration, now: DateTime<Utc>) -> bool {
        self.opened_at.is_none_or(|at| now.signed_duration_since(at).to_std().is_ok_and(|old| old > age))
    }
}

// Decisions

/// The event of a `$connect`.
#[must_use]
pub fn open(connection: &ConnectionId, data: ConnectionOpened, at: DateTime<Utc>, request_id: &str) -> RecordedEvent {
    once(connection, Event::ConnectionOpened(data), at, request_id)
}

/// The event of a `$disconnect`.
#[must_use]
pub fn close(connection: &ConnectionId, data: ConnectionClosed, at: DateTime<Utc>, request_id: &str) -> RecordedEvent {
    once(connection, Event::ConnectionClosed(data), at, request_id)
}

/// The gateway no longer knows the connection: the event that says so, if the stream does not say yet that it ended.
///
/// `early_gone` guards a connection that is still being established: the gateway does not know it yet either.
#[must_use]
pub fn lose(
    connection: &ConnectionId,
    state: &State,
    found_by: FoundBy,
    early_gone: Duration,
    at: DateTime<Utc>,
    request_id: &str,
) -> Option<RecordedEvent> {
    let gone = state.is_live() && state.older_than(early_gone, at);
    gone.then(|| once(connection, Event::ConnectionLost(ConnectionLost { found_by }), at, request_id))
}

fn once(connection: &ConnectionId, event: Event, at: DateTime<Utc>, request_id: &str) -> RecordedEvent {
    let stream = stream(connection);
    RecordedEvent {
        id: EventId::of_fact(&stream, event.type_name(), None),
        stream,
        at,
        event,
        version: 1,
        request_id: request_id.to_owned(),
    }
}
