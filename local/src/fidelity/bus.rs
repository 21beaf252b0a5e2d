//! EventBridge: PutEvents, what is delivered, the schedule.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Invocations, broken, queue::assert_ladder, quick, toy, within};
use crate::{BUS, Chaos, Functions, bus::EventBridge, queue::Queue, store::Store};

struct World {
    bus: EventBridge,
    queue: Arc<Queue>,
    store: Arc<Store>,
    post: Invocations,
    manage: Invocations,
}

/// A bus before a `post` that always does the same and a `manage` that is content.
fn world(fails: bool) -> World {
    let (post, to_post) = toy(move |_, _| if fails { Err(broken()) } else { Ok(json!(null)) });
    let (manage, to_manage) = toy(|_, _| Ok(json!(null)));
    let mut functions = Functions::default();
    functions.register("post", super::MINUTE, post);
    functions.register("manage", super::MINUTE, manage);
    let store = Arc::new(Store::open(None).unwrap());
    let queue = Queue::new(store.clone(), Arc::new(functions), &quick(), Chaos::default());
    World { bus: EventBridge::new(queue.clone()), queue, store, post: to_post, manage: to_manage }
}

fn entry(change: Value) -> Value {
    let mut entry = json!({"Source": "webchat", "DetailType": "chat", "Detail": "{\"n\":1}", "EventBusName": BUS});
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(entry.as_object_mut().unwrap().remove(name)),
            value => entry[name] = value.clone(),
        }
    }
    entry
}

impl World {
    fn put(&self, entries: &[Value]) -> (u16, Value) {
        self.bus.put_events(&json!({"Entries": entries}).to_string())
    }

    /// The events that came to `post`.
    async fn delivered(&mut self) -> Vec<Value> {
        within(self.queue.empty()).await;
        self.post.rest().into_iter().map(|invoked| invoked.event).collect()
    }
}

/// Point 58.
#[tokio::test]
async fn a_bad_entry_is_refused_by_itself_and_the_good_one_delivered() {
    let mut world = world(false);
    let missing = |name: &str| format!("Parameter {name} is not valid. Reason: {name} is a required argument.");
    let bad = [
        (json!({"Source": null}), "InvalidArgument", missing("Source")),
        (json!({"DetailType": ""}), "InvalidArgument", missing("DetailType")),
        (json!({"Detail": null}), "InvalidArgument", missing("Detail")),
        (json!({"Detail": "[1]"}), "MalformedDetail", "Detail is malformed.".into()),
        (json!({"Detail": "\"text\""}), "MalformedDetail", "Detail is malformed.".into()),
        (json!({"Detail": "{"}), "MalformedDetail", "Detail is malformed.".into()),
        (json!({"Source": "aws.lambda"}), "NotAuthorizedForSourceException", "Not authorized for the source.".into()),
    ];
    for (change, code, message) in bad {
        let (status, answer) = world.put(&[entry(change), entry(json!({}))]);
        assert_eq!((status, &answer["FailedEntryCount"]), (200, &json!(1)));
        assert_eq!(answer["Entries"][0], json!({"ErrorCode": code, "ErrorMessage": message}));
        let delivered = world.delivered().await;
        assert_eq!(delivered.len(), 1);
        assert_eq!(delivered[0]["id"], answer["Entries"][1]["EventId"]);
    }
}

/// Point 59.
#[tokio::test]
async fn a_call_over_a_limit_is_refused_as_a_whole() {
    let mut world = world(false);
    let big = |bytes: usize| entry(json!({"Detail": json!({"x": "x".repeat(bytes)}).to_string()}));
    // Source, detail-type and the braces take 19 bytes.
    let most = big(256 * 1024 - 19);
    for entries in
        [vec![], vec![entry(json!({})); 11], vec![big(256 * 1024 - 18)], vec![most.clone(), entry(json!({}))]]
    {
        let (status, answer) = world.put(&entries);
        assert_eq!((status, &answer["__type"]), (400, &json!("ValidationException")), "{} entries", entries.len());
    }
    let timed = entry(json!({"Detail": most["Detail"], "Time": 1_700_000_000.5}));
    assert_eq!(world.put(&[timed]).0, 400, "a time counts for 14 bytes");
    assert!(world.delivered().await.is_empty());
    assert_eq!(world.put(&[most]).0, 200);
    assert_eq!(world.delivered().await.len(), 1);
}

/// Point 60.
#[tokio::test]
async fn a_bus_that_is_not_there_takes_everything_and_delivers_nothing() {
    let mut world = world(false);
    for elsewhere in [json!({"EventBusName": "nobodys"}), json!({"EventBusName": null}), json!({"Source": "other"})] {
        let (status, answer) = world.put(&[entry(elsewhere)]);
        assert_eq!((status, &answer["FailedEntryCount"]), (200, &json!(0)));
        assert!(answer["Entries"][0]["EventId"].is_string());
    }
    assert!(world.delivered().await.is_empty());
    let arn = format!("arn:aws:events:us-east-1:000000000000:event-bus/{BUS}");
    world.put(&[entry(json!({"EventBusName": arn}))]);
    assert_eq!(world.delivered().await.len(), 1, "a bus may be named by its ARN");
}

/// Point 61.
#[tokio::test]
async fn an_event_is_delivered_in_the_envelope_of_eventbridge() {
    let mut world = world(false);
    let timed = json!({"Time": 1_700_000_000.789, "Resources": ["arn:x"]});
    let (_, answer) = world.put(&[entry(json!({})), entry(timed)]);
    let delivered = world.delivered().await;
    let expected = |n: usize, time: &Value, resources: Value| {
        json!({"version": "0", "id": answer["Entries"][n]["EventId"], "detail-type": "chat", "source": "webchat",
            "account": "000000000000", "time": time, "region": "us-east-1", "resources": resources, "detail": {"n": 1}})
    };
    let find = |id: &Value| delivered.iter().find(|event| event["id"] == *id).unwrap();
    let plain = find(&answer["Entries"][0]["EventId"]);
    assert_eq!(plain["time"].as_str().unwrap().len(), "2022-01-01T00:00:00Z".len(), "whole seconds");
    assert_eq!(*plain, expected(0, &plain["time"], json!([])));
    let timed = find(&answer["Entries"][1]["EventId"]);
    assert_eq!(*timed, expected(1, &json!("2023-11-14T22:13:20Z"), json!(["arn:x"])));
}

/// Point 61: each detail-type has one rule, and so one target.
#[tokio::test]
async fn a_lost_connection_goes_to_manage_and_everything_else_to_post() {
    let mut world = world(false);
    for kind in ["welcome", "chat", "broadcast", "deliver", "receipt", "connection.gone", "unheard of"] {
        world.put(&[entry(json!({"DetailType": kind}))]);
    }
    let mut delivered: Vec<_> = world.delivered().await.iter().map(|e| e["detail-type"].clone()).collect();
    delivered.sort_by_key(ToString::to_string);
    assert_eq!(json!(delivered), json!(["broadcast", "chat", "deliver", "receipt", "welcome"]));
    let to_manage: Vec<_> =
        world.manage.rest().into_iter().map(|invoked| invoked.event["detail-type"].clone()).collect();
    assert_eq!(to_manage, ["connection.gone"]);
}

/// Point 62.
#[tokio::test]
async fn a_target_that_fails_is_lambdas_business_and_not_the_rules() {
    let mut world = world(true);
    world.put(&[entry(json!({}))]);
    within(world.queue.empty()).await;
    assert_ladder(&mut world.post);
    let given_up = world.store.given_up().unwrap();
    assert_eq!(given_up.len(), 1, "{given_up:?}");
    assert_eq!(given_up[0].0, "post");
}

/// Point 63.
#[tokio::test]
async fn the_schedule_sends_a_scheduled_event_at_every_interval() {
    let World { bus, mut manage, .. } = world(false);
    let timing = events::Timing { early_gone: Duration::ZERO, sweep_interval: Duration::from_millis(30), ..quick() };
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { bus.run_schedule(timing, stop).await }
    });
    let (first, second) = (manage.next().await, manage.next().await);
    assert!(second.at - first.at >= Duration::from_millis(25), "the interval, give or take");
    let event = first.event;
    let rule = "arn:aws:events:us-east-1:000000000000:rule/webchat-local-sweep";
    let expected = json!({"version": "0", "id": event["id"], "detail-type": "Scheduled Event", "source": "aws.events",
        "account": "000000000000", "time": event["time"], "region": "us-east-1", "resources": [rule], "detail": {}});
    assert_eq!(event, expected);
    assert_ne!(event["id"], second.event["id"]);
    stop.cancel();
    running.await.unwrap();
}
