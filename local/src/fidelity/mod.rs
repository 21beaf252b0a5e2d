//! Tests of what is behind the gateway, by the points of docs/FIDELITY.md: Lambda, the stream mapping, EventBridge.
//!
//! Queue, mapping, bus, store and tables are the real ones; only the functions are toys. `Point n` names a point.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod bus;
mod functions;
mod queue;
mod streams;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use events::Timing;
use handlers::{Fault, Payload, Service};
use lambda_runtime::LambdaEvent;
use serde_json::{Value, value::to_raw_value};
use tokio::sync::{Semaphore, mpsc};

use crate::Functions;

const MINUTE: Duration = Duration::from_secs(60);

/// Only turns a hang into a failure.
async fn within<T>(awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(MINUTE, awaited).await.expect("it never came")
}

/// What waits for seconds or minutes on AWS waits for moments.
fn quick() -> Timing {
    Timing {
        async_retries: [Duration::from_millis(30), Duration::from_millis(60)],
        throttle_retry: Duration::from_millis(5),
        batch_retry: Duration::from_millis(5),
        batch_retry_max: Duration::from_millis(20),
        ..Timing::default()
    }
}

/// One invocation of a toy.
struct Invoked {
    request_id: String,
    at: Instant,
    event: Value,
}

/// The invocations of one toy, as they begin.
struct Invocations(mpsc::UnboundedReceiver<Invoked>);

impl Invocations {
    async fn next(&mut self) -> Invoked {
        within(self.0.recv()).await.unwrap()
    }

    /// Those that have begun and were not taken.
    fn rest(&mut self) -> Vec<Invoked> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// A toy, and its invocations. It is told how many came before, and the event.
fn toy(answer: impl Fn(usize, &Value) -> Result<Value, Fault> + Send + Sync + 'static) -> (Service, Invocations) {
    gated(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)), answer)
}

/// A toy whose invocations go on when the gate lets them.
fn gated(
    gate: Arc<Semaphore>,
    answer: impl Fn(usize, &Value) -> Result<Value, Fault> + Send + Sync + 'static,
) -> (Service, Invocations) {
    let (record, recorded) = mpsc::unbounded_channel();
    let (before, answer) = (AtomicUsize::new(0), Arc::new(answer));
    let service: Service = Arc::new(move |invocation: LambdaEvent<Payload>| {
        let event: Value = serde_json::from_str(invocation.payload.get()).unwrap();
        let number = before.fetch_add(1, Ordering::SeqCst);
        let (gate, answer, request_id) = (gate.clone(), answer.clone(), invocation.context.request_id);
        let _ = record.send(Invoked { request_id, at: Instant::now(), event: event.clone() });
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            Ok(to_raw_value(&answer(number, &event)?).unwrap())
        })
    });
    (service, Invocations(recorded))
}

fn broken() -> Fault {
    Fault::new("Toy.Broken", "as asked")
}

/// As if there were too many invocations.
fn throttled() -> Fault {
    Fault::new("TooManyRequestsException", "Rate Exceeded.")
}

/// Functions of which one is a toy.
fn functions(name: &str, service: Service) -> Functions {
    let mut functions = Functions::default();
    functions.register(name, MINUTE, service);
    functions
}
