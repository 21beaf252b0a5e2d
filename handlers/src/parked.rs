//! Parked records: what the projector could not take, set aside so that the records behind it go on.
//!
//! Only the place and the reason are kept; the event itself is in the log. The projector parks; operators list, retry and
//! drop. Parking the same record again changes nothing that matters.

use std::collections::HashMap;

use aws_sdk_dynamodb::{Client, error::DisplayErrorContext, types::AttributeValue};
use events::time;
use serde::{Deserialize, Serialize};

use crate::Fault;

/// The table of parked records, by `stream` and `id`.
#[derive(Clone, Debug)]
pub struct Parked {
    client: Client,
    table: String,
}

/// A record set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRecord {
    /// The event's stream, or `unreadable`.
    pub stream: String,
    /// The event's id, or `sequence-` and the record's number if it has none.
    pub id: String,
    /// What was wrong.
    pub why: String,
    /// When it was set aside.
    pub parked_at: String,
    /// When it was given up, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_at: Option<String>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_by: Option<String>,
}

impl Parked {
    /// The parked records in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Parked {
        Parked { client, table: table.into() }
    }

    /// Sets a record aside.
    pub async fn park(&self, stream: &str, id: &str, why: &str) -> Result<(), Fault> {
        tracing::error!(stream, id, why, "parked a record");
        let now = AttributeValue::S(time::to_text(time::now()));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(key(stream, id)));
        let put = put.item("why", AttributeValue::S(why.to_owned())).item("parked_at", now);
        put.send().await.map(drop).map_err(|error| Fault::new("NotParked", DisplayErrorContext(error)))
    }

    /// Every record that is parked, the dropped ones included.
    pub async fn list(&self) -> Result<Vec<ParkedRecord>, Fault> {
        let scan = self.client.scan().table_name(&self.table).consistent_read(true).limit(1000);
        let mut items = scan.into_paginator().items().send();
        let mut records: Vec<ParkedRecord> = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| Fault::new("NotRead", DisplayErrorContext(error)))?;
            records.push(serde_dynamo::from_item(item).map_err(|error| Fault::new("NotRead", error))?);
        }
        records.sort_by(|a, b| (&a.parked_at, &a.id).cmp(&(&b.parked_at, &b.id)));
        Ok(records)
    }

    /// One record.
    pub async fn get(&self, stream: &str, id: &str) -> Result<Option<ParkedRecord>, Fault> {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        let found = get.set_key(Some(key(stream, id))).send().await;
        let found = found.map_err(|error| Fault::new("NotRead", DisplayErrorContext(error)))?;
        found.item.map(serde_dynamo::from_item).transpose().map_err(|error| Fault::new("NotRead", error))
    }

    /// A record that was taken up after all.
    pub async fn remove(&self, stream: &str, id: &str) -> Result<(), Fault> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key(stream, id)));
        delete.send().await.map(drop).map_err(|error| Fault::new("NotWritten", DisplayErrorContext(error)))
    }

    /// A record that is given up: it stays, and says so.
    pub async fn mark_dropped(&self, stream: &str, id: &str, by: &str) -> Result<(), Fault> {
        let update = self.client.update_item().table_name(&self.table).set_key(Some(key(stream, id)));
        let update = update
            .update_expression("SET dropped_at = :now, dropped_by = :by")
            .condition_expression("attribute_exists(id)")
            .expression_attribute_values(":now", AttributeValue::S(time::to_text(time::now())))
            .expression_attribute_values(":by", AttributeValue::S(by.to_owned()));
        update.send().await.map(drop).map_err(|error| Fault::new("NotWritten", DisplayErrorContext(error)))
    }
}

fn key(stream: &str, id: &str) -> HashMap<String, AttributeValue> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    HashMap::from([("stream".to_owned(), text(stream)), ("id".to_owned(), text(id))])
}
