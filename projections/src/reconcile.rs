//! Comparing the view with the events, and putting right what differs: what replay does and verify only reports.
//!
//! The log is folded connection by connection (a stream's events come together in a scan); a row that does not equal its
//! fold is looked at again, consistently, before anything is said or done, as the projector may be at work. What is too
//! young to be judged or past its time is left alone.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use chrono::{DateTime, Utc};
use events::{
    ConnectionId, Event, EventId, EventLog, ReadError, Reader, RecordedEvent, Stored, Undecodable, connection,
    from_item, time,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::{
    ConnectionsView, Row, ViewError, connections,
    rows::{BATCH, RawRow},
};

/// Rows being looked at, or put right, at once.
const AT_ONCE: usize = 16;

/// Which events count, and which rows.
///
/// The moment from which age is counted is `until`, or now if that is earlier: so with an `until` in the future everything
/// counts, also what a host whose clock is ahead has recorded.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Events after this do not count; rows past their time by then (or by now) are not judged.
    pub until: DateTime<Utc>,
    /// Connections with an event younger than this may still be on their way: when comparing, not judged.
    pub settling: Duration,
}

impl Scope {
    /// Every event, whatever its clock said.
    #[must_use]
    pub fn everything(settling: Duration) -> Scope {
        Scope { until: DateTime::<Utc>::MAX_UTC, settling }
    }

    fn moment(&self) -> DateTime<Utc> {
        self.until.min(time::now())
    }
}

/// What a reconciliation tells of while it goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// A row that is not what the events say.
    Differs(Difference),
    /// An event that was passed by: of a type or version this program does not know, or one that cannot be decoded.
    Skipped(Box<Stored>),
}

/// A row that is not what the events say.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Whose row: the row's key, which is a connection's name unless somebody else wrote it.
    pub connection: String,
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
    /// Items that are no events, or events of a connection in a stream that is no connection's.
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
    Restless(String),
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

/// What a page of the scan gave.
#[derive(Default)]
struct Page {
    events: u64,
    skipped: Vec<Stored>,
    folded: Vec<Folded>,
}

impl Reconciliation<'_> {
    /// Goes through all events, then through all rows. `found` hears of each difference and of each event passed by,
    /// `progress` of the counts.
    pub async fn run(
        &self,
        mut found: impl FnMut(Finding),
        mut progress: impl FnMut(&Report),
    ) -> Result<Report, ReconcileError> {
        let mut report = Report::default();
        let mut told_of = ToldOf::default();
        let mut scans: stream::SelectAll<_> = (0..self.segments).map(|segment| self.folded(segment).boxed()).collect();
        let mut due = Vec::with_capacity(BATCH);
        while let Some(page) = scans.try_next().await? {
            report.events += page.events;
            page.skipped.into_iter().for_each(|stored| skip(stored, &mut report, &mut found));
            for folded in page.folded {
                report.connections += 1;
                // The row of one that is long over is gone, or about to go; should it look otherwise, no event explains it.
                if self.is_over(&folded.row) {
                    continue;
                }
                told_of.insert(folded.row.connection.as_str());
                due.push(folded);
                if due.len() == BATCH {
                    self.compare(std::mem::take(&mut due), &mut report, &mut found).await?;
                }
            }
            progress(&report);
        }
        self.compare(due, &mut report, &mut found).await?;
        self.compare_unexplained(&told_of, &mut report, &mut found).await?;
        progress(&report);
        Ok(report)
    }

    /// Reads one segment page by page and folds each connection in it. One whose events go on behind a page comes with
    /// the page they end in.
    fn folded(&self, segment: i32) -> impl Stream<Item = Result<Page, ReconcileError>> + Send + '_ {
        // To compare is to judge the log, too: what cannot be read there is told of, whether it matters to the view or not.
        let reader = match self.mode {
            Mode::Compare => self.log.scan(segment, self.segments),
            Mode::Repair => self.log.scan_connections(segment, self.segments),
        };
        let reader = Some(reader);
        stream::try_unfold((reader, Vec::new()), move |(reader, mut same): (Option<Reader>, _)| async move {
            let Some(mut reader) = reader else { return Ok(None) };
            let mut page = Page::default();
            let Some(read) = reader.next_page().await? else {
                page.folded.extend(fold(&same));
                return Ok(Some((page, (None, Vec::new()))));
            };
            page.events = read.read;
            for item in read.items {
                self.take(from_item(item), &mut same, &mut page);
            }
            Ok(Some((page, (Some(reader), same))))
        })
    }

    /// Adds an event to those of the same connection, which are folded when the next one's begin.
    fn take(&self, stored: Stored, same: &mut Vec<RecordedEvent>, page: &mut Page) {
        let recorded = match stored.and_then(in_its_stream) {
            Ok(recorded) => recorded,
            Err(error) => {
                page.events = page.events.saturating_sub(1);
                return page.skipped.push(Err(error));
            }
        };
        if matches!(recorded.event, Event::Unknown(_)) {
            page.skipped.push(Ok(recorded));
        } else if recorded.at <= self.scope.until && is_of_a_connection(&recorded.event) {
            if same.first().is_some_and(|first: &RecordedEvent| first.stream != recorded.stream) {
                page.folded.extend(fold(same));
                same.clear();
            }
            same.push(recorded);
        }
    }

    async fn compare(
        &self,
        due: Vec<Folded>,
        report: &mut Report,
        found: &mut impl FnMut(Finding),
    ) -> Result<(), ReconcileError> {
        if due.is_empty() {
            return Ok(());
        }
        let connections: Vec<String> = due.iter().map(|folded| folded.row.connection.to_string()).collect();
        let there = self.view.raw_rows(&connections).await?;
        report.rows += due.len() as u64;
        let differs =
            |folded: &Folded| there.get(folded.row.connection.as_str()) != Some(&self.view.wanted(&folded.row));
        let young = |folded: &Folded| self.mode == Mode::Compare && self.is_young(folded.youngest);
        let doubtful = due.into_iter().filter(|folded| differs(folded) && !young(folded)).map(|folded| folded.row);
        let (missing, doubtful): (Vec<Row>, Vec<Row>) =
            doubtful.partition(|row| self.mode == Mode::Repair && !there.contains_key(row.connection.as_str()));
        self.add(missing, report, found).await?;
        self.settle(doubtful.into_iter().map(|row| row.connection.into()).collect(), report, found).await
    }

    /// Writes rows that are not there as the projector does: it adds parts and takes none away, so it needs no second look.
    async fn add(
        &self,
        missing: Vec<Row>,
        report: &mut Report,
        found: &mut impl FnMut(Finding),
    ) -> Result<(), ReconcileError> {
        let writes = stream::iter(missing).map(|row| async move { self.view.write(&row).await.map(|()| row) });
        let mut writes = writes.buffer_unordered(AT_ONCE);
        while let Some(row) = writes.try_next().await? {
            report.differences += 1;
            found(Finding::Differs(difference(row.connection.as_str(), None, Some(&self.view.wanted(&row)), &[])));
        }
        Ok(())
    }

    /// Rows that no event tells of.
    async fn compare_unexplained(
        &self,
        told_of: &ToldOf,
        report: &mut Report,
        found: &mut impl FnMut(Finding),
    ) -> Result<(), ReconcileError> {
        let mut pages = self.view.pages();
        while let Some(page) = pages.next().await? {
            let rows = page.iter().filter(|row| !self.is_expired(row));
            let names = rows.filter_map(|row| row.get("connection")?.as_s().ok());
            let unexplained: Vec<String> = names.filter(|name| !told_of.contains(name)).cloned().collect();
            report.rows += unexplained.len() as u64;
            self.settle(unexplained, report, found).await?;
        }
        Ok(())
    }

    async fn settle(
        &self,
        doubtful: Vec<String>,
        report: &mut Report,
        found: &mut impl FnMut(Finding),
    ) -> Result<(), ReconcileError> {
        let looks = stream::iter(doubtful).map(|connection| async move { self.look_again(connection).await });
        let mut looks = looks.buffer_unordered(AT_ONCE);
        while let Some(difference) = looks.try_next().await? {
            if let Some(difference) = difference {
                report.differences += 1;
                found(Finding::Differs(difference));
            }
        }
        Ok(())
    }

    /// Reads the row, then its stream (so that whatever the projector wrote into the row is in the stream read), and
    /// says or does what is left to say or do.
    async fn look_again(&self, name: String) -> Result<Option<Difference>, ReconcileError> {
        for _ in 0..5 {
            let there = self.view.raw_rows(std::slice::from_ref(&name)).await?.remove(&name);
            let Some(events) = self.life(&name).await? else { return Ok(None) };
            let row = connections::fold(&events).into_values().next();
            let wanted = row.as_ref().map(|row| self.view.wanted(row));
            let young = self.mode == Mode::Compare && events.iter().any(|event| self.is_young(event.at));
            let over = there.is_none() && row.as_ref().is_some_and(|row| self.is_over(row));
            if there == wanted || young || over {
                return Ok(None);
            }
            let difference = difference(&name, there.as_ref(), wanted.as_ref(), &events);
            // What was in the row when it was read is in the stream read after it; so to put the fold in its place, if it
            // is still as it was, loses nothing that the projector wrote.
            let as_read = there.unwrap_or_default();
            if self.mode == Mode::Compare || self.view.replace(&name, wanted, &as_read).await? {
                return Ok(Some(difference));
            }
        }
        Err(ReconcileError::Restless(name))
    }

    /// What the log says of a connection, consistently; nothing if the name is no connection's. `None` if some of it cannot
    /// be read: the row may know more than we do, and is left as it is.
    async fn life(&self, name: &str) -> Result<Option<Vec<RecordedEvent>>, ReconcileError> {
        let Ok(connection) = name.parse::<ConnectionId>() else { return Ok(Some(Vec::new())) };
        let stored = self.log.read_whole_stream(&connection::stream(&connection)).await?;
        let whole = stored.iter().all(|stored| stored.as_ref().is_ok_and(|e| !matches!(e.event, Event::Unknown(_))));
        let events = stored.into_iter().flatten().filter(|event| event.at <= self.scope.until);
        Ok(whole.then(|| events.collect()))
    }

    /// Too young to be judged; what a clock that is ahead has recorded is the youngest of all.
    fn is_young(&self, at: DateTime<Utc>) -> bool {
        let age = self.scope.moment().signed_duration_since(at).to_std().unwrap_or_default();
        age < self.scope.settling
    }

    fn is_over(&self, row: &Row) -> bool {
        self.view.expires_at(row).is_some_and(|at| at <= self.scope.moment().timestamp())
    }

    /// A row that DynamoDB will remove soon. One that is in the index of who is there matters until then.
    fn is_expired(&self, row: &RawRow) -> bool {
        let at = row.get("expires_at").and_then(|at| at.as_n().ok()?.parse::<i64>().ok());
        !row.contains_key("live") && at.is_some_and(|at| at <= self.scope.moment().timestamp())
    }
}

/// Counts an event that is passed by, and tells of it.
fn skip(stored: Stored, report: &mut Report, found: &mut impl FnMut(Finding)) {
    match &stored {
        Ok(_) => report.unknown += 1,
        Err(_) => report.undecodable += 1,
    }
    found(Finding::Skipped(Box::new(stored)));
}

fn is_of_a_connection(event: &Event) -> bool {
    matches!(event, Event::ConnectionOpened(_) | Event::ConnectionClosed(_) | Event::ConnectionLost(_))
}

/// The event, unless it tells of a connection and its stream does not say of which.
fn in_its_stream(recorded: RecordedEvent) -> Stored {
    if is_of_a_connection(&recorded.event) && connection::of_stream(&recorded.stream).is_none() {
        let why = "its stream names no connection".to_owned();
        return Err(Undecodable { stream: Some(recorded.stream.to_string()), id: Some(recorded.id.to_string()), why });
    }
    Ok(recorded)
}

fn fold(events: &[RecordedEvent]) -> Option<Folded> {
    let youngest = events.iter().map(|event| event.at).max()?;
    let (_, row) = connections::fold(events).pop_first()?;
    Some(Folded { row, youngest })
}

/// The connections that events tell of and whose row should be there, in 16 bytes each: the one thing here that grows.
#[derive(Default)]
struct ToldOf {
    seen: HashSet<(u64, u64)>,
    /// Two hashes, so that no two of a billion names are taken for one another.
    hashes: (RandomState, RandomState),
}

impl ToldOf {
    fn insert(&mut self, name: &str) {
        self.seen.insert(self.fingerprint(name));
    }

    fn contains(&self, name: &str) -> bool {
        self.seen.contains(&self.fingerprint(name))
    }

    fn fingerprint(&self, name: &str) -> (u64, u64) {
        (self.hashes.0.hash_one(name), self.hashes.1.hash_one(name))
    }
}

fn difference(name: &str, there: Option<&RawRow>, wanted: Option<&RawRow>, events: &[RecordedEvent]) -> Difference {
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
    Difference { connection: name.to_owned(), kind, attributes, decided_by }
}

fn text(value: Option<&aws_sdk_dynamodb::types::AttributeValue>) -> Option<String> {
    use aws_sdk_dynamodb::types::AttributeValue::{N, S};
    value.map(|value| match value {
        S(text) | N(text) => text.clone(),
        other => format!("{other:?}"),
    })
}
