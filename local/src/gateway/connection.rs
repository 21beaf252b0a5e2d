//! A connection as the rest of the gateway sees it, and the registry of those that can be reached.
//!
//! The task that owns the socket (`socket.rs`) holds the other ends. A connection is in the registry from its 101 to the
//! first sign of its end; outside that time the management API answers 410.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, mpsc, mpsc::error::TrySendError};

/// Frames waiting for a client that does not read, and their bytes; more are refused (429). AWS names no number.
const QUEUED_FRAMES: usize = 1000;
const QUEUED_BYTES: usize = 1024 * 1024;

/// Frames of one client being worked on; with more, its socket is not read. Bounds what a flood can occupy, and how long the frames
/// of others wait behind it.
pub(super) const CONCURRENT_FRAMES: u32 = 16;

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
    /// Bytes in the queue.
    queued: AtomicUsize,
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
            queued: AtomicUsize::new(0),
        };
        (Arc::new(connection), outgoing)
    }

    /// Queues a push, or says why not. Pushes at the same moment may pass the bound by what each of them brings.
    pub(super) fn push(&self, text: Utf8Bytes) -> Result<(), Unqueued> {
        let size = text.len();
        if self.queued.load(Ordering::Relaxed) >= QUEUED_BYTES && !self.queue.is_closed() {
            return Err(Unqueued::Full);
        }
        self.queued.fetch_add(size, Ordering::Relaxed);
        self.queue.try_send(text).map_err(|refused| {
            self.unqueued(size);
            match refused {
                TrySendError::Full(_) => Unqueued::Full,
                TrySendError::Closed(_) => Unqueued::Gone,
            }
        })
    }

    /// Queues a reply, waiting for room. The client that asked has left if it fails, and nobody is there to be told.
    pub(super) async fn reply(&self, text: Utf8Bytes) {
        let size = text.len();
        self.queued.fetch_add(size, Ordering::Relaxed);
        if self.queue.send(text).await.is_err() {
            self.unqueued(size);
        }
    }

    /// A frame of this many bytes has left the queue.
    pub(super) fn unqueued(&self, size: usize) {
        self.queued.fetch_sub(size, Ordering::Relaxed);
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
