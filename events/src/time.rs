//! Points in time as they are stored and sent: UTC, RFC 3339, whole milliseconds, `Z`.
//!
//! The width is fixed, so that text order is time order; the log's sort key relies on it. [`now`] is the one clock of the
//! project: whatever decides by the time of day asks it, so that a simulation can run on virtual time (docs/adr/0008).

use std::{cell::Cell, marker::PhantomData};

use std::fmt;

use chrono::{DateTime, Datelike, SecondsFormat, SubsecRound, Utc};
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
    DateTime::from_timestamp_millis(millis).filter(|at| has_four_digits(*at))
}

/// Whether the text has the fixed width. An offset can carry a year of four digits over the edge.
fn has_four_digits(at: DateTime<Utc>) -> bool {
    (0..=9999).contains(&at.year())
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
    let wrong = |why: &dyn fmt::Display| D::Error::custom(format!("time `{}`: {why}", text.escape_debug()));
    let at = DateTime::parse_from_rfc3339(&text).map_err(|error| wrong(&error))?.with_timezone(&Utc);
    match has_four_digits(at) {
        true => Ok(at.trunc_subsecs(3)),
        false => Err(wrong(&"its year in UTC has no four digits")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails

    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let json = serde_json::Value::from(text);
        deserialize(json).map(to_text).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn what_is_read_is_written_at_the_fixed_width_and_read_again() {
        for text in ["2026-11-22T08:55:46.123Z", "2026-11-22T09:55:46.1239+01:00", "0000-01-01T00:00:00Z"] {
            let written = read(text).unwrap();
            assert_eq!((written.len(), read(&written)), (24, Ok(written.clone())), "{text}");
        }
        for text in ["9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"] {
            assert!(read(text).unwrap_err().contains("four digits"), "{text}");
        }
        assert_eq!(from_millis(253_402_300_800_000), None, "the year 10000");
    }

    #[test]
    fn what_is_no_time_is_quoted_without_its_control_characters() {
        let error = read("a\n\u{1b}[2J\u{202e}").unwrap_err();
        assert!(!error.contains(|c: char| c.is_control() || c == '\u{202e}'), "{error:?}");
    }
}
