//! Comparing the view with the events, and putting right what differs: what replay does and verify only reports.
//!
//! The log is folded connection by connection (a stream's events come together in a scan); a row that does not equal its
//! fold is looked at again, consistently, before anything is said or done, as the projector may be at work. What is too
//! young to be judged or past its time is left alone.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, Utc};
use events::{ConnectionId, Event, EventId, EventLog, ReadError, RecordedEvent, Stored, connection};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    ConnectionsView, Row, ViewError, connections,
    rows::{BATCH, RawRow},
};

/// Rows being looked at, or put right, at once.
const AT_ONCE: usize = 16;

/// Which events count, and which rows.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Events after this do not count; rows past their time by then are not judged.
    pub until: DateTime<Utc>,
    /// Connections with an event younger than this (counted back from `until`) may still be on their way: not judged.
    pub settling: Duration,
}

/// A row that is not what the events say.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Whose row.
    pub connection: ConnectionId,
    /// In what way.
    pub kind: Kind,
    /// Attributes that differ, with what is there and what should be.
    pub attributes: Vec<(String, Option<String>, Option<String>)>,
    /// The last event of the connection, which decides what the row should be; none if the row should not be.
    pub decided_by: Option<(EventId, String)>,
}

/// In what way a row is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It should be there.
    Missing,
    /// It should not be there.
    Extra,
    /// It should be different.
    Different,
}

/// How a reconciliation has come along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events read.
    pub events: u64,
    /// Events of a type or version this program does not know.
    pub unknown: u64,
    /// Items that are no events, or events of connections whose name is none.
    pub undecodable: u64,
    /// Connections the events tell of.
    pub connections: u64,
    /// Rows compared.
    pub rows: u64,
    /// Rows put right (or, when only comparing, found wrong).
    pub differences: u64,
}

/// A reconciliation that did not finish. What was put right so far is right; run it again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The view could not be read or written.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A row kept changing under our hands.
    #[error("the row of connection {0} keeps changing")]
    Restless(ConnectionId),
}

/// What to do with a row that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Say so.
    Compare,
    /// Put it right.
    Repair,
}

/// The log and the view being reconciled. There is no way to send anything from here.
pub struct Reconciliation<'a> {
    /// The events.
    pub log: &'a EventLog,
    /// The view: the live one, or another table.
    pub view: &'a ConnectionsView,
    /// What counts.
    pub scope: Scope,
    /// What to do.
    pub mode: Mode,
    /// Parts the table is scanned in at once. Locally 1: the embedded store sorts for every segment.
    pub segments: i32,
}

/// A connection's events from the scan.
struct Folded {
    row: Row,
    youngest: DateTime<Utc>,
}

impl Reconciliation<'_> {
    /// Goes through all events, then through all rows. `found` hears of each difference, `progress` of the counts.
    pub async fn run(
        &self,
        mut found: impl FnMut(Difference),
        mut progress: impl FnMut(&Report),
    ) -> Result<Report, ReconcileError> {
        let mut report = Report::default();
        // 16 bytes a connection: the one thing here that grows with the log.
        let mut told_of = HashSet::new();
        let mut scans: stream::SelectAll<_> = (0..self.segments).map(|segment| self.folded(segment).boxed()).collect();
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(step) = scans.try_next().await? {
            match step {
                Step::Read(stored) => report.count(&stored),
                Step::Folded(folded) => {
                    report.connections += 1;
                    told_of.insert(fingerprint(&folded.row.connection));
                    batch.push(folded);
                }
            }
            if batch.len() == BATCH {
                self.compare(std::mem::take(&mut batch), &mut report, &mut found).await?;
                progress(&report);
            }
        }
        self.compare(batch, &mut report, &mut found).await?;
        self.compare_unexplained(&told_of, &mut report, &mut found).await?;
        progress(&report);
        Ok(report)
    }

    /// Reads one segment and folds each connection in it.
    fn folded(&self, segment: i32) -> impl futures::Stream<Item = Result<Step, ReconcileError>> + Send + '_ {
        let reader = self.log.scan(segment, self.segments);
        stream::try_unfold((reader, Vec::<RecordedEvent>::new(), None::<Step>, false), move |state| async move {
            let (mut reader, mut same, held, done) = state;
            if let Some(step) = held {
                return Ok(Some((step, (reader, same, None, done))));
            }
            if done {
                return Ok(None);
            }
            let Some(stored) = reader.next().await? else {
                let last = fold(std::mem::take(&mut same));
                return Ok(last.map(|step| (step, (reader, same, None, true))));
            };
            let read = Step::Read(stored.clone());
            let mut complete = None;
            if let Ok(recorded) = stored
                && recorded.at <= self.scope.until
                && connection::of_stream(&recorded.stream).is_some()
            {
                if same.first().is_some_and(|first| first.stream != recorded.stream) {
                    complete = fold(std::mem::take(&mut same));
                }
                same.push(recorded);
            }
            Ok(Some((read, (reader, same, complete, false))))
        })
    }

    async fn compare(
        &self,
        batch: Vec<Folded>,
        report: &mut Report,
        found: &mut impl FnMut(Difference),
    ) -> Result<(), ReconcileError> {
        let due: Vec<Folded> = batch.into_iter().filter(|folded| !self.is_over(&folded.row)).collect();
        if due.is_empty() {
            return Ok(());
        }
        let connections: Vec<ConnectionId> = due.iter().map(|folded| folded.row.connection.clone()).collect();
        let there = self.view.raw_rows(&connections).await?;
        report.rows += due.len() as u64;
        let differs =
            |folded: &Folded| there.get(folded.row.connection.as_str()) != Some(&self.view.wanted(&folded.row));
        let young = |folded: &Folded| self.mode == Mode::Compare && self.is_young(folded.youngest);
        let doubtful = due.into_iter().filter(|folded| differs(folded) && !young(folded)).map(|folded| folded.row);
        let (missing, doubtful): (Vec<Row>, Vec<Row>) =
            doubtful.partition(|row| self.mode == Mode::Repair && !there.contains_key(row.connection.as_str()));
        self.add(missing, report, found).await?;
        self.settle(doubtful.into_iter().map(|row| row.connection).collect(), report, found).await
    }

    /// Writes rows that are not there as the projector does: it adds parts and takes none away, so it needs no second look.
    async fn add(
        &self,
        missing: Vec<Row>,
        report: &mut Report,
        found: &mut impl FnMut(Difference),
    ) -> Result<(), ReconcileError> {
        let writes = stream::iter(missing).map(|row| async move { self.view.write(&row).await.map(|()| row) });
        let mut writes = writes.buffer_unordered(AT_ONCE);
        while let Some(row) = writes.try_next().await? {
            report.differences += 1;
            found(difference(&row.connection, None, Some(&self.view.wanted(&row)), &[]));
        }
        Ok(())
    }

    /// Rows that no event tells of.
    async fn compare_unexplained(
        &self,
        told_of: &HashSet<EventId>,
        report: &mut Report,
        found: &mut impl FnMut(Difference),
    ) -> Result<(), ReconcileError> {
        let mut pages = self.view.pages();
        while let Some(page) = pages.next().await? {
            let names =
                page.iter().filter(|row| !self.is_expired(row)).filter_map(|row| row.get("connection")?.as_s().ok());
            let unexplained = names.filter_map(|name| name.parse().ok()).filter(|c| !told_of.contains(&fingerprint(c)));
            let unexplained: Vec<ConnectionId> = unexplained.collect();
            report.rows += unexplained.len() as u64;
            self.settle(unexplained, report, found).await?;
        }
        Ok(())
    }

    async fn settle(
        &self,
        doubtful: Vec<ConnectionId>,
        report: &mut Report,
        found: &mut impl FnMut(Difference),
    ) -> Result<(), ReconcileError> {
        let looks = stream::iter(doubtful).map(|connection| async move { self.look_again(connection).await });
        let mut looks = looks.buffer_unordered(AT_ONCE);
        while let Some(difference) = looks.try_next().await? {
            if let Some(difference) = difference {
                report.differences += 1;
                found(difference);
            }
        }
        Ok(())
    }

    /// Reads the row, then its stream (so that whatever the projector wrote into the row is in the stream read), and
    /// says or does what is left to say or do.
    async fn look_again(&self, connection: ConnectionId) -> Result<Option<Difference>, ReconcileError> {
        for _ in 0..5 {
            let there = self.view.raw_rows(std::slice::from_ref(&connection)).await?.remove(connection.as_str());
            let stored = self.log.read_whole_stream(&connection::stream(&connection)).await?;
            let events: Vec<RecordedEvent> =
                stored.into_iter().flatten().filter(|e| e.at <= self.scope.until).collect();
            let row = connections::fold(&events).remove(&connection);
            let wanted = row.as_ref().filter(|row| row.is_known()).map(|row| self.view.wanted(row));
            let young = events.iter().any(|event| self.is_young(event.at));
            if there == wanted
                || row.as_ref().is_some_and(|row| self.is_over(row))
                || (young && self.mode == Mode::Compare)
            {
                return Ok(None);
            }
            let difference = difference(&connection, there.as_ref(), wanted.as_ref(), &events);
            // What was in the row when it was read is in the stream read after it; so to put the fold in its place, if it
            // is still as it was, loses nothing that the projector wrote.
            let as_read = there.unwrap_or_default();
            if self.mode == Mode::Compare || self.view.replace(&connection, wanted, &as_read).await? {
                return Ok(Some(difference));
            }
        }
        Err(ReconcileError::Restless(connection))
    }

    fn is_young(&self, at: DateTime<Utc>) -> bool {
        self.scope.until.signed_duration_since(at).to_std().is_ok_and(|age| age < self.scope.settling)
    }

    fn is_over(&self, row: &Row) -> bool {
        self.view.expires_at(row).is_some_and(|at| at <= self.scope.until.timestamp())
    }

    fn is_expired(&self, row: &RawRow) -> bool {
        let at = row.get("expires_at").and_then(|at| at.as_n().ok()?.parse::<i64>().ok());
        at.is_some_and(|at| at <= self.scope.until.timestamp())
    }
}

enum Step {
    Read(Stored),
    Folded(Folded),
}

fn fold(events: Vec<RecordedEvent>) -> Option<Step> {
    let youngest = events.iter().map(|event| event.at).max()?;
    let (_, row) = connections::fold(&events).pop_first()?;
    row.is_known().then_some(Step::Folded(Folded { row, youngest }))
}

/// A connection in 16 bytes.
fn fingerprint(connection: &ConnectionId) -> EventId {
    EventId::of_fact(&connection::stream(connection), "seen", None)
}

fn difference(
    connection: &ConnectionId,
    there: Option<&RawRow>,
    wanted: Option<&RawRow>,
    events: &[RecordedEvent],
) -> Difference {
    let kind = match (there, wanted) {
        (None, _) => Kind::Missing,
        (_, None) => Kind::Extra,
        _ => Kind::Different,
    };
    let empty = RawRow::new();
    let (there, wanted) = (there.unwrap_or(&empty), wanted.unwrap_or(&empty));
    let mut names: Vec<&String> = there.keys().chain(wanted.keys()).collect();
    names.sort();
    names.dedup();
    let differing = names.into_iter().filter(|name| there.get(*name) != wanted.get(*name));
    let attributes = differing.map(|name| (name.clone(), text(there.get(name)), text(wanted.get(name)))).collect();
    let last = events.iter().filter(|e| !matches!(e.event, Event::Unknown(_))).max_by_key(|e| (e.at, e.id));
    let decided_by = last.map(|event| (event.id, event.event.type_name().to_owned()));
    Difference { connection: connection.clone(), kind, attributes, decided_by }
}

fn text(value: Option<&aws_sdk_dynamodb::types::AttributeValue>) -> Option<String> {
    use aws_sdk_dynamodb::types::AttributeValue::{N, S};
    value.map(|value| match value {
        S(text) | N(text) => text.clone(),
        other => format!("{other:?}"),
    })
}

impl Report {
    fn count(&mut self, stored: &Stored) {
        match stored {
            Ok(recorded) => {
                self.events += 1;
                self.unknown += u64::from(matches!(recorded.event, Event::Unknown(_)));
            }
            Err(_) => self.undecodable += 1,
        }
    }
}
