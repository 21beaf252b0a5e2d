//! Reading the log page by page: nothing here ever holds more than three pages per shard.
//!
//! Whoever reads past a page wants more: from then on the next one is fetched while this one is used, which keeps reader
//! and store busy at once. Readers count what they cost. Items come as stored ([`Reader::next_item`]) for those who look
//! at bytes, or decoded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    vec,
};

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::SdkError,
    operation::{
        query::{QueryError, QueryOutput},
        scan::{ScanError, ScanOutput},
    },
    types::{self, ConsumedCapacity},
};
use aws_smithy_async::future::pagination_stream::PaginationStream;
use chrono::{DateTime, NaiveDate, Utc};
use futures::future::try_join_all;
use serde_dynamo::{AttributeValue, Item};
use tokio::sync::mpsc;

use crate::{
    EventLog, ReadError, Stored, from_item,
    stored::{LOG_SHARDS, log_day},
    time,
};

/// What reading took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReadCost {
    /// Requests to the store.
    pub requests: u64,
    /// Items read.
    pub items: u64,
    /// Capacity units, as the store counted them: one is 4 KB read consistently or 8 KB otherwise.
    pub units: f64,
}

impl std::ops::AddAssign for ReadCost {
    fn add_assign(&mut self, other: ReadCost) {
        self.requests += other.requests;
        self.items += other.items;
        self.units += other.units;
    }
}

/// Events in the order of the store, fetched as they are asked for.
pub struct Reader {
    source: Source,
    page: vec::IntoIter<Item>,
    /// When so many items are left of the page, the next one is fetched.
    half: usize,
    cost: Cost,
}

/// What one request gave.
pub struct Page {
    /// The items asked for.
    pub items: Vec<Item>,
    /// Items the store read for it: more, if it was to leave some out.
    pub read: u64,
}

/// What pages cost, also those fetched and not used yet.
type Cost = Arc<Mutex<ReadCost>>;

/// Where the next page comes from.
enum Source {
    /// From the store, when it is asked for.
    Store(Box<Fetch>),
    /// From a task that fetches ahead.
    Ahead(mpsc::Receiver<Result<Page, ReadError>>),
    End,
}

/// A request that goes on page by page.
struct Fetch {
    what: String,
    pages: Pages,
    cost: Cost,
    /// Requests made.
    fetched: u64,
    is_done: bool,
}

pub(crate) enum Pages {
    Query(PaginationStream<Result<QueryOutput, SdkError<QueryError, HttpResponse>>>),
    Scan(PaginationStream<Result<ScanOutput, SdkError<ScanError, HttpResponse>>>),
}

impl Reader {
    pub(crate) fn new(what: String, pages: Pages) -> Reader {
        let cost = Cost::default();
        let fetch = Fetch { what, pages, cost: cost.clone(), fetched: 0, is_done: false };
        Reader { source: Source::Store(Box::new(fetch)), page: Vec::new().into_iter(), half: 0, cost }
    }

    /// The next event, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Stored>, ReadError> {
        Ok(self.next_item().await?.map(from_item))
    }

    /// The next item as it is stored, or `None` at the end.
    pub async fn next_item(&mut self) -> Result<Option<Item>, ReadError> {
        loop {
            if let Some(item) = self.page.next() {
                if self.half > 0 && self.page.len() == self.half {
                    self.look_ahead();
                }
                return Ok(Some(item));
            }
            let Some(page) = self.next_page().await? else { return Ok(None) };
            self.half = page.items.len() / 2;
            self.page = page.items.into_iter();
        }
    }

    /// All items of the next page, or `None` at the end.
    pub async fn next_page(&mut self) -> Result<Option<Page>, ReadError> {
        self.look_ahead();
        let page = match &mut self.source {
            Source::Store(fetch) => fetch.next().await,
            Source::Ahead(pages) => pages.recv().await,
            Source::End => None,
        };
        page.transpose()
    }

    /// Has the pages behind the first one fetched from now on.
    fn look_ahead(&mut self) {
        self.source = match std::mem::replace(&mut self.source, Source::End) {
            Source::Store(fetch) if fetch.is_done => Source::End,
            Source::Store(fetch) if fetch.fetched > 0 => fetch.ahead(),
            source => source,
        };
    }

    /// What has been read so far.
    #[must_use]
    pub fn cost(&self) -> ReadCost {
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetch {
    /// Fetches page after page, from now on, until nobody wants more.
    fn ahead(mut self) -> Source {
        let (fetched, pages) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(page) = self.next().await
                && fetched.send(page).await.is_ok()
            {}
        });
        Source::Ahead(pages)
    }

    async fn next(&mut self) -> Option<Result<Page, ReadError>> {
        if self.is_done {
            return None;
        }
        self.fetched += 1;
        let fetched = self.fetch().await?;
        Some(fetched.map(|Fetched { items, read, is_last, units }| {
            self.is_done = is_last;
            let read = u64::try_from(read).unwrap_or(0);
            *self.cost.lock().unwrap_or_else(PoisonError::into_inner) += ReadCost { requests: 1, items: read, units };
            Page { items: items.unwrap_or_default().into_iter().map(Item::from).collect(), read }
        }))
    }

    async fn fetch(&mut self) -> Option<Result<Fetched, ReadError>> {
        let failed = &self.what;
        Some(match &mut self.pages {
            Pages::Query(pages) => pages.next().await?.map(Fetched::from).map_err(|e| ReadError::new(failed, e)),
            Pages::Scan(pages) => pages.next().await?.map(Fetched::from).map_err(|e| ReadError::new(failed, e)),
        })
    }
}

/// What both kinds of request answer.
struct Fetched {
    items: Option<Vec<HashMap<String, types::AttributeValue>>>,
    read: i32,
    is_last: bool,
    units: f64,
}

impl From<QueryOutput> for Fetched {
    fn from(page: QueryOutput) -> Fetched {
        let (is_last, units) = (page.last_evaluated_key.is_none(), units(page.consumed_capacity));
        Fetched { items: page.items, read: page.scanned_count, is_last, units }
    }
}

impl From<ScanOutput> for Fetched {
    fn from(page: ScanOutput) -> Fetched {
        let (is_last, units) = (page.last_evaluated_key.is_none(), units(page.consumed_capacity));
        Fetched { items: page.items, read: page.scanned_count, is_last, units }
    }
}

/// What a request consumed.
fn units(consumed: Option<ConsumedCapacity>) -> f64 {
    consumed.and_then(|consumed| consumed.capacity_units).unwrap_or_default()
}

/// Most days looked into at once while there is nothing in them.
const STRIDE: usize = 16;

/// The log in order of time, over a span of days.
pub struct LogReader {
    log: EventLog,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    next_day: NaiveDate,
    /// Days to look into at once: more while they are empty, so that a question about all time is answered soon.
    stride: usize,
    shards: Vec<Shard>,
    /// Of readers that are done.
    cost: ReadCost,
}

/// One shard of the day being read, with the item it would yield next.
struct Shard {
    reader: Reader,
    head: Item,
    /// The head's `logged`, `<at>#<id>`: the order of the merge.
    key: String,
}

impl LogReader {
    pub(crate) fn new(log: EventLog, since: DateTime<Utc>, until: DateTime<Utc>) -> LogReader {
        let next_day = since.date_naive();
        LogReader { log, since, until, next_day, stride: 1, shards: Vec::new(), cost: ReadCost::default() }
    }

    /// The next event, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Stored>, ReadError> {
        Ok(self.next_item().await?.map(from_item))
    }

    /// The next item as it is stored, or `None` at the end.
    pub async fn next_item(&mut self) -> Result<Option<Item>, ReadError> {
        while self.shards.is_empty() {
            if self.since >= self.until || !self.skip_empty_days().await? {
                return Ok(None);
            }
            self.open_day().await?;
        }
        self.take_first().await.map(Some)
    }

    /// What has been read so far.
    #[must_use]
    pub fn cost(&self) -> ReadCost {
        let mut cost = self.cost;
        self.shards.iter().for_each(|shard| cost += shard.reader.cost());
        cost
    }

    /// Moves to the next day that may have events, looking into several at once. False if there are no more days.
    async fn skip_empty_days(&mut self) -> Result<bool, ReadError> {
        while self.stride > 1 && self.next_day <= self.last_day() {
            let days: Vec<NaiveDate> =
                self.next_day.iter_days().take_while(|day| *day <= self.last_day()).take(self.stride).collect();
            let (since, until) = self.bounds();
            let log = &self.log;
            let empty = try_join_all(days.iter().map(|day| is_empty(log, *day, &since, &until))).await?;
            empty.iter().for_each(|(_, cost)| self.cost += *cost);
            let skipped = empty.iter().take_while(|(empty, _)| *empty).count();
            self.next_day = self.next_day.checked_add_days(chrono::Days::new(skipped as u64)).unwrap_or(NaiveDate::MAX);
            if skipped < days.len() {
                self.stride = 1;
            } else {
                self.stride = STRIDE.min(self.stride * 2);
            }
        }
        Ok(self.next_day <= self.last_day())
    }

    async fn open_day(&mut self) -> Result<(), ReadError> {
        let (since, until) = self.bounds();
        let readers = (0..LOG_SHARDS).map(|shard| self.log.read_shard(log_day(self.next_day, shard), &since, &until));
        for shard in try_join_all(readers.map(Shard::open)).await? {
            self.keep(shard);
        }
        self.next_day = self.next_day.succ_opt().unwrap_or(NaiveDate::MAX);
        self.stride = if self.shards.is_empty() { 2 } else { 1 };
        Ok(())
    }

    /// The day of the last millisecond before `until`.
    fn last_day(&self) -> NaiveDate {
        (self.until - chrono::Duration::milliseconds(1)).date_naive()
    }

    fn bounds(&self) -> (String, String) {
        (time::to_text(self.since), time::to_text(self.until))
    }

    fn keep(&mut self, shard: Result<Shard, Reader>) {
        match shard {
            Ok(shard) => self.shards.push(shard),
            Err(done) => self.cost += done.cost(),
        }
    }

    async fn take_first(&mut self) -> Result<Item, ReadError> {
        let keys = self.shards.iter().map(|shard| shard.key.as_str()).enumerate();
        let first = keys.min_by_key(|(_, key)| *key).map_or(0, |(index, _)| index);
        let shard = &mut self.shards[first];
        if let Some(next) = shard.reader.next_item().await? {
            shard.key = key(&next);
            return Ok(std::mem::replace(&mut shard.head, next));
        }
        let Shard { reader, head, .. } = self.shards.swap_remove(first);
        self.cost += reader.cost();
        Ok(head)
    }
}

/// Whether nothing of a day is asked for, by one item of each shard; and what it cost to know.
async fn is_empty(log: &EventLog, day: NaiveDate, since: &str, until: &str) -> Result<(bool, ReadCost), ReadError> {
    let looks = (0..LOG_SHARDS).map(|shard| log.peek_shard(log_day(day, shard), since, until)).map(Shard::open);
    let (mut empty, mut cost) = (true, ReadCost::default());
    for look in try_join_all(looks).await? {
        empty &= look.is_err();
        cost += look.map_or_else(|reader| reader.cost(), |shard| shard.reader.cost());
    }
    Ok((empty, cost))
}

impl Shard {
    /// The shard with its next item, or its reader if there is none.
    async fn open(mut reader: Reader) -> Result<Result<Shard, Reader>, ReadError> {
        let Some(head) = reader.next_item().await? else { return Ok(Err(reader)) };
        Ok(Ok(Shard { key: key(&head), reader, head }))
    }
}

/// Whatever is wrong with an item, the index has it by this attribute.
fn key(item: &Item) -> String {
    match item.get("logged") {
        Some(AttributeValue::S(logged)) => logged.clone(),
        _ => String::new(),
    }
}
