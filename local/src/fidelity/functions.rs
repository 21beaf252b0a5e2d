//! Invoking functions.

use std::{sync::Arc, time::Duration};

use handlers::{Payload, Service};
use lambda_runtime::LambdaEvent;
use serde_json::{json, value::to_raw_value};
use tokio::sync::Semaphore;

use super::{broken, functions, gated, toy, within};
use crate::{FunctionError, Functions};

fn payload() -> Payload {
    to_raw_value(&json!({})).unwrap()
}

/// Point 39: the error is an answer, with the function's own name for it.
#[tokio::test]
async fn a_function_that_fails_answers_with_its_error() {
    let (service, _) = toy(|_, _| Err(broken()));
    let error = functions("f", service).invoke("f", payload()).await.unwrap_err();
    assert_eq!(error, FunctionError { error_type: "Toy.Broken".into(), error_message: "as asked".into() });
    assert_eq!(json!(error), json!({"errorType": "Toy.Broken", "errorMessage": "as asked"}));
}

/// Point 42: in process, the task is dropped where Lambda kills the process.
#[tokio::test]
async fn a_function_over_its_time_is_ended_in_the_words_of_lambda() {
    let (service, mut invocations) = gated(Arc::new(Semaphore::new(0)), |_, _| Ok(json!(null)));
    let mut functions = Functions::default();
    functions.register("f", Duration::from_millis(20), service);
    let error = within(functions.invoke("f", payload())).await.unwrap_err();
    let request_id = invocations.next().await.request_id;
    let message = format!("RequestId: {request_id} Error: Task timed out after 0.02 seconds");
    assert_eq!(error, FunctionError { error_type: "Sandbox.Timedout".into(), error_message: message });
}

/// Point 45.
#[tokio::test]
async fn the_deadline_is_the_time_of_the_start_and_the_timeout() {
    let service: Service = Arc::new(|invocation: LambdaEvent<Payload>| {
        Box::pin(async move { Ok(to_raw_value(&invocation.context.deadline).unwrap()) })
    });
    let functions = functions("f", service);
    let now = || events::time::now().timestamp_millis();
    let before = now();
    let deadline: i64 = serde_json::from_str(functions.invoke("f", payload()).await.unwrap().get()).unwrap();
    assert!((before + 60_000..=now() + 60_000).contains(&deadline), "{deadline}");
}

/// Point 46.
#[tokio::test]
async fn beyond_its_reserved_concurrency_a_function_is_throttled_and_does_not_run() {
    let gate = Arc::new(Semaphore::new(0));
    let (service, mut invocations) = gated(gate.clone(), |_, _| Ok(json!("done")));
    let mut functions = functions("f", service);
    functions.reserve("f", 1);
    let functions = Arc::new(functions);
    let first = tokio::spawn({
        let functions = functions.clone();
        async move { functions.invoke("f", payload()).await }
    });
    invocations.next().await;
    let throttled = functions.invoke("f", payload()).await.unwrap_err();
    assert!(throttled.is_throttle() && invocations.rest().is_empty(), "{throttled:?}");
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap().get(), "\"done\"");
    assert!(functions.invoke("f", payload()).await.is_ok(), "there is room again");
}
