//! Points in time as they are stored and sent: UTC, RFC 3339, whole milliseconds, `Z`.
//!
//! The width is fixed, so that text order is time order; the log's sort key relies on it.

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// The clock, cut to milliseconds. For shells only: decisions are handed the time.
#[must_use]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

/// Milliseconds since 1970, as API Gateway and Lambda give them; `None` beyond the calendar.
#[must_use]
pub fn from_millis(millis: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(millis)
}

/// `2026-11-22T08:55:46.123Z`.
#[must_use]
pub fn to_text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// For `#[serde(with = "events::time")]`.
pub fn serialize<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_text(*at))
}

/// For `#[serde(with = "events::time")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    let at = DateTime::parse_from_rfc3339(&text).map_err(|e| D::Error::custom(format!("time `{text}`: {e}")))?;
    Ok(at.with_timezone(&Utc).trunc_subsecs(3))
}
