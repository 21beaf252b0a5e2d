//! AWS delivers at least once: the same invocation, batch or notice again changes nothing that matters.
//!
//! Local only: functions are invoked as AWS would invoke them, with the JSON AWS would send, beside the runtime's own.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

use std::{collections::BTreeSet, time::Duration};

use events::{
    EventLog, RecordedEvent, Timing,
    connection::{self, ConnectionClosed, ConnectionOpened},
    conversation, to_item,
};
use futures::{StreamExt, TryStreamExt, stream};
use handlers::{Bus, Function};
use lambda_runtime::{Context, LambdaEvent};
use local::Effect;
use projections::{StoredRow, notices};
use serde_json::{Value, json, value::to_raw_value};
use tests::{Client, Stage, quick};

/// Invokes a function as AWS would.
async fn invoke(stage: &Stage, function: Function, payload: &Value) -> Value {
    let service = function.service(stage.runtime().settings(), stage.runtime().sdk());
    let mut context = Context::default();
    context.request_id = uuid::Uuid::new_v4().to_string();
    context.deadline = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap() + 60_000;
    let answer = service(LambdaEvent::new(to_raw_value(payload).unwrap(), context)).await.unwrap();
    serde_json::from_str(answer.get()).unwrap()
}

/// A MESSAGE event, as the gateway would send it, from `age` ago.
fn message_event(connection: &str, age: Duration, body: &Value) -> Value {
    let at = chrono::Utc::now().timestamp_millis() - i64::try_from(age.as_millis()).unwrap();
    json!({
        "requestContext": {"routeKey": body["action"], "messageId": "TX0tuFp2joECEaw=", "eventType": "MESSAGE",
            "extendedRequestId": "Qyi3UG41tjMFlUg=", "requestId": "Qyi3UG41tjMFlUg=", "requestTimeEpoch": at, "connectedAt": at - 1000,
            "messageDirection": "IN", "stage": "local", "identity": {"sourceIp": "192.0.2.1"}, "connectionId": connection},
        "body": body.to_string(), "isBase64Encoded": false,
    })
}

fn reply(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

fn opened(id: &str, millis_ago: i64) -> RecordedEvent {
    let at = events::time::now() - chrono::Duration::milliseconds(millis_ago);
    let data = ConnectionOpened { source_ip: Some("192.0.2.1".into()), user_agent: None };
    connection::open(&id.parse().unwrap(), data, at, "request-1")
}

fn closed(id: &str) -> RecordedEvent {
    let data = ConnectionClosed { code: Some(1000), text: None };
    connection::close(&id.parse().unwrap(), data, events::time::now(), "request-2")
}

/// Well-formed ids that no gateway gave out.
fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("row{n:012}=")).collect()
}

async fn append_all(log: &EventLog, events: Vec<RecordedEvent>) {
    let appends = stream::iter(events).map(|event| async move { log.append(&event).await.map(drop) });
    appends.buffer_unordered(16).try_collect::<()>().await.unwrap();
}

async fn lobby(stage: &Stage) -> Vec<RecordedEvent> {
    let stored = stage.runtime().log().read_whole_stream(&conversation::lobby()).await.unwrap();
    stored.into_iter().map(Result::unwrap).collect()
}

/// Point 64 of docs/FIDELITY.md.
#[tokio::test]
async fn the_same_invocation_twice_appends_one_event_and_pushes_one_id() {
    let stage = Stage::local(quick()).await;
    let [mut alice, mut bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let event =
        message_event(&alice.id, Duration::ZERO, &json!({"action": "broadcast", "message": "twice", "ref": "r"}));
    let first = reply(&invoke(&stage, Function::Broadcast, &event).await);
    let second = reply(&invoke(&stage, Function::Broadcast, &event).await);
    assert_eq!(first["type"], "accepted");
    assert_eq!(first, second);
    assert_eq!(lobby(&stage).await.len(), 1);
    for client in [&mut alice, &mut bob] {
        let frames = client.everything_so_far().await;
        let ids: BTreeSet<_> =
            frames.iter().filter(|f| f["type"] == "broadcast").map(|f| f["id"].to_string()).collect();
        assert_eq!(ids.into_iter().collect::<Vec<_>>(), [first["id"].to_string()]);
    }
    stage.finish().await;
}

#[tokio::test]
async fn a_request_that_waited_longer_than_20_seconds_is_refused_and_not_recorded() {
    let stage = Stage::local(Timing::default()).await;
    let alice = stage.client().await;
    let say =
        |age| message_event(&alice.id, Duration::from_secs(age), &json!({"action": "broadcast", "message": "late"}));
    let refused = reply(&invoke(&stage, Function::Broadcast, &say(21)).await);
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("unavailable")));
    assert_eq!(lobby(&stage).await, []);
    assert_eq!(reply(&invoke(&stage, Function::Broadcast, &say(15)).await)["type"], "accepted");
    let mut connect = say(21);
    connect["requestContext"]["connectionId"] = json!("AAAAAAAAAAAAAAA=");
    assert_eq!(invoke(&stage, Function::Connect, &connect).await["statusCode"], 503);
    stage.finish().await;
}

#[tokio::test]
async fn a_connection_that_another_request_opened_before_is_refused() {
    let stage = Stage::local(quick()).await;
    stage.faults.inject("PostToConnection", "welcome", Effect::Refuse(200, ""), usize::MAX);
    let event = message_event("AAAAAAAAAAAAAAA=", Duration::ZERO, &Value::Null);
    let mut other = event.clone();
    other["requestContext"]["requestId"] = json!("somebody-elses=");
    assert_eq!(invoke(&stage, Function::Connect, &event).await["statusCode"], 200);
    assert_eq!(invoke(&stage, Function::Connect, &event).await["statusCode"], 200, "the same request again");
    assert_eq!(invoke(&stage, Function::Connect, &other).await["statusCode"], 409);
    stage.finish().await;
}

/// A batch as the stream mapping would deliver it.
fn batch(events: &[&RecordedEvent]) -> Value {
    let record = |(number, event): (usize, &&RecordedEvent)| {
        json!({"eventID": format!("{number:032x}"), "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1", "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/events/stream/1",
            "dynamodb": {"ApproximateCreationDateTime": 1_691_496_113, "Keys": {}, "NewImage": to_item(event).unwrap(),
                "SequenceNumber": format!("{number:021}"), "SizeBytes": 1, "StreamViewType": "NEW_IMAGE"}})
    };
    json!({"Records": events.iter().enumerate().map(record).collect::<Vec<_>>()})
}

async fn rows(stage: &Stage) -> Vec<StoredRow> {
    let mut rows = stage.runtime().view().all().await.unwrap();
    rows.sort_by(|a, b| a.row.connection.cmp(&b.row.connection));
    rows
}

/// Point 64 of docs/FIDELITY.md.
#[tokio::test]
async fn a_batch_delivered_twice_or_in_another_order_leaves_the_same_view() {
    let ids = ids(6);
    let mut history: Vec<RecordedEvent> = ids.iter().map(|id| opened(id, 1000)).collect();
    history.extend(ids[..4].iter().map(|id| closed(id)));
    let in_order: Vec<&RecordedEvent> = history.iter().collect();
    let mut reversed = in_order.clone();
    reversed.reverse();
    let mut views = Vec::new();
    for deliveries in
        [vec![&in_order], vec![&in_order, &in_order], vec![&reversed], vec![&reversed, &in_order, &reversed]]
    {
        let stage = Stage::local(quick()).await;
        let welcomes = stage.faults.inject("PostToConnection", "", Effect::Refuse(200, ""), usize::MAX);
        for batches in deliveries {
            for part in batches.chunks(4) {
                let answer = invoke(&stage, Function::Projector, &batch(part)).await;
                assert_eq!(answer["batchItemFailures"], json!([]), "{answer}");
            }
        }
        stage.idle().await;
        assert!(welcomes.times() >= 6);
        views.push(rows(&stage).await);
        stage.finish().await;
    }
    assert_eq!(views[0].len(), 6);
    assert_eq!(views[0].iter().filter(|row| row.live.is_some()).count(), 2);
    assert!(views.iter().all(|view| *view == views[0]), "{views:#?}");
}

#[tokio::test]
async fn a_record_that_is_not_even_shaped_like_one_does_not_stop_the_others() {
    let stage = Stage::local(quick()).await;
    let pushes = stage.faults.inject("PostToConnection", "", Effect::Refuse(200, ""), usize::MAX);
    let events = [opened("AAAAAAAAAAAAAAA=", 0), opened("BBBBBBBBBBBBBBB=", 0)];
    let mut batch = batch(&[&events[0], &events[1]]);
    batch["Records"][0] = json!({"eventName": 7, "dynamodb": {"SequenceNumber": "000000000000000000000"}});
    let answer = invoke(&stage, Function::Projector, &batch).await;
    assert_eq!(answer["batchItemFailures"], json!([]));
    stage.idle().await;
    assert_eq!(rows(&stage).await.len(), 1);
    assert_eq!(pushes.times(), 1, "one welcome");
    stage.finish().await;
}

#[tokio::test]
async fn a_broadcast_notice_to_1200_rows_delivered_three_times_is_pushed_three_times_at_most() {
    let stage = Stage::local(quick()).await;
    let pushes = stage.faults.inject("PostToConnection", "Anybody home?", Effect::Refuse(200, ""), usize::MAX);
    stage.faults.inject("PostToConnection", "welcome", Effect::Refuse(200, ""), usize::MAX);
    append_all(&stage.runtime().log(), ids(1200).iter().map(|id| opened(id, 1000)).collect()).await;
    stage.idle().await;
    let said = conversation::broadcast(
        "AAAAAAAAAAAAAAA=".parse().unwrap(),
        "Anybody home?".into(),
        events::time::now(),
        "request-9",
    )
    .unwrap();
    let notice = notices::of(&said).unwrap();
    let bus = Bus::new(aws_sdk_eventbridge::Client::new(stage.runtime().sdk()), local::BUS, Duration::from_millis(20));
    for time in 1..=3 {
        assert_eq!(bus.publish(std::slice::from_ref(&notice)).await, []);
        stage.idle().await;
        assert_eq!(pushes.times(), time * 1200, "each delivery pushes once to everyone");
    }
    let deliveries = stage.runtime().log().read_whole_stream(&events::delivery::stream(said.id)).await.unwrap();
    assert_eq!(deliveries.len(), 3, "three pages, each counted once");
    stage.finish().await;
}

#[tokio::test]
async fn who_comes_after_a_broadcast_does_not_hear_it_however_often_it_is_redelivered() {
    let stage = Stage::local(quick()).await;
    let mut alice = stage.client().await;
    let accepted = alice.ask(json!({"action": "broadcast", "message": "before"})).await;
    alice.expect_id("broadcast", &accepted["id"]).await;
    let mut bob = stage.client().await;
    let notice = notices::of(&lobby(&stage).await[0]).unwrap();
    let bus = Bus::new(aws_sdk_eventbridge::Client::new(stage.runtime().sdk()), local::BUS, Duration::from_millis(20));
    for _ in 0..2 {
        bus.publish(std::slice::from_ref(&notice)).await;
        alice.expect_id("broadcast", &accepted["id"]).await;
    }
    let heard = bob.everything_so_far().await;
    assert!(!heard.iter().any(|frame| frame["type"] == "broadcast"), "{heard:?}");
    stage.finish().await;
}

#[tokio::test]
async fn a_thousand_rows_and_fifty_sockets_are_listed_complete_and_once_each() {
    let stage = Stage::local(quick()).await;
    stage.faults.inject("PostToConnection", "row0", Effect::Refuse(200, ""), usize::MAX);
    let rows = ids(1000);
    append_all(&stage.runtime().log(), rows.iter().map(|id| opened(id, 1000)).collect()).await;
    let mut clients = stage.clients(50).await;
    stage.idle().await;
    let all: BTreeSet<String> = rows.into_iter().chain(clients.iter().map(|client| client.id.clone())).collect();
    for limit in [1, 7, 100, 400] {
        let client = &mut clients[0];
        let listed = client.list(limit).await;
        assert_eq!(listed.len(), all.len(), "{limit} at a time");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), all);
    }
    stage.finish().await;
}
