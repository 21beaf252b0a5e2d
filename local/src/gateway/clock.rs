//! The gateway's clock: milliseconds since 1970 that never step back.
//!
//! `connectedAt` and `requestTimeEpoch` come from here. Events get ids that sort by `requestTimeEpoch`, so a wall clock
//! set back (NTP, suspend) must not put a later frame before an earlier one.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SecondsFormat, Utc};

#[derive(Default)]
pub(super) struct Clock {
    latest: AtomicI64,
}

impl Clock {
    /// The wall clock, or the latest answer given if that is later.
    pub(super) fn now(&self) -> i64 {
        self.not_before_latest(events::time::now().timestamp_millis())
    }

    fn not_before_latest(&self, wall: i64) -> i64 {
        self.latest.fetch_max(wall, Ordering::Relaxed).max(wall)
    }
}

/// `requestTime`: the common log format, in UTC.
pub(super) fn common_log_format(millis: i64) -> String {
    at(millis).format("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

/// `connectedAt` as `GetConnection` writes it.
pub(super) fn iso_8601(millis: i64) -> String {
    at(millis).to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_while_the_wall_clock_is_behind() {
        let clock = Clock::default();
        assert_eq!(clock.not_before_latest(1000), 1000);
        assert_eq!(clock.not_before_latest(400), 1000);
        assert_eq!(clock.not_before_latest(1001), 1001);
    }

    #[test]
    fn times_are_written_as_aws_writes_them() {
        assert_eq!(common_log_format(1_708_326_702_790), "19/Feb/2024:07:11:42 +0000");
        assert_eq!(iso_8601(1_708_326_702_790), "2024-02-19T07:11:42.790Z");
    }
}
