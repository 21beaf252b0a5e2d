//! The projector: from stream records to the view and to notices.
//!
//! A batch may come again, in part or whole, and in another order across items. Rows are a join and notices carry ids,
//! so repeating is harmless; losing is not. Hence the order here: a notice goes only after the row of its event is
//! written, and only for records before the first one that failed, as that one and all behind it come again.

use std::{collections::BTreeMap, sync::Arc};

use aws_lambda_events::{
    dynamodb::EventRecord,
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use events::{ConnectionId, Event, RecordedEvent, connection, from_item};
use futures::{StreamExt, stream};
use projections::{
    ConnectionsView, Row, ViewError,
    notices::{self, Notice},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{Fault, bus::Bus, parked::Parked, service::millis};

/// Rows being written at once: half of a batch at most, so that it is done in two or three times one write's time.
const WRITES: usize = 32;

/// The handler of the event table's stream.
pub(crate) struct Projector {
    pub(crate) view: ConnectionsView,
    pub(crate) parked: Parked,
    pub(crate) bus: Bus,
}

/// A batch, its records unread: one that cannot be read must not hide the others.
#[derive(Deserialize)]
pub(crate) struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Box<RawValue>>,
}

/// A record of the batch: its place in the stream, and its event or why there is none.
pub(crate) struct Record {
    pub(crate) sequence: String,
    pub(crate) event: Result<RecordedEvent, Unreadable>,
}

/// A record to park.
#[derive(Debug)]
pub struct Unreadable {
    /// The event's stream, or `unreadable`.
    pub stream: String,
    /// The event's id, or a name for the record's place.
    pub id: String,
    /// What is wrong.
    pub why: String,
}

impl Projector {
    pub(crate) async fn handle(self: Arc<Self>, batch: Batch) -> Result<DynamoDbEventResponse, Fault> {
        let started = Instant::now();
        let mut records: Vec<Record> = batch.records.iter().map(|raw| Record::read(raw)).collect();
        // Indexes of records that must come again. The first counts.
        let mut failed = self.write_rows(&mut records).await;
        failed.extend(self.park_unreadable(&records).await);
        let sound = failed.iter().min().copied().unwrap_or(records.len());
        let (published, unpublished) = self.publish_notices(&records[..sound]).await;
        failed.extend(unpublished);
        let first = failed.into_iter().min();
        info!(
            function = "projector",
            records = records.len(),
            notices = published,
            failed_from = first,
            duration_ms = millis(started.elapsed()),
            "projected"
        );
        Ok(response(first.map(|index| records[index].sequence.clone())))
    }

    async fn park_unreadable(&self, records: &[Record]) -> Vec<usize> {
        let mut failed = Vec::new();
        for (index, record) in records.iter().enumerate() {
            if let Err(Unreadable { stream, id, why }) = &record.event {
                failed.extend(self.park(index, stream, id, why).await);
            }
        }
        failed
    }

    /// Parks a record; the index comes back if that failed, too.
    async fn park(&self, index: usize, stream: &str, id: &str, why: &str) -> Option<usize> {
        let parked = self.parked.park(stream, id, why).await;
        parked.inspect_err(|error| warn!(%error, "a record could not be parked")).is_err().then_some(index)
    }

    /// Writes one row per connection of the batch, and gives the records whose row is not written yet. Records whose row
    /// the store will never take become unreadable: they are parked, and cause no notice.
    async fn write_rows(&self, records: &mut [Record]) -> Vec<usize> {
        let writes = stream::iter(rows(records)).map(|(row, from)| async move { (self.view.write(&row).await, from) });
        let written: Vec<_> = writes.buffer_unordered(WRITES).collect().await;
        let mut failed = Vec::new();
        for (result, from) in written {
            match result {
                Ok(()) => {}
                Err(error @ ViewError::Unavailable { .. }) => {
                    warn!(%error, "a row was not written");
                    failed.extend(from);
                }
                Err(error @ ViewError::Refused { .. }) => {
                    from.into_iter().for_each(|index| records[index].set_aside(&error.to_string()));
                }
            }
        }
        failed
    }

    /// Publishes what the records cause; says how many notices there were, and whose are not on the bus.
    async fn publish_notices(&self, records: &[Record]) -> (usize, Vec<usize>) {
        let caused = records.iter().enumerate().filter_map(|(index, record)| {
            let recorded = record.event.as_ref().ok()?;
            Some((index, notices::of(recorded)?))
        });
        let (from, notices): (Vec<usize>, Vec<Notice>) = caused.unzip();
        let mut failed = Vec::new();
        for unpublished in self.bus.publish(&notices).await {
            let index = from[unpublished.index];
            if unpublished.for_good {
                if let Ok(recorded) = &records[index].event {
                    let (stream, id) = (recorded.stream.as_str(), recorded.id.to_string());
                    failed.extend(self.park(index, stream, &id, &unpublished.to_string()).await);
                }
            } else {
                warn!(error = %unpublished, "a notice was not published");
                failed.push(index);
            }
        }
        (notices.len(), failed)
    }
}

/// Folds the batch per connection; with each row, the records it came from.
fn rows(records: &[Record]) -> Vec<(Row, Vec<usize>)> {
    let mut rows: BTreeMap<ConnectionId, (Row, Vec<usize>)> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        let Ok(recorded) = &record.event else { continue };
        let Some(connection) = connection::of_stream(&recorded.stream) else {
            continue;
        };
        let (row, from) = rows.entry(connection.clone()).or_insert_with(|| (Row::new(connection), Vec::new()));
        row.apply(recorded);
        from.push(index);
    }
    rows.into_values().collect()
}

impl Record {
    pub(crate) fn read(raw: &RawValue) -> Record {
        match serde_json::from_str::<EventRecord>(raw.get()) {
            Ok(record) => Record {
                sequence: record.change.sequence_number.clone().unwrap_or_default(),
                event: read(record.change.new_image),
            },
            Err(error) => Record::unparsed(raw, &error.to_string()),
        }
    }

    /// Makes a record one to park.
    fn set_aside(&mut self, why: &str) {
        if let Ok(recorded) = &self.event {
            let (stream, id) = (recorded.stream.to_string(), recorded.id.to_string());
            self.event = Err(Unreadable { stream, id, why: why.to_owned() });
        }
    }

    /// A record that is not even shaped like one. Its sequence number is enough to go on behind it.
    fn unparsed(raw: &RawValue, why: &str) -> Record {
        #[derive(Default, Deserialize)]
        struct Numbered {
            dynamodb: Change,
        }
        #[derive(Default, Deserialize)]
        struct Change {
            #[serde(rename = "SequenceNumber")]
            sequence: String,
        }
        let sequence = serde_json::from_str::<Numbered>(raw.get()).unwrap_or_default().dynamodb.sequence;
        let unreadable =
            Unreadable { stream: "unreadable".to_owned(), id: format!("sequence-{sequence}"), why: why.to_owned() };
        Record { sequence, event: Err(unreadable) }
    }
}

fn read(image: serde_dynamo::Item) -> Result<RecordedEvent, Unreadable> {
    let recorded = from_item(image).map_err(|error| Unreadable {
        stream: error.stream.clone().unwrap_or_else(|| "unreadable".to_owned()),
        id: error.id.clone().unwrap_or_else(|| "unreadable".to_owned()),
        why: error.to_string(),
    })?;
    match &recorded.event {
        Event::Unknown(unknown) => Err(Unreadable {
            stream: recorded.stream.to_string(),
            id: recorded.id.to_string(),
            why: format!("unknown type {} version {}", unknown.event_type, recorded.version),
        }),
        _ => Ok(recorded),
    }
}

/// Everything from `failed` on comes again; without it, all is done.
fn response(failed: Option<String>) -> DynamoDbEventResponse {
    let mut response = DynamoDbEventResponse::default();
    response.batch_item_failures = failed.into_iter().map(failure).collect();
    response
}

fn failure(sequence: String) -> DynamoDbBatchItemFailure {
    let mut failure = DynamoDbBatchItemFailure::default();
    failure.item_identifier = Some(sequence);
    failure
}
