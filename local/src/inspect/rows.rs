//! Rows of the view, as the page shows them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use chrono::{DateTime, TimeDelta, Utc};
use events::{ConnectionId, Timing, time};
use projections::Row;
use serde_json::{Value, json};

/// Rows shown: those who are here first, then those who left last.
const SHOWN: usize = 300;

/// The rows and how many there are.
pub(super) fn tell(mut rows: Vec<Row>) -> Value {
    let live = rows.iter().filter(|row| row.is_live()).count();
    let ended = rows.len() - live;
    rows.sort_by_key(|row| (!row.is_live(), Reverse(row.ended_at()), row.opened.as_ref().map(|opened| opened.at)));
    rows.truncate(SHOWN);
    json!({"live": live, "ended": ended, "rows": rows.iter().map(row).collect::<Vec<_>>()})
}

/// Whether the stored rows are what the log makes. Rows whose time is over may be gone or not.
pub(super) fn same(stored: &[Row], mut made: BTreeMap<ConnectionId, Row>) -> bool {
    let retention = TimeDelta::from_std(Timing::default().view_retention).unwrap_or(TimeDelta::MAX);
    let over = |row: &Row| row.ended_at().is_some_and(|at| at + retention < events::time::now());
    made.retain(|_, row| !over(row));
    let stored: HashMap<_, _> = stored.iter().filter(|row| !over(row)).map(|row| (&row.connection, row)).collect();
    stored.len() == made.len() && made.iter().all(|(id, row)| stored.get(id) == Some(&row))
}

fn row(row: &Row) -> Value {
    let text = |at: DateTime<Utc>| time::to_text(at);
    let Row { connection, opened, closed, lost } = row;
    json!({
        "connection": connection, "live": row.is_live(),
        "opened_at": opened.as_ref().map(|o| text(o.at)),
        "source_ip": opened.as_ref().and_then(|o| o.source_ip.as_ref()),
        "closed_at": closed.as_ref().map(|c| text(c.at)), "close_code": closed.as_ref().and_then(|c| c.code),
        "lost_at": lost.as_ref().map(|l| text(l.at)), "found_by": lost.as_ref().map(|l| l.found_by),
    })
}
