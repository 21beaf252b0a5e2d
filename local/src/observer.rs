//! What crosses the AWS-facing wire, remembered for the inspect page: appends, writes of the view, notices, pushes.
//!
//! A ring of the newest, bounded in number and in bytes. Bodies are kept as they came, a reference and no copy, and are
//! read only when somebody looks. What is not worth showing passes untouched.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use tokio::{sync::watch, time::Instant};

use crate::aws::{MAX_BODY, operation};

/// Calls that are remembered.
const MAX_CALLS: usize = 4096;
/// Bytes of their bodies.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The calls seen last. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Observer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    ring: Mutex<Ring>,
    /// Number of calls seen so far, which is the number of the last one.
    seen: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    calls: VecDeque<Call>,
    bytes: usize,
}

/// One call and its answer.
#[derive(Clone)]
pub(crate) struct Call {
    /// Counts the calls of this runtime, from 1.
    pub(crate) number: u64,
    pub(crate) operation: &'static str,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    pub(crate) began: DateTime<Utc>,
    pub(crate) took: Duration,
    pub(crate) status: StatusCode,
    /// Of PutEvents alone: it says which entries were taken.
    pub(crate) answer: Bytes,
}

/// The calls behind a number.
pub(crate) struct Since {
    /// The number to go on behind.
    pub(crate) next: u64,
    /// Some that came between are forgotten.
    pub(crate) missed: bool,
    pub(crate) calls: Vec<Call>,
}

impl Observer {
    /// The number of the last call.
    pub(crate) fn last(&self) -> u64 {
        *self.0.seen.borrow()
    }

    /// Waits for a call behind `number`.
    pub(crate) async fn behind(&self, number: u64) {
        // The sender is ours, so the channel cannot close while we wait.
        let _ = self.0.seen.subscribe().wait_for(|seen| *seen > number).await;
    }

    /// Up to `limit` calls behind `number`, the oldest first.
    pub(crate) fn since(&self, number: u64, limit: usize) -> Since {
        let ring = self.ring();
        let calls: Vec<Call> = ring.calls.iter().filter(|call| call.number > number).take(limit).cloned().collect();
        let missed = ring.calls.front().is_some_and(|oldest| oldest.number > number + 1);
        Since { next: calls.last().map_or(number, |call| call.number), missed, calls }
    }

    fn add(&self, mut call: Call) {
        let mut ring = self.ring();
        call.number = self.last() + 1;
        let number = call.number;
        ring.bytes += call.size();
        ring.calls.push_back(call);
        while ring.calls.len() > MAX_CALLS || ring.bytes > MAX_BYTES {
            let Some(oldest) = ring.calls.pop_front() else { break };
            ring.bytes -= oldest.size();
        }
        // Under the lock, so that numbers are told in their order.
        self.0.seen.send_replace(number);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    fn size(&self) -> usize {
        self.path.len() + self.body.len() + self.answer.len()
    }
}

/// Middleware: remembers the call when it is answered.
pub(crate) async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let Some(operation) = operation(&request).and_then(|name| worth_showing(&name)) else {
        return next.run(request).await;
    };
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let (began, clock) = (events::time::now(), Instant::now());
    let response = next.run(Request::from_parts(parts, Body::from(body.clone()))).await;
    let (took, status) = (clock.elapsed(), response.status());
    let (response, answer) = if operation == "PutEvents" { read(response).await } else { (response, Bytes::new()) };
    observer.add(Call { number: 0, operation, path, body, began, took, status, answer });
    response
}

fn worth_showing(operation: &str) -> Option<&'static str> {
    ["PutItem", "UpdateItem", "PutEvents", "PostToConnection"].into_iter().find(|name| *name == operation)
}

async fn read(response: Response) -> (Response, Bytes) {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    (Response::from_parts(parts, Body::from(body.clone())), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(bytes: usize) -> Call {
        let body = Bytes::from(vec![b'x'; bytes]);
        let (took, status, answer) = (Duration::ZERO, StatusCode::OK, Bytes::new());
        Call {
            number: 0,
            operation: "PutItem",
            path: String::new(),
            body,
            began: events::time::now(),
            took,
            status,
            answer,
        }
    }

    fn numbers(since: &Since) -> Vec<u64> {
        since.calls.iter().map(|call| call.number).collect()
    }

    #[test]
    fn a_reader_gets_what_is_behind_its_number_and_where_to_go_on() {
        let observer = Observer::default();
        (0..5).for_each(|_| observer.add(call(1)));
        let first = observer.since(2, 2);
        assert_eq!((numbers(&first), first.next, first.missed), (vec![3, 4], 4, false));
        assert_eq!(numbers(&observer.since(first.next, 2)), [5]);
        assert_eq!(observer.since(5, 2).next, 5);
    }

    #[test]
    fn it_holds_a_bounded_number_of_calls_and_bytes_and_says_when_some_are_missed() {
        let observer = Observer::default();
        (0..=MAX_CALLS).for_each(|_| observer.add(call(1)));
        assert_eq!(observer.ring().calls.len(), MAX_CALLS);
        assert!(observer.since(0, 1).missed && !observer.since(1, 1).missed);
        (0..20).for_each(|_| observer.add(call(MAX_BYTES / 10)));
        assert!(observer.ring().bytes <= MAX_BYTES, "{}", observer.ring().bytes);
    }
}
