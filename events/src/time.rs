//! Points in time as they are stored and sent: UTC, RFC 3339, whole milliseconds, `Z`.
//!
//! The width is fixed, so that text order is time order; the log's sort key relies on it. [`now`] is the one clock of the
//! project: whatever decides by the time of day asks it, so that a simulation can run on virtual time (docs/adr/0008).

use std::{cell::Cell, marker::PhantomData};

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, Serializer, de::Error};
use tokio::time::Instant;

thread_local! {
    /// In a simulation: when it began, by its calendar and by tokio's clock.
    static SIMULATED: Cell<Option<(DateTime<Utc>, Instant)>> = const { Cell::new(None) };
}

/// The clock, cut to milliseconds. For shells only: decisions are handed the time.
#[must_use]
pub fn now() -> DateTime<Utc> {
    let now = SIMULATED.get().map_or_else(Utc::now, |(start, began)| start + began.elapsed());
    now.trunc_subsecs(3)
}

/// Has [`now`] follow tokio's clock on this thread, counted from `start`, until the guard is dropped. For simulations: with
/// tokio's time paused, the time of day stands still between timers.
#[must_use]
pub fn simulate(start: DateTime<Utc>) -> Simulated {
    SIMULATED.set(Some((start, Instant::now())));
    Simulated(PhantomData)
}

/// While it lives, time on this thread is simulated. It stays on its thread.
pub struct Simulated(PhantomData<*const ()>);

impl Drop for Simulated {
    fn drop(&mut self) {
        SIMULATED.set(None);
    }
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
