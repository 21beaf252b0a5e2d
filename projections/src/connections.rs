//! The connections view as a pure fold: a join, not a sequence.
//!
//! A stream record may arrive late, again, or before the one it followed. So a row is the set of what is known about a
//! connection, each event adds its own part, and no part depends on another: any order, repetition or batching of the
//! same events gives the same row (docs/adr/0002). `live` and `expires_at` are computed from the parts.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use events::{
    ConnectionId, Event, RecordedEvent,
    connection::{self, FoundBy},
};

/// Number of partitions of the `live` index.
pub const LIVE_SHARDS: u8 = 4;

/// What is known about one connection: nothing, some or all of its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose row.
    pub connection: ConnectionId,
    /// From `ConnectionOpened`.
    pub opened: Option<Opened>,
    /// From `ConnectionClosed`.
    pub closed: Option<Closed>,
    /// From `ConnectionLost`.
    pub lost: Option<Lost>,
}

/// How it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// When.
    pub at: DateTime<Utc>,
    /// The client's address.
    pub source_ip: Option<String>,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
}

/// How it ended, from the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When.
    pub at: DateTime<Utc>,
    /// WebSocket close code.
    pub code: Option<i64>,
    /// The reason that came with it.
    pub text: Option<String>,
}

/// How it ended, by our own conclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// When.
    pub at: DateTime<Utc>,
    /// What led there.
    pub found_by: FoundBy,
}

impl Row {
    /// A row of which nothing is known.
    #[must_use]
    pub fn new(connection: ConnectionId) -> Row {
        Row { connection, opened: None, closed: None, lost: None }
    }

    /// Adds what the event says. Each fact is recorded once, so a part that is there already is the same part.
    pub fn apply(&mut self, recorded: &RecordedEvent) {
        let at = recorded.at;
        match &recorded.event {
            Event::ConnectionOpened(data) => {
                let (source_ip, user_agent) = (data.source_ip.clone(), data.user_agent.clone());
                self.opened = Some(Opened { at, source_ip, user_agent });
            }
            Event::ConnectionClosed(data) => {
                self.closed = Some(Closed { at, code: data.code, text: data.text.clone() });
            }
            Event::ConnectionLost(data) => {
                self.lost = Some(Lost { at, found_by: data.found_by });
            }
            _ => {}
        }
    }

    /// Adds what another row knows of the same connection.
    pub fn join(&mut self, other: Row) {
        self.opened = other.opened.or(self.opened.take());
        self.closed = other.closed.or(self.closed.take());
        self.lost = other.lost.or(self.lost.take());
    }

    /// Whether anything is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.opened.is_some() || self.closed.is_some() || self.lost.is_some()
    }

    /// Whether it opened and has not ended.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.opened.is_some() && self.ended_at().is_none()
    }

    /// The later of its ends.
    #[must_use]
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        let (closed, lost) = (self.closed.as_ref().map(|c| c.at), self.lost.as_ref().map(|l| l.at));
        closed.max(lost)
    }

    /// When the row may go, in seconds since 1970 as DynamoDB's TTL wants it: `retention` after the end.
    #[must_use]
    pub fn expires_at(&self, retention: Duration) -> Option<i64> {
        let retention = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX);
        self.ended_at().map(|at| at.timestamp().saturating_add(retention))
    }
}

/// The rows that events of any streams, in any order, make. Events of other aggregates, or of unknown types, leave no
/// trace.
pub fn fold<'a>(events: impl IntoIterator<Item = &'a RecordedEvent>) -> BTreeMap<ConnectionId, Row> {
    let mut rows = BTreeMap::new();
    for recorded in events {
        if let Some(connection) = connection::of_stream(&recorded.stream) {
            rows.entry(connection.clone()).or_insert_with(|| Row::new(connection)).apply(recorded);
        }
    }
    rows.retain(|_, row| row.opened.is_some() || row.ended_at().is_some());
    rows
}

/// The partition of the `live` index a connection is in: the sum of its bytes modulo [`LIVE_SHARDS`]. Stored: a contract.
#[must_use]
pub fn live_shard(connection: &ConnectionId) -> u8 {
    connection.as_str().bytes().fold(0, u8::wrapping_add) % LIVE_SHARDS
}
