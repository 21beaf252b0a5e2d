//! The mapping from the event table's stream to `projector`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use events::Timing;
use handlers::{Fault, Service};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Invocations, broken, functions, gated, quick, throttled, toy, within};
use crate::{
    Chaos, Functions,
    store::Store,
    streams::{Progress, StreamMapping},
    tables::{EVENTS, Tables},
};

/// Tables and checkpoint, which outlive a mapping.
struct World {
    tables: Tables,
    store: Arc<Store>,
}

/// A mapping at work.
struct Following {
    progress: watch::Receiver<Progress>,
    running: JoinHandle<()>,
}

impl World {
    fn new() -> World {
        World { tables: Tables::open(None).unwrap(), store: Arc::new(Store::open(None).unwrap()) }
    }

    /// Records numbered so, which are there before anybody follows.
    async fn with(numbers: impl IntoIterator<Item = u32>) -> World {
        let world = World::new();
        for number in numbers {
            world.put(number, "").await;
        }
        world
    }

    async fn put(&self, number: u32, text: &str) {
        let item = json!({"stream": {"S": "s"}, "id": {"S": id(number)}, "text": {"S": text}});
        self.call("PutItem", json!({"TableName": EVENTS, "Item": item})).await;
    }

    async fn call(&self, operation: &str, body: Value) {
        let reply = self.tables.call(operation.to_owned(), body.to_string()).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    fn follow(&self, projector: Service) -> Following {
        self.follow_with(functions("projector", projector), quick())
    }

    fn follow_with(&self, functions: Functions, timing: Timing) -> Following {
        let (progress, watched) = watch::channel(Progress::default());
        let mapping = StreamMapping {
            tables: self.tables.clone(),
            store: self.store.clone(),
            functions: Arc::new(functions),
            timing,
            chaos: Chaos::default(),
            progress,
        };
        Following { progress: watched, running: tokio::spawn(mapping.run(CancellationToken::new())) }
    }

    /// Sequence numbers of all stream records.
    async fn sequences(&self) -> Vec<String> {
        let start = self.tables.position(None).await.unwrap().unwrap();
        let read = self.tables.records(start, 1000).await.unwrap().unwrap();
        read.records.into_iter().map(|record| record.dynamodb.sequence_number).collect()
    }

    fn given_up(&self) -> Vec<Value> {
        self.store.given_up().unwrap().iter().map(|(_, record)| serde_json::from_str(record).unwrap()).collect()
    }
}

impl Following {
    /// Waits until the end of the stream is reached.
    async fn caught_up(&mut self) {
        within(self.progress.changed()).await.unwrap();
    }

    /// As `kill -9` does: in the middle of whatever it is.
    async fn kill(mut self) {
        self.running.abort();
        assert!((&mut self.running).await.unwrap_err().is_cancelled());
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn id(number: u32) -> String {
    format!("{number:05}")
}

/// The numbers in an event.
fn numbers(event: &Value) -> Vec<u32> {
    let records = event["Records"].as_array().unwrap();
    records.iter().map(|record| record["dynamodb"]["Keys"]["id"]["S"].as_str().unwrap().parse().unwrap()).collect()
}

/// The numbers in each of the events.
fn batches(invocations: &mut Invocations) -> Vec<Vec<u32>> {
    invocations.rest().iter().map(|invoked| numbers(&invoked.event)).collect()
}

/// The sequence number of the record in an event that has this number.
fn sequence(event: &Value, number: u32) -> Option<&Value> {
    let at = numbers(event).into_iter().position(|n| n == number)?;
    Some(&event["Records"][at]["dynamodb"]["SequenceNumber"])
}

/// The answer that lists these.
fn failed(event: &Value, listed: &[u32]) -> Value {
    let item = |number: &u32| Some(json!({"itemIdentifier": sequence(event, *number)?}));
    json!({"batchItemFailures": listed.iter().filter_map(item).collect::<Vec<_>>()})
}

/// Content, whatever comes.
fn content() -> (Service, Invocations) {
    toy(|_, _| Ok(json!({"batchItemFailures": []})))
}

/// Fails as a whole, whenever this number is in the batch.
fn poisoned_by(number: u32) -> impl Fn(usize, &Value) -> Result<Value, Fault> {
    move |_, event| if numbers(event).contains(&number) { Err(broken()) } else { Ok(json!({})) }
}

/// Point 47: five items, as no event is ever changed. Point 15: `aws_lambda_events` reads them.
#[tokio::test]
async fn records_arrive_in_the_order_of_writing_with_rising_sequence_numbers() {
    let world = World::with(1..=5).await;
    let (projector, mut invocations) = content();
    let _following = world.follow(projector);
    let event = invocations.next().await.event;
    assert_eq!(numbers(&event), [1, 2, 3, 4, 5]);
    let sequences: Vec<u128> = event["Records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["dynamodb"]["SequenceNumber"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    let record = &event["Records"][0];
    assert_eq!((&record["eventName"], &record["eventSource"]), (&json!("INSERT"), &json!("aws:dynamodb")));
    assert!(record["dynamodb"].get("OldImage").is_none() && record.get("userIdentity").is_none(), "{record}");
    assert!(record["dynamodb"]["ApproximateCreationDateTime"].is_i64(), "whole seconds: {record}");
    serde_json::from_value::<aws_lambda_events::dynamodb::Event>(event).unwrap();
}

/// Point 48: the embedded store leaves a record of a change, which our filter passes over as it does every change.
#[tokio::test]
async fn a_write_that_changes_nothing_is_not_delivered() {
    let world = World::with([1]).await;
    world.put(1, "").await;
    let (projector, mut invocations) = content();
    world.follow(projector).caught_up().await;
    assert_eq!(batches(&mut invocations), [[1]]);
}

/// Point 54: the filter that is deployed, `eventName` INSERT.
#[tokio::test]
async fn changes_and_removals_are_passed_over_without_an_invocation() {
    let world = World::with([1]).await;
    world.put(1, "changed").await;
    world.call("DeleteItem", json!({"TableName": EVENTS, "Key": {"stream": {"S": "s"}, "id": {"S": id(1)}}})).await;
    world.put(2, "").await;
    world.put(2, "changed").await;
    let (projector, mut invocations) = content();
    world.follow(projector).caught_up().await;
    assert_eq!(batches(&mut invocations), [[1, 2]]);
    assert_eq!(world.store.checkpoint(EVENTS).unwrap(), world.sequences().await.last().cloned(), "nor seen again");
}

/// Point 49.
#[tokio::test]
async fn a_batch_goes_on_from_the_first_record_that_failed() {
    let world = World::with(1..=5).await;
    let (projector, mut invocations) =
        toy(|before, event| Ok(if before == 0 { failed(event, &[4, 2]) } else { json!({"batchItemFailures": []}) }));
    world.follow(projector).caught_up().await;
    assert_eq!(batches(&mut invocations), [vec![1, 2, 3, 4, 5], vec![2, 3, 4, 5]]);
}

/// Point 50.
#[tokio::test]
async fn an_answer_that_names_no_record_of_the_batch_has_all_of_it_come_again() {
    let senseless = [
        json!([{"itemIdentifier": ""}]),
        json!([{"itemIdentifier": null}]),
        json!([{"itemIdentifier": 7}]),
        json!([{"itemIdentifier": "1405400000000002063282832"}]),
        json!([{"identifier": "wrong key"}]),
        json!([{}]),
        json!(["a text"]),
    ];
    for answer in senseless {
        let world = World::with(1..=2).await;
        let answer = json!({"batchItemFailures": answer});
        let (projector, mut invocations) =
            toy(move |before, _| Ok(if before == 0 { answer.clone() } else { json!(null) }));
        world.follow(projector).caught_up().await;
        assert_eq!(batches(&mut invocations), [[1, 2], [1, 2]]);
    }
}

/// Point 50.
#[tokio::test]
async fn an_answer_that_lists_nothing_is_success() {
    for answer in
        [json!({}), json!(null), json!([]), json!({"batchItemFailures": []}), json!({"batchItemFailures": null})]
    {
        let world = World::with(1..=2).await;
        let (projector, mut invocations) = toy(move |_, _| Ok(answer.clone()));
        world.follow(projector).caught_up().await;
        assert_eq!(batches(&mut invocations), [[1, 2]]);
    }
}

/// Point 51: by age, which is how the deployed mapping gives up.
#[tokio::test]
async fn a_record_that_fails_until_it_is_too_old_is_given_up_and_the_stream_goes_on() {
    let world = World::with([1]).await;
    let (projector, mut invocations) = toy(|_, event| Ok(failed(event, &[1])));
    let timing = Timing { record_max_age: Duration::from_secs(1), ..quick() };
    let mut following = world.follow_with(functions("projector", projector), timing);
    following.caught_up().await;
    let tries = batches(&mut invocations);
    assert!(tries.len() > 1 && tries.iter().all(|batch| *batch == [1]), "{tries:?}");

    let [mut record] = world.given_up().try_into().unwrap();
    let sequence = world.sequences().await.remove(0);
    let batch = &record["DDBStreamBatchInfo"];
    assert_eq!((&batch["startSequenceNumber"], &batch["endSequenceNumber"]), (&json!(sequence), &json!(sequence)));
    assert_eq!((&batch["batchSize"], &batch["streamArn"].as_str().unwrap().contains(EVENTS)), (&json!(1), &true));
    assert_eq!(batch["approximateArrivalOfFirstRecord"].as_str().unwrap().len(), "2019-11-14T00:13:19Z".len());
    assert_eq!(
        record["responseContext"],
        json!({"statusCode": 200, "executedVersion": "$LATEST", "functionError": null})
    );
    let context = &mut record["requestContext"];
    assert!(uuid::Uuid::parse_str(context["requestId"].take().as_str().unwrap()).is_ok());
    let expected = json!({"requestId": null, "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:projector",
        "condition": "RecordAgeExceeded", "approximateInvokeCount": tries.len()});
    assert_eq!(*context, expected);

    world.put(2, "").await;
    assert_eq!(numbers(&invocations.next().await.event), [2]);
}

/// Point 52. Point 53.
#[tokio::test]
async fn a_poisonous_record_is_isolated_and_holds_up_what_is_behind_it() {
    let world = World::with(1..=4).await;
    let healed = Arc::new(AtomicBool::new(false));
    let (is_healed, poisoned) = (healed.clone(), poisoned_by(3));
    let (projector, mut invocations) =
        toy(move |n, event| if is_healed.load(Ordering::SeqCst) { Ok(json!({})) } else { poisoned(n, event) });
    let mut following = world.follow(projector);
    for expected in [vec![1, 2, 3, 4], vec![1, 2], vec![3, 4], vec![3], vec![3], vec![3]] {
        assert_eq!(numbers(&invocations.next().await.event), expected);
    }
    world.put(5, "").await;
    assert_eq!(numbers(&invocations.next().await.event), [3], "4 and 5 wait");
    healed.store(true, Ordering::SeqCst);
    following.caught_up().await;
    let mut rest = batches(&mut invocations);
    rest.retain(|batch| *batch != [3]);
    assert_eq!(rest, [[4], [5]]);
}

/// Point 46: a throttled batch is not split.
#[tokio::test]
async fn a_throttled_batch_comes_again_as_it_is() {
    let world = World::with(1..=2).await;
    let (projector, mut invocations) = toy(|before, _| if before < 3 { Err(throttled()) } else { Ok(json!(null)) });
    world.follow(projector).caught_up().await;
    assert_eq!(batches(&mut invocations), [[1, 2]; 4]);
}

/// Point 56: no window is deployed, so what is there goes at once, 100 records at the most.
#[tokio::test]
async fn a_batch_has_at_most_100_records() {
    let world = World::with(1..=150).await;
    let (projector, mut invocations) = content();
    world.follow(projector).caught_up().await;
    let sizes: Vec<usize> = batches(&mut invocations).iter().map(Vec::len).collect();
    assert_eq!(sizes, [100, 50]);
}

/// Point 57.
#[tokio::test]
async fn a_restart_goes_on_behind_what_is_done_and_repeats_what_was_under_way() {
    let world = World::with(1..=2).await;
    let gate = Arc::new(Semaphore::new(1));
    let (projector, mut invocations) = gated(gate.clone(), |_, _| Ok(json!(null)));
    let mut first = world.follow(projector.clone());
    first.caught_up().await;
    world.put(3, "").await;
    world.put(4, "").await;
    assert_eq!(numbers(&invocations.next().await.event), [1, 2]);
    let under_way = numbers(&invocations.next().await.event);
    assert_eq!(under_way[0], 3);
    first.kill().await;

    gate.add_permits(10);
    world.follow(projector).caught_up().await;
    let again: Vec<u32> = batches(&mut invocations).concat();
    assert_eq!(again, [3, 4]);
}
