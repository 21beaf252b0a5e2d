//! Toy functions: what a route can do to a test.

use std::{pin::Pin, sync::Arc};

use handlers::Fault;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Value, Fault>> + Send>>;

/// A function: the event it is invoked with to what comes of it.
pub(crate) type Toy = Arc<dyn Fn(Value) -> Answer + Send + Sync>;

pub(crate) fn toy<F>(function: impl Fn(Value) -> F + Send + Sync + 'static) -> Toy
where
    F: Future<Output = Result<Value, Fault>> + Send + 'static,
{
    Arc::new(move |event| Box::pin(function(event)))
}

pub(crate) fn answers(answer: Value) -> Toy {
    toy(move |_| std::future::ready(Ok(answer.clone())))
}

pub(crate) fn ok() -> Toy {
    answers(json!({ "statusCode": 200 }))
}

/// Sends the frame back.
pub(crate) fn echoes() -> Toy {
    toy(|event| std::future::ready(Ok(json!({ "statusCode": 200, "body": event["body"] }))))
}

/// Sends back the key of the route it was reached by.
pub(crate) fn says_its_route() -> Toy {
    toy(|event| {
        let key = &event["requestContext"]["routeKey"];
        std::future::ready(Ok(json!({ "statusCode": 200, "body": key })))
    })
}

pub(crate) fn fails() -> Toy {
    let fault = || Fault { error_type: "Toy.Broken", message: "as asked".into() };
    toy(move |_| std::future::ready(Err(fault())))
}

pub(crate) fn panics() -> Toy {
    toy(|_| async { panic!("as asked") })
}

pub(crate) fn never_answers() -> Toy {
    toy(|_| std::future::pending())
}

/// Behind a gate: each invocation goes on as `then` when the test lets one in.
pub(crate) fn gated(then: Toy) -> (Arc<Semaphore>, Toy) {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let function = toy(move |event| {
        let (gate, then) = (Arc::clone(&held), Arc::clone(&then));
        async move {
            gate.acquire().await.unwrap().forget();
            then(event).await
        }
    });
    (gate, function)
}
