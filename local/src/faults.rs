//! Faults on the AWS-facing wire, for tests: calls refused, answered late or never, done but unanswered.
//!
//! Off unless somebody injects one. They act on HTTP, between the SDK clients and the servers, so handlers meet them as
//! they would on AWS. Each fault counts how often it struck.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// The faults of one runtime. Clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Arc<Fault>>>>);

/// What happens to a call instead of what should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is answered with this status and `x-amzn-ErrorType`, and has no effect.
    Refuse(u16, &'static str),
    /// It is never answered and has no effect.
    Ignore,
    /// It takes effect and is never answered.
    LoseAnswer,
    /// It takes effect and is answered with 500.
    FailAfter,
    /// It takes effect and is answered, this much later.
    Delay(Duration),
    /// PutEvents: every second entry, from the first on, fails.
    FailEntries,
}

/// Calls it strikes, and how many of them.
struct Fault {
    operation: String,
    containing: String,
    effect: Effect,
    left: AtomicUsize,
    struck: AtomicUsize,
    changed: Notify,
}

/// Tells how often a fault struck.
pub struct Struck(Arc<Fault>);

impl Faults {
    /// Strikes the next `times` calls of `operation` (such as `PutItem`, `PutEvents`, `PostToConnection`) whose body or
    /// path contains `containing`.
    pub fn inject(&self, operation: &str, containing: &str, effect: Effect, times: usize) -> Struck {
        let fault = Arc::new(Fault {
            operation: operation.to_owned(),
            containing: containing.to_owned(),
            effect,
            left: AtomicUsize::new(times),
            struck: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        self.list().push(fault.clone());
        Struck(fault)
    }

    /// No more faults.
    pub fn clear(&self) {
        self.list().clear();
    }

    /// The fault that strikes this call, if one does.
    pub(crate) fn strike(&self, operation: &str, path: &str, body: &Bytes) -> Option<Striking> {
        let body = String::from_utf8_lossy(body);
        let faults = self.list();
        let fault = faults.iter().find(|fault| {
            fault.operation == operation
                && (path.contains(&fault.containing) || body.contains(&fault.containing))
                && fault.left.load(Ordering::SeqCst) > 0
        })?;
        fault.left.fetch_sub(1, Ordering::SeqCst);
        Some(Striking(fault.clone()))
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Fault>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fault about to strike one call.
pub(crate) struct Striking(Arc<Fault>);

impl Striking {
    pub(crate) fn effect(&self) -> &Effect {
        &self.0.effect
    }

    /// It has happened: what the call was to do is done, or never will be.
    pub(crate) fn has_struck(&self) {
        self.0.struck.fetch_add(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Struck {
    /// How often.
    #[must_use]
    pub fn times(&self) -> usize {
        self.0.struck.load(Ordering::SeqCst)
    }

    /// Waits until it has struck `times` times.
    pub async fn reached(&self, times: usize) {
        loop {
            let changed = self.0.changed.notified();
            if self.times() >= times {
                return;
            }
            changed.await;
        }
    }
}

/// Takes every second entry out of a PutEvents request.
pub(crate) fn spare_entries(body: &[u8]) -> Option<Bytes> {
    let mut request: Value = serde_json::from_slice(body).ok()?;
    let entries = request["Entries"].as_array_mut()?;
    *entries = entries.iter().skip(1).step_by(2).cloned().collect();
    Some(Bytes::from(request.to_string()))
}

/// Puts failures for them into the answer.
pub(crate) fn fail_entries(body: &[u8], entries: usize) -> Option<Bytes> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut taken = answer["Entries"].as_array().cloned().unwrap_or_default().into_iter();
    let failure = json!({"ErrorCode": "InternalFailure", "ErrorMessage": "injected"});
    let all: Vec<Value> =
        (0..entries).map(|i| if i % 2 == 0 { failure.clone() } else { taken.next().unwrap_or_default() }).collect();
    Some(Bytes::from(json!({"FailedEntryCount": entries.div_ceil(2), "Entries": all}).to_string()))
}
