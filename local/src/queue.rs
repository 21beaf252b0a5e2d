//! Asynchronous invocation (Lambda's `Event`): accepted once it is in the store, attempted up to three times.
//!
//! The bus and the schedule put calls in. Each is a task that waits until it is due, so one that keeps failing holds up
//! nobody. A call leaves the store when it has succeeded or is given up: whatever a crash interrupts runs again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use events::{Timing, time};
use serde_json::{json, value::RawValue};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use crate::{
    Chaos, Functions,
    functions::FunctionError,
    randomness,
    runtime_api::function_arn,
    store::{Pending, Store},
};

/// Invocations running at once: Lambda's default for an account.
const CONCURRENCY: usize = 1000;

/// Calls on their way.
pub(crate) struct Queue {
    store: Arc<Store>,
    functions: Arc<Functions>,
    retries: [Duration; 2],
    /// First and longest wait after a throttled attempt, which is none of the three.
    throttle_retry: [Duration; 2],
    chaos: Chaos,
    running: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Calls that are owed, waiting or running.
    owed: AtomicUsize,
    /// Told whenever a call is no longer owed.
    settled: Notify,
}

impl Queue {
    pub(crate) fn new(store: Arc<Store>, functions: Arc<Functions>, timing: &Timing, chaos: Chaos) -> Arc<Queue> {
        Arc::new(Queue {
            store,
            functions,
            retries: timing.async_retries,
            throttle_retry: [timing.throttle_retry, timing.throttle_retry_max],
            chaos,
            running: Semaphore::new(CONCURRENCY),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            owed: AtomicUsize::new(0),
            settled: Notify::new(),
        })
    }

    /// Takes up what an earlier process left.
    pub(crate) fn resume(self: &Arc<Self>) -> rusqlite::Result<()> {
        self.store.pending()?.into_iter().for_each(|pending| self.start(pending));
        Ok(())
    }

    /// Takes calls (function and payload), all or none; they are durable when this returns.
    pub(crate) fn accept(self: &Arc<Self>, calls: Vec<(&str, String)>) -> rusqlite::Result<()> {
        let pending = |(function, payload): (&str, String)| Pending {
            id: randomness::uuid(),
            function: function.to_owned(),
            payload,
            failures: 0,
            due: self.first_due(),
        };
        let mut accepted: Vec<Pending> = Vec::with_capacity(calls.len());
        for call in calls {
            if self.chaos.duplicates(call.0) {
                accepted.push(pending(call.clone()));
            }
            accepted.push(pending(call));
        }
        self.store.accept(&accepted)?;
        accepted.into_iter().for_each(|pending| self.start(pending));
        Ok(())
    }

    /// Number of calls that are owed.
    pub(crate) fn owed(&self) -> usize {
        self.owed.load(Ordering::SeqCst)
    }

    /// Waits until no call is owed.
    pub(crate) async fn empty(&self) {
        loop {
            let settled = self.settled.notified();
            if self.owed() == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Starts nothing more and waits for what is running. What waits for its time stays in the store.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// At once, unless chaos has it come after others.
    fn first_due(&self) -> i64 {
        let late = |late: Duration| time::now().timestamp_millis() + i64::try_from(late.as_millis()).unwrap_or(0);
        self.chaos.delays_event().map_or(0, late)
    }

    fn start(self: &Arc<Self>, pending: Pending) {
        let queue = self.clone();
        self.owed.fetch_add(1, Ordering::SeqCst);
        self.tasks.spawn(async move {
            let settled = queue.attend(pending).await;
            if settled {
                queue.owed.fetch_sub(1, Ordering::SeqCst);
                queue.settled.notify_waiters();
            }
        });
    }

    /// Sees one call through. False if the runtime stopped before.
    async fn attend(&self, mut pending: Pending) -> bool {
        let [mut throttle_retry, throttle_retry_max] = self.throttle_retry;
        loop {
            let wait = Duration::from_millis(u64::try_from(pending.due - time::now().timestamp_millis()).unwrap_or(0));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                () = tokio::time::sleep(wait) => {}
            }
            let error = match self.attempt(&pending).await {
                Some(Ok(())) => break,
                Some(Err(error)) => error,
                None => return false,
            };
            if error.is_throttle() {
                pending.due = due_in(throttle_retry);
                throttle_retry = Duration::min(throttle_retry * 2, throttle_retry_max);
                continue;
            }
            warn!(
                function = pending.function,
                id = pending.id,
                failures = pending.failures + 1,
                error = error.error_message,
                "an asynchronous invocation failed"
            );
            pending.failures += 1;
            let Some(wait) = self.retries.get(pending.failures as usize - 1) else {
                self.give_up(&pending, &error);
                break;
            };
            pending.due = due_in(*wait);
            self.check(self.store.postpone(&pending.id, pending.failures, pending.due));
        }
        self.check(self.store.done(&pending.id));
        true
    }

    async fn attempt(&self, pending: &Pending) -> Option<Result<(), FunctionError>> {
        let _permit = self.running.acquire().await.ok()?;
        if self.stop.is_cancelled() {
            return None;
        }
        let payload = RawValue::from_string(pending.payload.clone());
        let payload = match payload {
            Ok(payload) => payload,
            Err(error) => {
                return Some(Err(FunctionError {
                    error_type: "InvalidRequestContentException".into(),
                    error_message: error.to_string(),
                }));
            }
        };
        Some(self.functions.invoke_as(&pending.function, &pending.id, payload).await.map(drop))
    }

    /// The record Lambda sends to an on-failure destination.
    fn give_up(&self, pending: &Pending, error: &FunctionError) {
        error!(
            function = pending.function,
            id = pending.id,
            error = error.error_message,
            "gave up an asynchronous invocation"
        );
        let payload: serde_json::Value = serde_json::from_str(&pending.payload).unwrap_or_default();
        let record = json!({
            "version": "1.0", "timestamp": time::to_text(time::now()),
            "requestContext": {"requestId": pending.id, "condition": "RetriesExhausted", "approximateInvokeCount": pending.failures,
                "functionArn": format!("{}:$LATEST", function_arn(&pending.function))},
            "requestPayload": payload,
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": error,
        });
        self.check(self.store.give_up(&pending.function, &record.to_string()));
    }

    /// A store that cannot be written means a call may run again: worth a line, not a stop.
    fn check(&self, written: rusqlite::Result<()>) {
        if let Err(error) = written {
            error!(%error, "the runtime's store could not be written");
        }
    }
}

fn due_in(wait: Duration) -> i64 {
    time::now().timestamp_millis().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}
