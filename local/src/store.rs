//! What the runtime itself must not forget: pending invocations, how far the stream was read, what was given up.
//!
//! One small SQLite file beside the tables'. Each call is one short transaction (tens of microseconds), so it is made
//! where it is needed, under a plain lock. A commit survives `kill -9`; a power cut may take the last ones.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OptionalExtension};

use crate::StartError;

/// Version of this file's shape. A newer one is not opened.
const VERSION: i64 = 1;

/// The runtime's memory.
pub(crate) struct Store(Mutex<Connection>);

/// A function call that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Lambda's request id: the same in every attempt.
    pub(crate) id: String,
    pub(crate) function: String,
    pub(crate) payload: String,
    /// Attempts that have failed.
    pub(crate) failures: u32,
    /// When the next attempt is due, in milliseconds since 1970.
    pub(crate) due: i64,
}

impl Store {
    /// Opens or creates the store in a file or in memory.
    pub(crate) fn open(file: Option<&Path>) -> Result<Store, StartError> {
        let failed = |error: rusqlite::Error| StartError::Tables { what: "opening".into(), why: error.to_string() };
        let db = match file {
            Some(file) => Connection::open(file),
            None => Connection::open_in_memory(),
        };
        let db = db.map_err(failed)?;
        let version: i64 = db.query_row("PRAGMA user_version", (), |row| row.get(0)).map_err(failed)?;
        if version > VERSION {
            return Err(StartError::Newer { file: file.map(Path::to_path_buf).unwrap_or_default() });
        }
        db.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
            PRAGMA synchronous = NORMAL;
            PRAGMA user_version = {VERSION};
            CREATE TABLE IF NOT EXISTS invocations (id TEXT PRIMARY KEY, function TEXT NOT NULL, payload TEXT NOT NULL,
                failures INTEGER NOT NULL, due INTEGER NOT NULL);
            CREATE TABLE IF NOT EXISTS checkpoints (stream TEXT PRIMARY KEY, sequence TEXT NOT NULL);
            CREATE TABLE IF NOT EXISTS failures (at TEXT NOT NULL, destination TEXT NOT NULL, record TEXT NOT NULL);"
        ))
        .map_err(failed)?;
        Ok(Store(Mutex::new(db)))
    }

    /// Takes calls to be made later: all or none.
    pub(crate) fn accept(&self, invocations: &[Pending]) -> rusqlite::Result<()> {
        let mut db = self.lock();
        let transaction = db.transaction()?;
        for Pending { id, function, payload, failures, due } in invocations {
            let insert = "INSERT INTO invocations VALUES (?1, ?2, ?3, ?4, ?5)";
            transaction.execute(insert, (id, function, payload, failures, due))?;
        }
        transaction.commit()
    }

    /// Calls that are owed, the oldest first.
    pub(crate) fn pending(&self) -> rusqlite::Result<Vec<Pending>> {
        let db = self.lock();
        let mut rows = db.prepare("SELECT id, function, payload, failures, due FROM invocations ORDER BY rowid")?;
        let pending = rows.query_map((), |row| {
            Ok(Pending {
                id: row.get(0)?,
                function: row.get(1)?,
                payload: row.get(2)?,
                failures: row.get(3)?,
                due: row.get(4)?,
            })
        })?;
        pending.collect()
    }

    /// A call that has failed and is owed again.
    pub(crate) fn postpone(&self, id: &str, failures: u32, due: i64) -> rusqlite::Result<()> {
        let update = "UPDATE invocations SET failures = ?2, due = ?3 WHERE id = ?1";
        self.lock().execute(update, (id, failures, due)).map(drop)
    }

    /// A call that is no longer owed.
    pub(crate) fn done(&self, id: &str) -> rusqlite::Result<()> {
        self.lock().execute("DELETE FROM invocations WHERE id = ?1", [id]).map(drop)
    }

    /// How far `stream` was read: the last sequence number that is done.
    pub(crate) fn checkpoint(&self, stream: &str) -> rusqlite::Result<Option<String>> {
        let query = "SELECT sequence FROM checkpoints WHERE stream = ?1";
        self.lock().query_row(query, [stream], |row| row.get(0)).optional()
    }

    /// Moves the checkpoint.
    pub(crate) fn set_checkpoint(&self, stream: &str, sequence: &str) -> rusqlite::Result<()> {
        let upsert = "INSERT INTO checkpoints VALUES (?1, ?2) ON CONFLICT DO UPDATE SET sequence = excluded.sequence";
        self.lock().execute(upsert, (stream, sequence)).map(drop)
    }

    /// Something given up, as AWS would send it to an on-failure destination.
    pub(crate) fn give_up(&self, destination: &str, record: &str) -> rusqlite::Result<()> {
        let at = events::time::to_text(events::time::now());
        self.lock().execute("INSERT INTO failures VALUES (?1, ?2, ?3)", (at, destination, record)).map(drop)
    }

    /// What was given up: destination and record.
    pub(crate) fn given_up(&self) -> rusqlite::Result<Vec<(String, String)>> {
        let db = self.lock();
        let mut rows = db.prepare("SELECT destination, record FROM failures ORDER BY rowid")?;
        rows.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    /// Nothing here leaves the connection half-way when it panics: SQLite rolls back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
