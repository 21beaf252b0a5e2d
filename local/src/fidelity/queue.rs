//! Asynchronous invocation.

use std::sync::Arc;

use events::Timing;
use serde_json::{Value, json};

use super::{Invocations, MINUTE, broken, functions, quick, throttled, toy, within};
use crate::{Chaos, Functions, queue::Queue, store::Store};

fn queue(functions: Functions) -> (Arc<Queue>, Arc<Store>) {
    let store = Arc::new(Store::open(None).unwrap());
    (Queue::new(store.clone(), Arc::new(functions), &quick(), Chaos::default()), store)
}

fn records(store: &Store) -> Vec<(String, Value)> {
    let record = |(function, record): (String, String)| (function, serde_json::from_str(&record).unwrap());
    store.given_up().unwrap().into_iter().map(record).collect()
}

/// Point 40.
#[tokio::test]
async fn an_asynchronous_call_is_kept_before_its_function_runs() {
    let (service, mut invocations) = toy(|_, _| Ok(json!(null)));
    let (queue, store) = queue(functions("post", service));
    queue.accept(vec![("post", json!({"n": 1}).to_string())]).unwrap();
    assert_eq!((store.pending().unwrap().len(), invocations.rest().len()), (1, 0));
    assert_eq!(invocations.next().await.event, json!({"n": 1}));
    within(queue.empty()).await;
    assert_eq!(store.pending().unwrap(), []);
}

/// Point 41: the ladder is scaled here; its steps on AWS are the defaults.
#[tokio::test]
async fn a_call_that_always_fails_is_made_three_times_and_then_recorded() {
    assert_eq!(Timing::default().async_retries, [MINUTE, MINUTE * 2]);
    let (service, mut invocations) = toy(|_, _| Err(broken()));
    let (queue, store) = queue(functions("post", service));
    queue.accept(vec![("post", json!({"n": 1}).to_string())]).unwrap();
    within(queue.empty()).await;
    assert_ladder(&mut invocations);

    let [(destination, mut record)] = records(&store).try_into().unwrap();
    assert_eq!(destination, "post");
    let (id, timestamp) = (record["requestContext"]["requestId"].take(), record["timestamp"].take());
    assert!(uuid::Uuid::parse_str(id.as_str().unwrap()).is_ok());
    assert!(timestamp.as_str().unwrap().ends_with('Z'));
    let expected = json!({
        "version": "1.0", "timestamp": null,
        "requestContext": {"requestId": null, "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:post:$LATEST",
            "condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": {"n": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorType": "Toy.Broken", "errorMessage": "as asked"},
    });
    assert_eq!(record, expected);
}

/// Three attempts with one request id, and the waits between them.
pub(super) fn assert_ladder(invocations: &mut Invocations) {
    let [first, second, third] = invocations.rest().try_into().ok().expect("three attempts");
    assert!(first.request_id == second.request_id && second.request_id == third.request_id);
    let [wait, longer] = quick().async_retries;
    assert!(second.at - first.at >= wait && third.at - second.at >= longer);
}

#[tokio::test]
async fn a_call_that_succeeds_the_second_time_is_done() {
    let (service, mut invocations) = toy(|before, _| if before == 0 { Err(broken()) } else { Ok(json!(null)) });
    let (queue, store) = queue(functions("post", service));
    queue.accept(vec![("post", "{}".into())]).unwrap();
    within(queue.empty()).await;
    assert_eq!((invocations.rest().len(), records(&store).len()), (2, 0));
}

/// Point 46: throttled attempts are none of the three.
#[tokio::test]
async fn a_throttled_call_waits_until_there_is_room() {
    let (service, mut invocations) = toy(|before, _| if before < 6 { Err(throttled()) } else { Ok(json!(null)) });
    let (queue, store) = queue(functions("post", service));
    queue.accept(vec![("post", "{}".into())]).unwrap();
    within(queue.empty()).await;
    let attempts = invocations.rest();
    assert!(attempts.len() == 7 && attempts.iter().all(|attempt| attempt.request_id == attempts[0].request_id));
    assert_eq!(records(&store).len(), 0);
}
