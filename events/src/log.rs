//! The event log: one DynamoDB table, appended to and read, never changed.
//!
//! Appending is one conditional put, and both answers are success: the event is new, or it was already there.
//! Every Query and Scan carries a `Limit`: the local store reads everything a request without one could return.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::{put_item::PutItemError, query::builders::QueryFluentBuilder, scan::builders::ScanFluentBuilder},
    types::{AttributeValue, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure},
};
use chrono::{DateTime, Utc};
use serde_dynamo::Item;

use crate::{
    EventId, LogReader, Reader, RecordedEvent, Stored, StreamName, Undecodable, from_item,
    log_reader::Pages,
    stored::{OTHER_TYPES, log_key},
    to_item,
};

/// Items a page may hold. The local store slows down on larger ones; AWS cuts a page at 1 MB anyway.
pub(crate) const PAGE: i32 = 1000;

/// The event table.
#[derive(Clone, Debug)]
pub struct EventLog {
    client: Client,
    table: String,
}

/// What an append found.
#[derive(Clone, Debug, PartialEq)]
pub enum Appended {
    /// The event is in the log now and was not before.
    New,
    /// The fact was recorded before, as this.
    AlreadyThere(Box<RecordedEvent>),
}

/// An append that did not take place, as far as we can tell.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another try may succeed.
    #[error("appending {event} {id} to {stream}: {why}")]
    Unavailable {
        /// The type of the event.
        event: String,
        /// Its id.
        id: EventId,
        /// Its stream.
        stream: StreamName,
        /// What the store or the network said.
        why: String,
    },
    /// The store will never take this event.
    #[error("the store refused {event} {id} of {stream}: {why}")]
    Refused {
        /// The type of the event.
        event: String,
        /// Its id.
        id: EventId,
        /// Its stream.
        stream: StreamName,
        /// What the store said.
        why: String,
    },
    /// Something that is no event has this event's key.
    #[error(transparent)]
    Corrupt(#[from] Undecodable),
}

/// A read that did not finish.
#[derive(Debug, thiserror::Error)]
#[error("reading {what}: {why}")]
pub struct ReadError {
    what: String,
    why: String,
}

impl ReadError {
    pub(crate) fn new<E>(what: impl Into<String>, error: E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        ReadError { what: what.into(), why: DisplayErrorContext(error).to_string() }
    }
}

impl EventLog {
    /// The log in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> EventLog {
        EventLog { client, table: table.into() }
    }

    /// Records the event, once.
    ///
    /// When the answer is lost, the event is looked up by its id before anything is said, so that an append that took
    /// effect is never reported as failed.
    pub async fn append(&self, recorded: &RecordedEvent) -> Result<Appended, AppendError> {
        let item = to_item(recorded).map_err(|error| refused(recorded, error.to_string()))?;
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item.into()))
            .condition_expression("attribute_not_exists(id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(Appended::New),
            Err(SdkError::ServiceError(error)) => match error.into_err() {
                PutItemError::ConditionalCheckFailedException(found) => already_there(found.item),
                error if is_refusal(error.code()) => Err(refused(recorded, DisplayErrorContext(error).to_string())),
                error => self.look_up(recorded, DisplayErrorContext(error).to_string()).await,
            },
            Err(error) => self.look_up(recorded, DisplayErrorContext(error).to_string()).await,
        }
    }

    async fn look_up(&self, recorded: &RecordedEvent, why: String) -> Result<Appended, AppendError> {
        match self.get(&recorded.stream, recorded.id).await {
            Ok(Some(found)) => Ok(Appended::AlreadyThere(Box::new(found?))),
            Ok(None) | Err(_) => Err(AppendError::Unavailable {
                event: recorded.event.type_name().to_owned(),
                id: recorded.id,
                stream: recorded.stream.clone(),
                why,
            }),
        }
    }

    /// One event, consistently.
    pub async fn get(&self, stream: &StreamName, id: EventId) -> Result<Option<Stored>, ReadError> {
        Ok(self.get_item(stream.as_str(), &id.to_string()).await?.map(from_item))
    }

    /// One event as it is stored, whatever is wrong with it.
    pub async fn get_item(&self, stream: &str, id: &str) -> Result<Option<Item>, ReadError> {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        let get = get.key("stream", AttributeValue::S(stream.to_owned())).key("id", AttributeValue::S(id.to_owned()));
        let found = get.send().await.map_err(|error| ReadError::new(format!("event {id} of {stream}"), error))?;
        Ok(found.item.map(Item::from))
    }

    /// One stream, consistently, in id order.
    #[must_use]
    pub fn read_stream(&self, stream: &StreamName) -> Reader {
        let query = self.query().consistent_read(true);
        let query = query
            .key_condition_expression("#stream = :stream")
            .expression_attribute_names("#stream", "stream")
            .expression_attribute_values(":stream", AttributeValue::S(stream.to_string()));
        Reader::new(format!("stream {stream}"), Pages::Query(query.into_paginator().send()))
    }

    /// All of a short stream, such as a connection's.
    pub async fn read_whole_stream(&self, stream: &StreamName) -> Result<Vec<Stored>, ReadError> {
        let mut reader = self.read_stream(stream);
        let mut events = Vec::new();
        while let Some(stored) = reader.next().await? {
            events.push(stored);
        }
        Ok(events)
    }

    /// The log from `since` (included) to `until` (excluded), in order of time: day by day, 8 shards merged.
    ///
    /// Reads an index, which on AWS runs some milliseconds behind the table.
    #[must_use]
    pub fn read_log(&self, since: DateTime<Utc>, until: DateTime<Utc>) -> LogReader {
        LogReader::new(self.clone(), since, until)
    }

    /// Events of requests in one stream, consistently, from `since` (included) to `until` (excluded), in id order: their
    /// ids begin with their time.
    #[must_use]
    pub fn read_stream_between(&self, stream: &StreamName, since: DateTime<Utc>, until: DateTime<Utc>) -> Reader {
        let query = self.query().consistent_read(true);
        let query = query
            .key_condition_expression("#stream = :stream AND id BETWEEN :since AND :until")
            .expression_attribute_names("#stream", "stream")
            .expression_attribute_values(":stream", AttributeValue::S(stream.to_string()))
            .expression_attribute_values(":since", AttributeValue::S(EventId::request_prefix(since)))
            .expression_attribute_values(":until", AttributeValue::S(EventId::request_prefix(until)));
        Reader::new(format!("stream {stream}"), Pages::Query(query.into_paginator().send()))
    }

    /// An event of a request, wherever it is: its id tells its place in the log. `None` for ids of facts, too.
    pub async fn find(&self, id: EventId) -> Result<Option<Stored>, ReadError> {
        match self.read_message(id) {
            Some(mut reader) => reader.next().await,
            None => Ok(None),
        }
    }

    /// The place in the log of an event of a request: a reader of that one event, and of what somebody else wrote under
    /// the same id in another stream. `None` for ids of facts.
    #[must_use]
    pub fn read_message(&self, id: EventId) -> Option<Reader> {
        let (day, logged) = log_key(id.request_time()?, id);
        Some(self.read_shard(day, &logged, &logged))
    }

    fn query(&self) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).limit(PAGE);
        query.return_consumed_capacity(ReturnConsumedCapacity::Total)
    }

    /// One page-wise pass over one shard of one day, from `since` to `until`.
    pub(crate) fn read_shard(&self, day: String, since: &str, until: &str) -> Reader {
        self.shard(PAGE, day, since, until)
    }

    /// The same one by one, to see if there is any.
    pub(crate) fn peek_shard(&self, day: String, since: &str, until: &str) -> Reader {
        self.shard(1, day, since, until)
    }

    fn shard(&self, limit: i32, day: String, since: &str, until: &str) -> Reader {
        let query = self.query().limit(limit).index_name("log");
        let query = query
            .key_condition_expression("#day = :day AND logged BETWEEN :since AND :until")
            .expression_attribute_names("#day", "day")
            .expression_attribute_values(":day", AttributeValue::S(day.clone()))
            .expression_attribute_values(":since", AttributeValue::S(since.to_owned()))
            .expression_attribute_values(":until", AttributeValue::S(until.to_owned()));
        Reader::new(format!("log of {day}"), Pages::Query(query.into_paginator().send()))
    }

    /// Segment `segment` of `segments` of the whole table. A stream's events come together, streams in no order.
    #[must_use]
    pub fn scan(&self, segment: i32, segments: i32) -> Reader {
        self.scan_where(segment, segments, |scan| scan)
    }

    /// The same for who wants the events of connections alone. The store reads all the same, but leaves out what is
    /// plainly an event of another known kind: nine in ten need not be sent and decoded.
    #[must_use]
    pub fn scan_connections(&self, segment: i32, segments: i32) -> Reader {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        self.scan_where(segment, segments, |scan| {
            let types: Vec<String> = (0..OTHER_TYPES.len()).map(|index| format!(":type{index}")).collect();
            let scan = OTHER_TYPES.iter().zip(&types).fold(scan, |scan, (name, placeholder)| {
                scan.expression_attribute_values(placeholder, text(name))
            });
            scan.filter_expression(format!(
                "NOT (#type IN ({}) AND version = :version AND attribute_type(#data, :map) AND attribute_type(#at, :text)
                AND attribute_type(request_id, :text)) OR begins_with(#stream, :connection)",
                types.join(", ")
            ))
            .expression_attribute_names("#type", "type")
            .expression_attribute_names("#data", "data")
            .expression_attribute_names("#at", "at")
            .expression_attribute_names("#stream", "stream")
            .expression_attribute_values(":version", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":map", text("M"))
            .expression_attribute_values(":text", text("S"))
            .expression_attribute_values(":connection", text("connection#"))
        })
    }

    fn scan_where(
        &self,
        segment: i32,
        segments: i32,
        narrow: impl FnOnce(ScanFluentBuilder) -> ScanFluentBuilder,
    ) -> Reader {
        let scan = self.client.scan().table_name(&self.table).consistent_read(true).limit(PAGE);
        let scan = scan.return_consumed_capacity(ReturnConsumedCapacity::Total);
        // The local store sorts the whole table for every page of a segment, even if there is only one.
        let scan = if segments > 1 { scan.segment(segment).total_segments(segments) } else { scan };
        Reader::new(format!("segment {segment} of {segments}"), Pages::Scan(narrow(scan).into_paginator().send()))
    }
}

fn already_there(item: Option<HashMap<String, AttributeValue>>) -> Result<Appended, AppendError> {
    let stored = from_item(Item::from(item.unwrap_or_default()))?;
    Ok(Appended::AlreadyThere(Box::new(stored)))
}

fn refused(recorded: &RecordedEvent, why: String) -> AppendError {
    AppendError::Refused {
        event: recorded.event.type_name().to_owned(),
        id: recorded.id,
        stream: recorded.stream.clone(),
        why,
    }
}

/// Whether DynamoDB would answer the same to the same request for ever.
fn is_refusal(code: Option<&str>) -> bool {
    matches!(code, Some("ValidationException" | "ItemCollectionSizeLimitExceededException"))
}
