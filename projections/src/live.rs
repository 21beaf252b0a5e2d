//! Who is there: the sparse `live` index of the view, page by page.
//!
//! Used by `list`, by the plan of a broadcast and by the sweep. The order is partition, then connection id; a connection
//! that is there all the while is seen exactly once. On AWS the index runs some milliseconds behind the table.

use std::{fmt, str::FromStr};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use events::{ConnectionId, time};
use serde::{Deserialize, Serialize};

use crate::{
    ConnectionsView, ViewError,
    connections::{LIVE_SHARDS, live_shard},
};

/// A connection of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveConnection {
    /// Its id.
    pub connection: ConnectionId,
    /// When it opened.
    #[serde(with = "time")]
    pub opened_at: DateTime<Utc>,
}

/// Some connections, and where the next ones are, if there may be any.
#[derive(Clone, Debug)]
pub struct LivePage {
    /// As many as asked for, unless these are the last.
    pub connections: Vec<LiveConnection>,
    /// Where to go on.
    pub next: Option<Cursor>,
}

/// A place in the index: the partition, and the connection to go on behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    shard: u8,
    after: Option<ConnectionId>,
}

/// Text that is no cursor of ours.
#[derive(Debug, thiserror::Error)]
#[error("not a cursor of a previous `next`")]
pub struct InvalidCursor;

impl Cursor {
    /// The place behind `connection` in partition `shard` (modulo their number).
    #[must_use]
    pub fn behind(shard: u8, connection: ConnectionId) -> Cursor {
        Cursor { shard: shard % LIVE_SHARDS, after: Some(connection) }
    }
}

impl Cursor {
    /// Whether this place comes before `connection` in the order of the index.
    #[must_use]
    pub fn is_before(&self, connection: &ConnectionId) -> bool {
        (live_shard(connection), Some(connection)) > (self.shard, self.after.as_ref())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.after {
            Some(connection) => write!(f, "{}.{connection}", self.shard),
            None => write!(f, "{}", self.shard),
        }
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (shard, after) = match text.split_once('.') {
            Some((shard, after)) => (shard, Some(after.parse().map_err(|_| InvalidCursor)?)),
            None => (text, None),
        };
        let shard = shard.parse().ok().filter(|shard| *shard < LIVE_SHARDS).ok_or(InvalidCursor)?;
        let cursor = Cursor { shard, after };
        // `+1` and `01` are numbers, too, but not as we write them.
        (cursor.to_string() == text).then_some(cursor).ok_or(InvalidCursor)
    }
}

impl TryFrom<String> for Cursor {
    type Error = InvalidCursor;

    fn try_from(text: String) -> Result<Self, InvalidCursor> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> String {
        cursor.to_string()
    }
}

impl ConnectionsView {
    /// Up to `limit` live connections from `cursor` on.
    pub async fn live(&self, mut cursor: Cursor, limit: usize) -> Result<LivePage, ViewError> {
        let mut connections = Vec::new();
        while connections.len() < limit {
            let more = self.live_in_shard(&mut cursor, limit - connections.len(), &mut connections).await?;
            if !more {
                if cursor.shard + 1 == LIVE_SHARDS {
                    return Ok(LivePage { connections, next: None });
                }
                cursor = Cursor { shard: cursor.shard + 1, after: None };
            }
        }
        Ok(LivePage { connections, next: Some(cursor) })
    }

    /// One query; moves the cursor behind what it found and says whether the partition may hold more.
    async fn live_in_shard(
        &self,
        cursor: &mut Cursor,
        limit: usize,
        found: &mut Vec<LiveConnection>,
    ) -> Result<bool, ViewError> {
        let what = || "reading the live connections".to_owned();
        let query = self.client.query().table_name(&self.table).index_name("live");
        let query = query
            .key_condition_expression(match cursor.after {
                Some(_) => "live = :live AND #connection > :after",
                None => "live = :live",
            })
            .expression_attribute_values(":live", AttributeValue::S(cursor.shard.to_string()))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let query = match &cursor.after {
            Some(after) => query
                .expression_attribute_names("#connection", "connection")
                .expression_attribute_values(":after", AttributeValue::S(after.to_string())),
            None => query,
        };
        let page = query.send().await.map_err(|error| ViewError::unavailable(what(), error))?;
        let more = page.last_evaluated_key.is_some();
        for item in page.items.unwrap_or_default() {
            let live: LiveConnection = serde_dynamo::from_item(item).map_err(|error| ViewError::Refused {
                what: what(),
                why: format!("a row of the index cannot be decoded: {error}"),
            })?;
            cursor.after = Some(live.connection.clone());
            found.push(live);
        }
        Ok(more)
    }
}
