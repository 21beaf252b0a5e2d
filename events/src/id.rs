//! The two kinds of id: connections are named by the gateway, events are named by what they record.
//!
//! An event's id is a function of the fact, so that the same fact appended twice is one event (docs/adr/0001).
//! The exact bytes are pinned by test vectors in `tests/ids.rs`: changing them would append every fact again.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::{StreamName, time};

/// Namespace of the ids of facts: UUIDv5 of the URL namespace and `https://webchat.invalid/events`. Never changes.
const FACTS: Uuid = Uuid::from_u128(0xa045_0dc5_8a76_5971_b033_572b_e41c_949a);

/// The gateway's name for a connection, such as `JC1dgf9yoAMCK-g=`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConnectionId(String);

/// Text that is no id of the kind asked for.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is no {}", .0.escape_debug(), .1)]
pub struct InvalidId(String, &'static str);

impl ConnectionId {
    /// Longest text taken for a connection id, in bytes. API Gateway's have 16.
    pub const MAX_LEN: usize = 128;

    /// The id as the gateway wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ConnectionId {
    type Error = InvalidId;

    /// Takes letters, digits, `-`, `_` and `=`: what API Gateway uses, and nothing that separates parts of a stream name.
    fn try_from(text: String) -> Result<Self, InvalidId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=');
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(allowed) {
            let shown = text.chars().take(32).collect();
            return Err(InvalidId(shown, "connection id"));
        }
        Ok(ConnectionId(text))
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.to_owned().try_into()
    }
}

impl From<ConnectionId> for String {
    fn from(id: ConnectionId) -> String {
        id.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of an event. Order is meaningful among ids [of requests](EventId::of_request) only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// UUIDv7 of the gateway's request: its time (milliseconds), then the first 74 free bits of SHA-256 of its id.
    ///
    /// An invocation that runs again gets the same id, and ids sort by arrival at the gateway.
    #[must_use]
    pub fn of_request(at: DateTime<Utc>, request_id: &str) -> EventId {
        let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
        let hash = Sha256::digest(request_id.as_bytes());
        let mut bits = [0; 10];
        bits.copy_from_slice(&hash[..10]);
        EventId(Builder::from_unix_timestamp_millis(millis, &bits).into_uuid())
    }

    /// UUIDv5 of `stream/kind[/detail]`: what can happen only once has only one id.
    #[must_use]
    pub fn of_fact(stream: &StreamName, kind: &str, detail: Option<&str>) -> EventId {
        let name = match detail {
            Some(detail) => format!("{stream}/{kind}/{detail}"),
            None => format!("{stream}/{kind}"),
        };
        EventId(Uuid::new_v5(&FACTS, name.as_bytes()))
    }

    /// When the gateway took the request, for ids of requests; `None` for ids of facts.
    #[must_use]
    pub fn request_time(&self) -> Option<DateTime<Utc>> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        time::from_millis(i64::try_from(seconds * 1000 + u64::from(nanos) / 1_000_000).ok()?)
    }

    /// What ids of requests of this millisecond begin with, and what is less than they are and more than all before.
    pub(crate) fn request_prefix(at: DateTime<Utc>) -> String {
        let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
        format!("{:08x}-{:04x}-", millis >> 16, millis & 0xffff)
    }

    /// Which of the log's shards the event is in: the last byte modulo `shards`.
    #[must_use]
    pub fn shard(&self, shards: u8) -> u8 {
        self.0.as_bytes()[15] % shards
    }
}

impl FromStr for EventId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text).map(EventId).map_err(|_| InvalidId(text.chars().take(64).collect(), "event id"))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
