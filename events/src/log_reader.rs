//! Reading the log page by page: nothing here ever holds more than a page per shard.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::SdkError,
    operation::{query::QueryError, scan::ScanError},
    types::AttributeValue,
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

type Attributes = HashMap<String, AttributeValue>;

/// Events in the order of the store, fetched as they are asked for.
pub struct Reader {
    what: String,
    pages: Pages,
}

enum Pages {
    Query(PaginationStream<Result<Attributes, SdkError<QueryError, HttpResponse>>>),
    Scan(PaginationStream<Result<Attributes, SdkError<ScanError, HttpResponse>>>),
}

impl Reader {
    pub(crate) fn of_query(
        what: String,
        pages: PaginationStream<Result<Attributes, SdkError<QueryError, HttpResponse>>>,
    ) -> Reader {
        Reader { what, pages: Pages::Query(pages) }
    }

    pub(crate) fn of_scan(
        what: String,
        pages: PaginationStream<Result<Attributes, SdkError<ScanError, HttpResponse>>>,
    ) -> Reader {
        Reader { what, pages: Pages::Scan(pages) }
    }

    /// The next event, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Stored>, ReadError> {
        let item = match &mut self.pages {
            Pages::Query(items) => items.next().await.transpose().map_err(|e| ReadError::new(&self.what, e))?,
            Pages::Scan(items) => items.next().await.transpose().map_err(|e| ReadError::new(&self.what, e))?,
        };
        Ok(item.map(|item| from_item(Item::from(item))))
    }
}

/// The log in order of time, over a span of days.
pub struct LogReader {
    log: EventLog,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    next_day: NaiveDate,
    shards: Vec<Shard>,
}

/// One shard of the day being read, with the event it would yield next.
struct Shard {
    reader: Reader,
    head: Stored,
    /// `<at>#<id>` of the head: the order of the merge. One that cannot be decoded comes first: it is only reported.
    key: String,
}

impl LogReader {
    pub(crate) fn new(log: EventLog, since: DateTime<Utc>, until: DateTime<Utc>) -> LogReader {
        LogReader { log, since, until, next_day: since.date_naive(), shards: Vec::new() }
    }

    /// The next event, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Stored>, ReadError> {
        while self.shards.is_empty() {
            if self.next_day > self.until.date_naive() || self.since >= self.until {
                return Ok(None);
            }
            self.open_day().await?;
        }
        self.take_first().await.map(Some)
    }

    async fn open_day(&mut self) -> Result<(), ReadError> {
        let (since, until) = (time::to_text(self.since), time::to_text(self.until));
        let shard = |shard| {
            let reader = self.log.read_shard(log_day(self.next_day, shard), &since, &until);
            Shard::open(reader)
        };
        let shards = try_join_all((0..self.log.shards()).map(shard)).await?;
        self.shards = shards.into_iter().flatten().collect();
        self.next_day = self.next_day.succ_opt().unwrap_or(NaiveDate::MAX);
        Ok(())
    }

    async fn take_first(&mut self) -> Result<Stored, ReadError> {
        let keys = self.shards.iter().map(|shard| shard.key.as_str()).enumerate();
        let first = keys.min_by_key(|(_, key)| *key).map_or(0, |(index, _)| index);
        let Shard { reader, head, .. } = self.shards.swap_remove(first);
        self.shards.extend(Shard::open(reader).await?);
        Ok(head)
    }
}

impl Shard {
    async fn open(mut reader: Reader) -> Result<Option<Shard>, ReadError> {
        let head = reader.next().await?;
        Ok(head.map(|head| Shard { key: head.as_ref().map(merge_key).unwrap_or_default(), reader, head }))
    }
}

fn merge_key(recorded: &RecordedEvent) -> String {
    log_key(recorded.at, recorded.id).1
}
