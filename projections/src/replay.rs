//! Replay: the view from the events again, into the live table or into another one.
//!
//! Safe while the projector runs, and repeatable: it writes the same join. It is handed a log and a view and nothing
//! else; there is no bus and no gateway in this crate, so it has no way to send.

use events::{ConnectionId, EventLog, ReadError, Stored, connection};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{ConnectionsView, Row, ViewError, connections};

/// Rows being written at once.
const WRITES: usize = 16;

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events read.
    pub events: u64,
    /// Events of a type this program does not know.
    pub unknown: u64,
    /// Items that are no events.
    pub undecodable: u64,
    /// Rows written.
    pub rows: u64,
}

/// A replay that did not finish. Rows written so far are right; run it again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The view could not be written.
    #[error(transparent)]
    Write(#[from] ViewError),
}

/// Folds every connection of segment `segment` of `segments` of the log and writes its row.
pub async fn replay(
    log: &EventLog,
    view: &ConnectionsView,
    segment: i32,
    segments: i32,
) -> Result<Report, ReplayError> {
    let mut report = Report::default();
    let mut reader = log.scan(segment, segments);
    let mut rows = Vec::new();
    // A stream's events come together in a scan, so a row is complete when the next connection's begins.
    let mut current: Option<(ConnectionId, Vec<_>)> = None;
    while let Some(stored) = reader.next().await? {
        report.count(&stored);
        let Ok(recorded) = stored else { continue };
        let Some(connection) = connection::of_stream(&recorded.stream) else {
            continue;
        };
        match &mut current {
            Some((same, events)) if *same == connection => events.push(recorded),
            _ => rows.extend(current.replace((connection, vec![recorded])).and_then(row)),
        }
        if rows.len() >= WRITES {
            report.rows += write(view, std::mem::take(&mut rows)).await?;
        }
    }
    rows.extend(current.and_then(row));
    report.rows += write(view, rows).await?;
    Ok(report)
}

fn row((connection, events): (ConnectionId, Vec<events::RecordedEvent>)) -> Option<Row> {
    connections::fold(&events).remove(&connection)
}

async fn write(view: &ConnectionsView, rows: Vec<Row>) -> Result<u64, ViewError> {
    let count = rows.len() as u64;
    stream::iter(rows)
        .map(|row| async move { view.write(&row).await })
        .buffer_unordered(WRITES)
        .try_collect::<()>()
        .await?;
    Ok(count)
}

impl Report {
    fn count(&mut self, stored: &Stored) {
        match stored {
            Ok(recorded) => {
                self.events += 1;
                self.unknown += u64::from(matches!(recorded.event, events::Event::Unknown(_)));
            }
            Err(_) => self.undecodable += 1,
        }
    }
}
