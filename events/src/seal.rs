//! A seal: tamper evidence for one day of the log, made once the day is settled.
//!
//! The seal is the Merkle root over the day's events, and each seal names the one before it. Whoever keeps a root, or the
//! manifest of its leaves, elsewhere can prove what was in the log, against whoever can write the table. The exact bytes
//! are a contract: RFC 6962's tree over the leaves below, with SHA-256, pinned by test vectors in `tests/seals.rs`.
//!
//! A leaf holds the hash of an event's data and not the data, so that data may be erased later and the seal still hold.

use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use serde_dynamo::{AttributeValue, Item};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    Event, EventId, RecordedEvent, StreamName,
    stored::{LOG_SHARDS, log_day, log_key},
    time,
};

// Stream

/// `seal`: one stream for all days.
#[must_use]
pub fn stream() -> StreamName {
    StreamName::from("seal".to_owned())
}

// Events

/// A day's log was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaySealed {
    /// The day, in UTC.
    pub day: NaiveDate,
    /// Events of the day.
    pub events: u64,
    /// The Merkle root over them.
    pub root: Hash,
    /// The root of the day before, unless this is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Hash>,
}

/// 32 bytes of SHA-256, in hexadecimal when written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> String {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = String;

    fn try_from(text: String) -> Result<Hash, String> {
        let wrong = || format!("`{text}` is no SHA-256 in hexadecimal");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Hash(bytes))
    }
}

/// One event of a sealed day, as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leaf {
    /// The event's id, as stored. Leaves are in the order of id, then stream.
    pub id: String,
    /// Its stream.
    pub stream: String,
    /// The leaf's hash.
    pub hash: Hash,
}

impl Leaf {
    /// The leaf of a stored item, of a known type or not.
    ///
    /// Hashed: a zero byte, then seven fields, each as its length in bytes (8, big-endian) and its bytes: stream, id,
    /// type, version, at, request id, and the SHA-256 of the data as JSON with sorted keys and no spaces. A field that
    /// is missing or is no text or number counts as empty.
    #[must_use]
    pub fn of(item: &Item) -> Leaf {
        let field = |name: &str| match item.get(name) {
            Some(AttributeValue::S(text) | AttributeValue::N(text)) => text.clone(),
            _ => String::new(),
        };
        let mut data: Value =
            item.get("data").and_then(|data| serde_dynamo::from_attribute_value(data.clone()).ok()).unwrap_or_default();
        // Sorted anyway, unless some other crate has switched on `serde_json`'s `preserve_order`.
        data.sort_all_objects();
        let data = Sha256::digest(data.to_string().as_bytes());
        let mut hash = Sha256::new_with_prefix([0]);
        for name in ["stream", "id", "type", "version", "at", "request_id"] {
            let text = field(name);
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.update((data.len() as u64).to_be_bytes());
        hash.update(data);
        Leaf { id: field("id"), stream: field("stream"), hash: Hash(hash.finalize().into()) }
    }
}

/// Where an item is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where its time and id say, or, if it has none that can be read, under some day.
    Logged,
    /// It happened on this day and is not in its log: readers of its stream see it, readers of the log and seals do not.
    Hidden(NaiveDate),
    /// In no day of the log, and it does not say when it happened.
    Nowhere,
}

/// Where a stored item is in the log. Whoever can write the table can leave out the keys of the index.
#[must_use]
pub fn place(item: &Item) -> Place {
    let text = |name: &str| match item.get(name) {
        Some(AttributeValue::S(text)) => text.as_str(),
        _ => "",
    };
    let (day, logged) = (text("day"), text("logged"));
    let at = DateTime::parse_from_rfc3339(text("at")).map(|at| at.with_timezone(&Utc));
    if let (Ok(at), Ok(id)) = (at, text("id").parse::<EventId>()) {
        let there = log_key(at, id) == (day.to_owned(), logged.to_owned());
        return if there { Place::Logged } else { Place::Hidden(at.date_naive()) };
    }
    let shard = day.split_once('#').and_then(|(date, shard)| Some((date.parse().ok()?, shard.parse().ok()?)));
    let is_read = |(date, shard): (NaiveDate, u8)| {
        let midnight = time::to_text(date.and_time(NaiveTime::MIN).and_utc());
        shard < LOG_SHARDS
            && log_day(date, shard) == day
            && logged >= midnight.as_str()
            && logged.starts_with(&midnight[..10])
    };
    if shard.is_some_and(is_read) { Place::Logged } else { Place::Nowhere }
}

/// RFC 6962's Merkle tree hash over leaves in their order; of none, the hash of nothing.
#[must_use]
pub fn root(leaves: &[Leaf]) -> Hash {
    match leaves {
        [] => Hash(Sha256::digest([]).into()),
        [leaf] => leaf.hash,
        leaves => {
            // The largest power of two smaller than their number.
            let split = leaves.len().next_power_of_two() / 2;
            let mut node = Sha256::new_with_prefix([1]);
            node.update(root(&leaves[..split]).0);
            node.update(root(&leaves[split..]).0);
            Hash(node.finalize().into())
        }
    }
}

// Decisions

/// The id of the event that seals a day: there is only one.
#[must_use]
pub fn id(day: NaiveDate) -> EventId {
    EventId::of_fact(&stream(), "DaySealed", Some(&day.to_string()))
}

/// The event that seals a day, whose leaves are in order.
#[must_use]
pub fn seal(
    day: NaiveDate,
    leaves: &[Leaf],
    previous: Option<Hash>,
    at: DateTime<Utc>,
    request_id: &str,
) -> RecordedEvent {
    let sealed = DaySealed { day, events: leaves.len() as u64, root: root(leaves), previous };
    RecordedEvent {
        id: id(day),
        stream: stream(),
        at,
        event: Event::DaySealed(sealed),
        version: 1,
        request_id: request_id.to_owned(),
    }
}
