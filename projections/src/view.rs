//! The connections view in its table: the one piece of code that writes it (for projector, replay and repair).
//!
//! A write adds the known parts of a row and never takes any away, so writers need no order among themselves. Only
//! `live` and `expires_at` are conditional: they follow from parts the writer may not have seen.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::update_item::UpdateItemError,
    types::AttributeValue,
};
use events::{ConnectionId, connection::FoundBy, time};
use serde::Deserialize;

use crate::{
    Row,
    connections::{Closed, Lost, Opened, live_shard},
};

/// The table of connections, one row each.
#[derive(Clone, Debug)]
pub struct ConnectionsView {
    pub(crate) client: Client,
    pub(crate) table: String,
    retention: Duration,
}

/// A read or write of the view that failed.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Another try may succeed.
    #[error("{what}: {why}")]
    Unavailable {
        /// What we were doing.
        what: String,
        /// What the store or the network said.
        why: String,
    },
    /// The store will never take this write.
    #[error("{what}: {why}")]
    Refused {
        /// What we were doing.
        what: String,
        /// What the store said.
        why: String,
    },
}

impl ViewError {
    pub(crate) fn unavailable<E>(what: impl Into<String>, error: E) -> ViewError
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        ViewError::Unavailable { what: what.into(), why: DisplayErrorContext(error).to_string() }
    }
}

impl ConnectionsView {
    /// The view in `table`; rows of ended connections stay for `retention`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>, retention: Duration) -> ConnectionsView {
        ConnectionsView { client, table: table.into(), retention }
    }

    /// Adds what `row` knows to the stored row. One update; two when another end was written before.
    pub async fn write(&self, row: &Row) -> Result<(), ViewError> {
        let result = match self.update(row, Derived::Set).await {
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                self.update(row, Derived::Leave).await
            }
            result => result,
        };
        result.map_err(|error| write_error(&row.connection, error))
    }

    async fn update(&self, row: &Row, derived: Derived) -> Result<(), SdkError<UpdateItemError>> {
        let mut parts = Parts::of(row);
        let mut update = self.client.update_item().table_name(&self.table);
        let mut remove = "";
        if row.ended_at().is_some() {
            remove = " REMOVE live";
        }
        if let (Derived::Set, Some(expires_at)) = (derived, row.expires_at(self.retention)) {
            // Of two ends the later one counts, whichever is written first.
            parts.set("expires_at", AttributeValue::N(expires_at.to_string()));
            update = update.condition_expression("attribute_not_exists(expires_at) OR expires_at <= :expires_at");
        } else if let (Derived::Set, true) = (derived, row.is_live()) {
            parts.set("live", AttributeValue::S(live_shard(&row.connection).to_string()));
            update = update.condition_expression("attribute_not_exists(closed_at) AND attribute_not_exists(lost_at)");
        }
        update
            .key("connection", AttributeValue::S(row.connection.to_string()))
            .update_expression(format!("SET {}{remove}", parts.assignments.join(", ")))
            .set_expression_attribute_values(Some(parts.values))
            .send()
            .await
            .map(drop)
    }

    /// All attributes of a row, but its key.
    pub(crate) fn attributes(&self, row: &Row) -> HashMap<String, AttributeValue> {
        let mut parts = Parts::of(row);
        if let Some(expires_at) = self.expires_at(row) {
            parts.set("expires_at", AttributeValue::N(expires_at.to_string()));
        } else if row.is_live() {
            parts.set("live", AttributeValue::S(live_shard(&row.connection).to_string()));
        }
        parts.values.into_iter().map(|(name, value)| (name.trim_start_matches(':').to_owned(), value)).collect()
    }

    /// When a row may go, in seconds since 1970.
    pub(crate) fn expires_at(&self, row: &Row) -> Option<i64> {
        row.expires_at(self.retention)
    }

    /// One row as it is now.
    pub async fn get(&self, connection: &ConnectionId) -> Result<Option<StoredRow>, ViewError> {
        let what = || format!("reading the row of connection {connection}");
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        let get = get.key("connection", AttributeValue::S(connection.to_string()));
        let found = get.send().await.map_err(|error| ViewError::unavailable(what(), error))?;
        found.item.map(|item| decode(item, what)).transpose()
    }

    /// Every row, live or ended, in no order. Reads the whole table into memory: for small ones, and for tests.
    pub async fn all(&self) -> Result<Vec<StoredRow>, ViewError> {
        let mut pages = self.pages();
        let mut rows = Vec::new();
        while let Some(page) = pages.next().await? {
            for item in page {
                rows.push(decode(item, || "reading all connections".to_owned())?);
            }
        }
        Ok(rows)
    }
}

/// Whether an update sets what follows from the parts, or leaves it to whoever wrote the other parts.
#[derive(Clone, Copy)]
enum Derived {
    Set,
    Leave,
}

/// The SET part of an update.
#[derive(Default)]
struct Parts {
    assignments: Vec<String>,
    values: HashMap<String, AttributeValue>,
}

impl Parts {
    fn of(row: &Row) -> Parts {
        let mut parts = Parts::default();
        if let Some(Opened { at, source_ip, user_agent }) = &row.opened {
            parts.set("opened_at", AttributeValue::S(time::to_text(*at)));
            parts.set_text("source_ip", source_ip.as_deref());
            parts.set_text("user_agent", user_agent.as_deref());
        }
        if let Some(Closed { at, code, text }) = &row.closed {
            parts.set("closed_at", AttributeValue::S(time::to_text(*at)));
            if let Some(code) = code {
                parts.set("close_code", AttributeValue::N(code.to_string()));
            }
            parts.set_text("close_text", text.as_deref());
        }
        if let Some(Lost { at, found_by }) = &row.lost {
            parts.set("lost_at", AttributeValue::S(time::to_text(*at)));
            parts.set_text("found_by", Some(found_by_text(*found_by)));
        }
        parts
    }

    fn set_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.set(name, AttributeValue::S(text.to_owned()));
        }
    }

    fn set(&mut self, name: &str, value: AttributeValue) {
        self.assignments.push(format!("{name} = :{name}"));
        self.values.insert(format!(":{name}"), value);
    }
}

fn found_by_text(found_by: FoundBy) -> &'static str {
    match found_by {
        FoundBy::Post => "post",
        FoundBy::Sweep => "sweep",
    }
}

/// A row with its derived attributes, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The parts.
    pub row: Row,
    /// The partition of the `live` index it is in, if it is live.
    pub live: Option<String>,
    /// When it may go, in seconds since 1970.
    pub expires_at: Option<i64>,
}

#[derive(Deserialize)]
struct Attributes {
    connection: ConnectionId,
    opened_at: Option<Time>,
    source_ip: Option<String>,
    user_agent: Option<String>,
    closed_at: Option<Time>,
    close_code: Option<i64>,
    close_text: Option<String>,
    lost_at: Option<Time>,
    found_by: Option<FoundBy>,
    live: Option<String>,
    expires_at: Option<i64>,
}

#[derive(Deserialize)]
struct Time(#[serde(with = "time")] chrono::DateTime<chrono::Utc>);

impl From<Attributes> for StoredRow {
    fn from(a: Attributes) -> StoredRow {
        let (source_ip, user_agent) = (a.source_ip, a.user_agent);
        let (code, text) = (a.close_code, a.close_text);
        let row = Row {
            connection: a.connection,
            opened: a.opened_at.map(|Time(at)| Opened { at, source_ip, user_agent }),
            closed: a.closed_at.map(|Time(at)| Closed { at, code, text }),
            lost: a.lost_at.zip(a.found_by).map(|(Time(at), found_by)| Lost { at, found_by }),
        };
        StoredRow { row, live: a.live, expires_at: a.expires_at }
    }
}

fn decode(item: HashMap<String, AttributeValue>, what: impl Fn() -> String) -> Result<StoredRow, ViewError> {
    let attributes: Result<Attributes, _> = serde_dynamo::from_item(item);
    attributes
        .map(StoredRow::from)
        .map_err(|error| ViewError::Refused { what: what(), why: format!("the row cannot be decoded: {error}") })
}

fn write_error(connection: &ConnectionId, error: SdkError<UpdateItemError>) -> ViewError {
    let what = format!("writing the row of connection {connection}");
    let refused = matches!(&error, SdkError::ServiceError(e) if e.err().code() == Some("ValidationException"));
    match ViewError::unavailable(what, error) {
        ViewError::Unavailable { what, why } if refused => ViewError::Refused { what, why },
        error => error,
    }
}
