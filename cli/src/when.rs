//! Points in time as people write them: RFC 3339, a day, or how long ago.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Duration, NaiveDate, NaiveTime, SubsecRound, Utc};

/// A point in time: `2026-11-22T10:00:00Z`, `2026-11-22` (its beginning, in UTC) or `-2h` (`s`, `m`, `h`, `d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct When(pub(crate) DateTime<Utc>);

impl FromStr for When {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<When> {
        parse(text, Utc::now()).map(|at| When(at.trunc_subsecs(3)))
    }
}

fn parse(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    if let Some(ago) = text.strip_prefix('-') {
        return now.checked_sub_signed(span(ago)?).context("that is before the calendar begins");
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    match DateTime::parse_from_rfc3339(text) {
        Ok(at) => Ok(at.with_timezone(&Utc)),
        Err(_) => bail!("write 2026-11-22T10:00:00Z, 2026-11-22 or -2h"),
    }
}

fn span(text: &str) -> Result<Duration> {
    let wrong = || format!("`-{text}`: write -90s, -30m, -2h or -7d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).with_context(wrong)?;
    let number: i64 = number.parse().with_context(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => bail!(wrong()),
    };
    number.checked_mul(seconds).and_then(Duration::try_seconds).with_context(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails

    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        let now: DateTime<Utc> = "2026-11-22T10:00:00Z".parse().unwrap();
        let parsed = |text: &str| parse(text, now).map(|at| at.to_rfc3339());
        assert_eq!(parsed("-2h").unwrap(), "2026-11-22T08:00:00+00:00");
        assert_eq!(parsed("-90s").unwrap(), "2026-11-22T09:58:30+00:00");
        assert_eq!(parsed("-7d").unwrap(), "2026-11-15T10:00:00+00:00");
        assert_eq!(parsed("2026-11-20").unwrap(), "2026-11-20T00:00:00+00:00");
        assert_eq!(parsed("2026-11-20T12:00:00+02:00").unwrap(), "2026-11-20T10:00:00+00:00");
        for wrong in
            ["", "-", "-h", "-2", "-2w", "-99999999999999999999h", "-9999999999999999s", "2026-02-30", "now", "-2ü"]
        {
            assert!(parsed(wrong).is_err(), "{wrong} was taken");
        }
    }
}
