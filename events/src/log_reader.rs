//! Reading the log page by page: nothing here ever holds more than a page per shard.
//!
//! Readers count what they cost. Items come as stored ([`Reader::next_item`]) for those who look at bytes, or decoded.

use std::vec;

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::SdkError,
    operation::{
        query::{QueryError, QueryOutput},
        scan::{ScanError, ScanOutput},
    },
    types::ConsumedCapacity,
};
use aws_smithy_async::future::pagination_stream::PaginationStream;
use chrono::{DateTime, NaiveDate, Utc};
use futures::future::try_join_all;
use serde_dynamo::Item;

use crate::{
    EventLog, ReadError, RecordedEvent, Stored, from_item,
    stored::{log_day, log_key},
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
    what: String,
    pages: Pages,
    page: vec::IntoIter<Item>,
    cost: ReadCost,
}

pub(crate) enum Pages {
    Query(PaginationStream<Result<QueryOutput, SdkError<QueryError, HttpResponse>>>),
    Scan(PaginationStream<Result<ScanOutput, SdkError<ScanError, HttpResponse>>>),
}

impl Reader {
    pub(crate) fn new(what: String, pages: Pages) -> Reader {
        Reader { what, pages, page: Vec::new().into_iter(), cost: ReadCost::default() }
    }

    /// The next event, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Stored>, ReadError> {
        Ok(self.next_item().await?.map(from_item))
    }

    /// The next item as it is stored, or `None` at the end.
    pub async fn next_item(&mut self) -> Result<Option<Item>, ReadError> {
        loop {
            if let Some(item) = self.page.next() {
                return Ok(Some(item));
            }
            if !self.turn_page().await? {
                return Ok(None);
            }
        }
    }

    /// What has been read so far.
    #[must_use]
    pub fn cost(&self) -> ReadCost {
        self.cost
    }

    async fn turn_page(&mut self) -> Result<bool, ReadError> {
        let (items, consumed) = match &mut self.pages {
            Pages::Query(pages) => match pages.next().await {
                Some(page) => {
                    page.map(|p| (p.items, p.consumed_capacity)).map_err(|e| ReadError::new(&self.what, e))?
                }
                None => return Ok(false),
            },
            Pages::Scan(pages) => match pages.next().await {
                Some(page) => {
                    page.map(|p| (p.items, p.consumed_capacity)).map_err(|e| ReadError::new(&self.what, e))?
                }
                None => return Ok(false),
            },
        };
        let items: Vec<Item> = items.unwrap_or_default().into_iter().map(Item::from).collect();
        self.cost += ReadCost { requests: 1, items: items.len() as u64, units: units(consumed.as_ref()) };
        self.page = items.into_iter();
        Ok(true)
    }
}

/// What a request consumed.
pub(crate) fn units(consumed: Option<&ConsumedCapacity>) -> f64 {
    consumed.and_then(|consumed| consumed.capacity_units).unwrap_or_default()
}

/// The log in order of time, over a span of days.
pub struct LogReader {
    log: EventLog,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    next_day: NaiveDate,
    shards: Vec<Shard>,
    /// Of readers that are done.
    cost: ReadCost,
}

/// One shard of the day being read, with the item it would yield next.
struct Shard {
    reader: Reader,
    head: Item,
    stored: Stored,
    /// `<at>#<id>` of the head: the order of the merge. One that cannot be decoded comes first: it is only reported.
    key: String,
}

impl LogReader {
    pub(crate) fn new(log: EventLog, since: DateTime<Utc>, until: DateTime<Utc>) -> LogReader {
        LogReader { log, since, until, next_day: since.date_naive(), shards: Vec::new(), cost: ReadCost::default() }
    }

    /// The next event, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Stored>, ReadError> {
        Ok(self.next_with_item().await?.map(|(_, stored)| stored))
    }

    /// The next event with its item as it is stored, or `None` at the end.
    pub async fn next_with_item(&mut self) -> Result<Option<(Item, Stored)>, ReadError> {
        while self.shards.is_empty() {
            if self.next_day > self.until.date_naive() || self.since >= self.until {
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

    async fn open_day(&mut self) -> Result<(), ReadError> {
        let (since, until) = (time::to_text(self.since), time::to_text(self.until));
        let shard = |shard| {
            let reader = self.log.read_shard(log_day(self.next_day, shard), &since, &until);
            Shard::open(reader)
        };
        for shard in try_join_all((0..self.log.shards()).map(shard)).await? {
            self.keep(shard);
        }
        self.next_day = self.next_day.succ_opt().unwrap_or(NaiveDate::MAX);
        Ok(())
    }

    fn keep(&mut self, shard: Result<Shard, Reader>) {
        match shard {
            Ok(shard) => self.shards.push(shard),
            Err(done) => self.cost += done.cost(),
        }
    }

    async fn take_first(&mut self) -> Result<(Item, Stored), ReadError> {
        let keys = self.shards.iter().map(|shard| shard.key.as_str()).enumerate();
        let first = keys.min_by_key(|(_, key)| *key).map_or(0, |(index, _)| index);
        let Shard { reader, head, stored, .. } = self.shards.swap_remove(first);
        let next = Shard::open(reader).await?;
        self.keep(next);
        Ok((head, stored))
    }
}

impl Shard {
    /// The shard with its next item, or its reader if there is none.
    async fn open(mut reader: Reader) -> Result<Result<Shard, Reader>, ReadError> {
        let Some(head) = reader.next_item().await? else { return Ok(Err(reader)) };
        let stored = from_item(head.clone());
        let key = stored.as_ref().map(merge_key).unwrap_or_default();
        Ok(Ok(Shard { reader, head, stored, key }))
    }
}

fn merge_key(recorded: &RecordedEvent) -> String {
    log_key(recorded.at, recorded.id).1
}
