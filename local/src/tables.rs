//! The tables: DynamoDB and its Streams, embedded (the crate dynoxide, on SQLite).
//!
//! One thread owns the database, as its calls block and queue on one lock anyway. (In a simulation whoever calls runs them:
//! while another thread worked, its clock would go on.) Two things dynoxide lacks are patched
//! through a second connection to the same SQLite file: an index without which every write scans all stream records, and
//! trimming them. The same thread owns that one too, so the two never wait for each other. Both lean on its private
//! schema: the version is pinned and a test below checks the query plan (docs/adr/0006).

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use dynoxide::{Database, ImportOptions, actions::get_records::GetRecordsResponse};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::{Notify, futures::Notified, mpsc, oneshot};

use crate::StartError;

/// Stream records are kept this long, as on AWS.
const STREAM_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// Stream records removed at once: the write lock is held meanwhile.
const TRIM: u32 = 500;

/// Should a wake-up ever be missed, the stream is looked at this often, as Lambda does.
const POLL: Duration = Duration::from_millis(250);
/// In a simulation none is missed, and hours go by.
const SIMULATED_POLL: Duration = Duration::from_secs(10);

/// The name of the event table.
pub const EVENTS: &str = "webchat-local-events";
/// The name of the connections view.
pub const CONNECTIONS: &str = "webchat-local-connections";
/// The name of the table of parked records.
pub const PARKED: &str = "webchat-local-parked";

type Job = Box<dyn FnOnce(&Opened) + Send>;

/// The database and the second connection to it.
struct Opened {
    db: Database,
    side: Connection,
}

/// A handle to the tables. They close when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Tables {
    worker: Worker,
    written: Arc<Notify>,
}

/// Who runs the calls.
#[derive(Clone)]
enum Worker {
    Thread(mpsc::UnboundedSender<Job>),
    Caller(Arc<Mutex<Opened>>),
}

/// What DynamoDB answers to one request: status and body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// The tables are closed.
#[derive(Debug, thiserror::Error)]
#[error("the tables are closed")]
pub(crate) struct Closed;

impl Opened {
    fn open(file: Option<&Path>) -> Result<Opened, StartError> {
        let location = location(file);
        let failed = |what: &str, why: String| StartError::Tables { what: what.to_owned(), why };
        let db = Database::new(&location).map_err(|error| failed("opening", error.to_string()))?;
        if file.is_some() {
            // As a side effect this leaves `synchronous` at NORMAL: a commit survives the process, not a power cut. Before the
            // tables are created, so that this does not wait for the disk either.
            db.enable_bulk_loading()
                .and_then(|()| db.disable_bulk_loading())
                .map_err(|e| failed("opening", e.to_string()))?;
        }
        create_tables(&db).map_err(|error| failed("creating", error))?;
        let side = side_connection(&location).map_err(|error| failed("indexing", error.to_string()))?;
        Ok(Opened { db, side })
    }
}

impl Tables {
    /// Opens the tables in a file, or in memory, and creates those that are missing.
    pub(crate) fn open(file: Option<&Path>) -> Result<Tables, StartError> {
        let opened = Opened::open(file)?;
        let (jobs, queue) = mpsc::unbounded_channel();
        let spawned = thread::Builder::new().name("tables".into()).spawn(move || work(&opened, queue));
        spawned.map_err(|error| StartError::Tables { what: "starting".to_owned(), why: error.to_string() })?;
        Ok(Tables { worker: Worker::Thread(jobs), written: Arc::new(Notify::new()) })
    }

    /// Tables in memory without a thread: a call runs where it is made, and takes no time on tokio's clock.
    pub(crate) fn inline() -> Result<Tables, StartError> {
        let worker = Worker::Caller(Arc::new(Mutex::new(Opened::open(None)?)));
        Ok(Tables { worker, written: Arc::new(Notify::new()) })
    }

    /// Runs one request of the DynamoDB API.
    pub(crate) async fn call(&self, operation: String, body: String) -> Result<Reply, Closed> {
        let writes =
            ["Put", "Update", "Delete", "BatchWrite", "TransactWrite"].iter().any(|verb| operation.starts_with(verb));
        let reply = self.with(move |opened| dispatch(&opened.db, &operation, &body)).await;
        if writes {
            self.wake();
        }
        reply
    }

    /// A place in the event table's stream: behind `sequence`, or at its beginning.
    pub(crate) async fn position(&self, sequence: Option<String>) -> Result<Result<String, String>, Closed> {
        self.with(move |opened| position(&opened.db, sequence)).await
    }

    /// Up to `limit` stream records from a place on, oldest first, and the place behind them.
    pub(crate) async fn records(
        &self,
        position: String,
        limit: usize,
    ) -> Result<Result<GetRecordsResponse, String>, Closed> {
        self.with(move |opened| {
            let request = json!({"ShardIterator": position, "Limit": limit});
            let request = serde_json::from_value(request).map_err(|error| error.to_string())?;
            opened.db.get_records(request).map_err(|error| error.to_string())
        })
        .await
    }

    /// What DynamoDB does now and then: deletes rows whose time is over, and stream records older than a day.
    pub(crate) async fn clean_up(&self) -> Result<Result<(), String>, Closed> {
        self.with(|opened| {
            opened.db.sweep_ttl().map_err(|error| error.to_string())?;
            trim(&opened.side).map_err(|error| error.to_string())
        })
        .await
    }

    /// Puts items into a table in one transaction, past the API and without stream records.
    pub(crate) async fn load(&self, table: String, items: Vec<serde_dynamo::Item>) -> Result<(), StartError> {
        let loaded = self.with(move |opened| {
            let items = serde_json::to_value(items).and_then(serde_json::from_value).map_err(|e| e.to_string())?;
            let options = ImportOptions { record_streams: false, set_cached_at: false };
            opened.db.import_items(&table, items, options).map_err(|error| error.to_string())
        });
        let why = match loaded.await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(why)) => why,
            Err(closed) => closed.to_string(),
        };
        Err(StartError::Tables { what: "loading".to_owned(), why })
    }

    /// How long to wait for a write before looking all the same.
    pub(crate) fn poll(&self) -> Duration {
        match self.worker {
            Worker::Thread(_) => POLL,
            Worker::Caller(_) => SIMULATED_POLL,
        }
    }

    /// Comes true at the next write after this call, also one before the first poll.
    pub(crate) fn written(&self) -> Notified<'_> {
        self.written.notified()
    }

    /// Has whoever follows the stream look at it.
    pub(crate) fn wake(&self) {
        self.written.notify_waiters();
    }

    async fn with<T: Send + 'static>(&self, job: impl FnOnce(&Opened) -> T + Send + 'static) -> Result<T, Closed> {
        match &self.worker {
            Worker::Thread(jobs) => {
                let (answer, answered) = oneshot::channel();
                let job = Box::new(move |opened: &Opened| drop(answer.send(job(opened))));
                jobs.send(job).map_err(|_| Closed)?;
                answered.await.map_err(|_| Closed)
            }
            Worker::Caller(opened) => Ok(job(&opened.lock().unwrap_or_else(PoisonError::into_inner))),
        }
    }
}

fn work(opened: &Opened, mut queue: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        job(opened);
    }
}

/// SQLite's name of the database. In memory it has one as well, so that the side connection finds it.
fn location(file: Option<&Path>) -> String {
    match file {
        Some(file) => file.to_string_lossy().into_owned(),
        None => format!("file:webchat-{}?mode=memory&cache=shared", uuid::Uuid::new_v4()),
    }
}

fn create_tables(db: &Database) -> Result<(), String> {
    let text = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
    let keys = |hash: &str, range: Option<&str>| -> Vec<Value> {
        let hash = json!({"AttributeName": hash, "KeyType": "HASH"});
        std::iter::once(hash).chain(range.map(|range| json!({"AttributeName": range, "KeyType": "RANGE"}))).collect()
    };
    let tables = [
        json!({"TableName": EVENTS, "BillingMode": "PAY_PER_REQUEST", "KeySchema": keys("stream", Some("id")),
            "AttributeDefinitions": [text("stream"), text("id"), text("day"), text("logged")],
            "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"},
            "GlobalSecondaryIndexes": [{"IndexName": "log", "KeySchema": keys("day", Some("logged")), "Projection": {"ProjectionType": "ALL"}}]}),
        json!({"TableName": CONNECTIONS, "BillingMode": "PAY_PER_REQUEST", "KeySchema": keys("connection", None),
            "AttributeDefinitions": [text("connection"), text("live")],
            "GlobalSecondaryIndexes": [{"IndexName": "live", "KeySchema": keys("live", Some("connection")),
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["opened_at"]}}]}),
        json!({"TableName": PARKED, "BillingMode": "PAY_PER_REQUEST", "KeySchema": keys("stream", Some("id")),
            "AttributeDefinitions": [text("stream"), text("id")]}),
    ];
    let existing = parse::<Value>(&dispatch(db, "ListTables", "{}"))?;
    let exists =
        |table: &Value| existing["TableNames"].as_array().is_some_and(|names| names.contains(&table["TableName"]));
    for table in tables.into_iter().filter(|table| !exists(table)) {
        parse::<Value>(&dispatch(db, "CreateTable", &table.to_string()))?;
    }
    let ttl =
        json!({"TableName": CONNECTIONS, "TimeToLiveSpecification": {"Enabled": true, "AttributeName": "expires_at"}});
    // Answered with an error when it is on already.
    dispatch(db, "UpdateTimeToLive", &ttl.to_string());
    Ok(())
}

fn parse<T: serde::de::DeserializeOwned>(reply: &Reply) -> Result<T, String> {
    if reply.status != 200 {
        return Err(reply.body.clone());
    }
    serde_json::from_str(&reply.body).map_err(|error| error.to_string())
}

/// Runs the operation of an `X-Amz-Target`, as dynoxide's own server would.
fn dispatch(db: &Database, operation: &str, body: &str) -> Reply {
    macro_rules! operations {
        ($($name:literal => $method:ident),* $(,)?) => {
            match operation {
                $($name => serde_json::from_str(body)
                    .map_err(|error| invalid(&error.to_string()))
                    .and_then(|request| db.$method(request).map_err(|error| Reply { status: error.status_code(), body: error.to_json() }))
                    .and_then(|answer| serde_json::to_string(&answer).map_err(|error| invalid(&error.to_string()))),)*
                _ => Err(invalid(&format!("the operation {operation} is not served here"))),
            }
        };
    }
    let answer = operations! {
        "PutItem" => put_item, "GetItem" => get_item, "UpdateItem" => update_item, "DeleteItem" => delete_item,
        "Query" => query, "Scan" => scan, "BatchGetItem" => batch_get_item, "BatchWriteItem" => batch_write_item,
        "TransactWriteItems" => transact_write_items, "TransactGetItems" => transact_get_items,
        "CreateTable" => create_table, "DeleteTable" => delete_table, "DescribeTable" => describe_table,
        "ListTables" => list_tables, "UpdateTimeToLive" => update_time_to_live,
        "DescribeTimeToLive" => describe_time_to_live, "ListStreams" => list_streams,
        "DescribeStream" => describe_stream, "GetShardIterator" => get_shard_iterator, "GetRecords" => get_records,
    };
    answer.map_or_else(|refused| refused, |body| Reply { status: 200, body })
}

fn invalid(why: &str) -> Reply {
    let body = json!({"__type": "com.amazon.coral.validate#ValidationException", "message": why});
    Reply { status: 400, body: body.to_string() }
}

fn position(db: &Database, sequence: Option<String>) -> Result<String, String> {
    let streams: Value = parse(&dispatch(db, "ListStreams", &json!({"TableName": EVENTS}).to_string()))?;
    let mut request = match sequence {
        Some(sequence) => json!({"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": sequence}),
        None => json!({"ShardIteratorType": "TRIM_HORIZON"}),
    };
    request["StreamArn"] = streams["Streams"][0]["StreamArn"].clone();
    // dynoxide has one shard, of this name.
    request["ShardId"] = json!(format!("shardId-00000001-{EVENTS}"));
    let found: Value = parse(&dispatch(db, "GetShardIterator", &request.to_string()))?;
    found["ShardIterator"].as_str().map(str::to_owned).ok_or_else(|| format!("no ShardIterator in {found}"))
}

/// A second connection to the same database, having made the indexes that dynoxide's stream queries need.
fn side_connection(location: &str) -> rusqlite::Result<Connection> {
    let side = Connection::open(location)?;
    side.busy_timeout(Duration::from_secs(5))?;
    side.execute_batch(INDEXES)?;
    Ok(side)
}

/// Without them each write to the event table scans all stream records for the highest number.
pub(crate) const INDEXES: &str = "
    CREATE INDEX IF NOT EXISTS webchat_sequence ON _stream_records(table_name, CAST(sequence_number AS INTEGER));
    CREATE INDEX IF NOT EXISTS webchat_shard ON _stream_records(table_name, shard_id, CAST(sequence_number AS INTEGER));";

/// Removes old stream records in bites. The newest stays: numbers go on from it.
fn trim(side: &Connection) -> rusqlite::Result<()> {
    let before = events::time::now().timestamp() - i64::try_from(STREAM_RETENTION.as_secs()).unwrap_or(i64::MAX);
    let bite = "DELETE FROM _stream_records WHERE id IN (SELECT id FROM _stream_records
        WHERE created_at < ?1 AND id < (SELECT MAX(id) FROM _stream_records) ORDER BY id LIMIT ?2)";
    while side.execute(bite, (before, TRIM))? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails

    use super::*;

    fn opened(dir: &Path) -> Opened {
        let location = location(Some(&dir.join("tables.sqlite")));
        let db = Database::new(&location).unwrap();
        create_tables(&db).unwrap();
        Opened { side: side_connection(&location).unwrap(), db }
    }

    fn put(db: &Database, id: usize) {
        let item = json!({"TableName": EVENTS, "Item": {"stream": {"S": "s"}, "id": {"S": id.to_string()}, "day": {"S": "d"}, "logged": {"S": "l"}}});
        let reply = dispatch(db, "PutItem", &item.to_string());
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    fn records(db: &Database, position: &str) -> Vec<String> {
        let request = serde_json::from_value(json!({"ShardIterator": position, "Limit": 1000})).unwrap();
        db.get_records(request).unwrap().records.into_iter().map(|record| record.dynamodb.sequence_number).collect()
    }

    /// dynoxide's own queries, as of the pinned version. Should an upgrade change them, the index may no longer help.
    #[test]
    fn a_write_finds_the_last_stream_record_by_an_index() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { side, db } = opened(dir.path());
        put(&db, 1);
        for query in [
            "SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1 FROM _stream_records WHERE table_name = ?1",
            "SELECT event_name FROM _stream_records WHERE table_name = ?1 AND shard_id = ?2 AND CAST(sequence_number AS INTEGER) > ?3 ORDER BY CAST(sequence_number AS INTEGER) ASC LIMIT ?4",
        ] {
            let mut explained = side.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
            let parameters = rusqlite::params_from_iter(vec!["x"; explained.parameter_count()]);
            let plan: Vec<String> =
                explained.query_map(parameters, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            let plan = plan.join("; ");
            assert!(
                plan.contains("USING INDEX webchat_") || plan.contains("USING COVERING INDEX webchat_"),
                "{query}: {plan}"
            );
            assert!(!plan.contains("TEMP B-TREE"), "{query}: {plan}");
        }
    }

    #[test]
    fn old_stream_records_go_and_later_ones_are_still_read_behind_a_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { side, db } = opened(dir.path());
        (0..3).for_each(|id| put(&db, id));
        let all = records(&db, &position(&db, None).unwrap());
        assert_eq!(all.len(), 3);
        side.execute("UPDATE _stream_records SET created_at = created_at - 100000", ()).unwrap();
        trim(&side).unwrap();
        assert_eq!(records(&db, &position(&db, None).unwrap()), all[2..], "all but the newest are gone");
        put(&db, 3);
        assert_eq!(records(&db, &position(&db, all.last().cloned()).unwrap()).len(), 1);
    }
}
