//! A connection as the rest of the gateway sees it, and the registry of those that can be reached.
//!
//! The task that owns the socket (`socket.rs`) holds the other ends. A connection is in the registry from its 101 to the
//! first sign of its end; outside that time the management API answers 410.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, mpsc, mpsc::error::TrySendError};

/// Frames waiting for a client that does not read; more are refused (429). AWS names no number.
const QUEUED_FRAMES: usize = 1000;

/// Frames of one client being worked on; with more, its socket is not read. Bounds what a flood can occupy.
pub(super) const CONCURRENT_FRAMES: u32 = 1000;

/// Who is at the other end, as events and `GetConnection` say it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_agent: Option<String>,
    pub(super) source_ip: String,
}

pub(super) struct Connection {
    pub(super) id: String,
    pub(super) connected_at: i64,
    pub(super) identity: Identity,
    /// Notified by `DELETE @connections`.
    pub(super) hang_up: Notify,
    /// One permit for each frame that may be worked on now.
    pub(super) turns: Arc<Semaphore>,
    last_active_at: AtomicI64,
    queue: mpsc::Sender<Utf8Bytes>,
}

/// Why a frame was not queued.
pub(super) enum Unqueued {
    Gone,
    Full,
}

impl Connection {
    /// A connection, and the receiving end of its queue.
    pub(super) fn new(id: String, connected_at: i64, identity: Identity) -> (Arc<Self>, mpsc::Receiver<Utf8Bytes>) {
        let (queue, outgoing) = mpsc::channel(QUEUED_FRAMES);
        let connection = Connection {
            id,
            connected_at,
            identity,
            hang_up: Notify::new(),
            turns: Arc::new(Semaphore::new(CONCURRENT_FRAMES as usize)),
            last_active_at: AtomicI64::new(connected_at),
            queue,
        };
        (Arc::new(connection), outgoing)
    }

    /// Queues a push, or says why not.
    pub(super) fn push(&self, text: Utf8Bytes) -> Result<(), Unqueued> {
        self.queue.try_send(text).map_err(|refused| match refused {
            TrySendError::Full(_) => Unqueued::Full,
            TrySendError::Closed(_) => Unqueued::Gone,
        })
    }

    /// Queues a reply, waiting for room. The client that asked has left if it fails, and nobody is there to be told.
    pub(super) async fn reply(&self, text: Utf8Bytes) {
        let _ = self.queue.send(text).await;
    }

    pub(super) fn last_active_at(&self) -> i64 {
        self.last_active_at.load(Ordering::Relaxed)
    }

    pub(super) fn touch(&self, now: i64) {
        self.last_active_at.fetch_max(now, Ordering::Relaxed);
    }
}

/// The connections that can be reached, by id.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashMap<String, Arc<Connection>>>);

impl Registry {
    pub(super) fn insert(&self, connection: &Arc<Connection>) {
        self.lock().insert(connection.id.clone(), Arc::clone(connection));
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Connection>> {
        self.lock().get(id).cloned()
    }

    pub(super) fn remove(&self, id: &str) -> Option<Arc<Connection>> {
        self.lock().remove(id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Connection>>> {
        // Each use is one call on the map: a panic elsewhere cannot have left it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
