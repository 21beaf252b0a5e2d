//! Connections that end without a word: found by the sweep or by a push, and recorded as lost.
//!
//! Local only: the gateway's `$disconnect` is made to fail at the wire, and the schedule runs on scaled time.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

use std::time::Duration;

use events::{Event, Timing, connection, connection::FoundBy};
use local::Effect;
use serde_json::json;
use tests::{Client, Stage, quick};

fn sweeping(early_gone: Duration) -> Timing {
    Timing { early_gone, sweep_interval: Duration::from_millis(250), ..quick() }
}

async fn end_of(stage: &Stage, connection: &str) -> Option<Event> {
    let stream = connection::stream(&connection.parse().unwrap());
    let events = stage.runtime().log().read_whole_stream(&stream).await.unwrap();
    events.into_iter().map(|stored| stored.unwrap().event).find(|event| !matches!(event, Event::ConnectionOpened(_)))
}

#[tokio::test]
async fn a_connection_whose_disconnect_never_came_is_swept_away() {
    let stage = Stage::local(sweeping(Duration::from_millis(100))).await;
    let mut alice = stage.client().await;
    let bob = stage.client().await;
    let id = bob.id.clone();
    let dropped =
        stage.faults.inject("PutItem", "ConnectionClosed", Effect::Refuse(400, "ValidationException"), usize::MAX);
    bob.vanish(true);
    dropped.reached(1).await;
    alice.list_until(&id, false).await;
    let lost = end_of(&stage, &id).await.unwrap();
    assert!(matches!(&lost, Event::ConnectionLost(lost) if lost.found_by == FoundBy::Sweep), "{lost:?}");
    assert_eq!(end_of(&stage, &alice.id).await, None, "who is there stays");
    assert_eq!(alice.list(100).await, [alice.id.clone()]);
    stage.faults.clear();
    stage.finish().await;
}

#[tokio::test]
async fn a_connection_that_a_push_finds_gone_is_recorded_as_lost() {
    let timing = Timing { early_gone: Duration::ZERO, ..quick() };
    let stage = Stage::local(timing).await;
    let [mut alice, bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let id = bob.id.clone();
    let dropped =
        stage.faults.inject("PutItem", "ConnectionClosed", Effect::Refuse(400, "ValidationException"), usize::MAX);
    bob.vanish(false);
    dropped.reached(1).await;
    let accepted = alice.ask(json!({"action": "broadcast", "message": "Bob?"})).await;
    alice.expect_id("broadcast", &accepted["id"]).await;
    alice.list_until(&id, false).await;
    let lost = end_of(&stage, &id).await.unwrap();
    assert!(matches!(&lost, Event::ConnectionLost(lost) if lost.found_by == FoundBy::Post), "{lost:?}");
    stage.faults.clear();
    stage.finish().await;
}

#[tokio::test]
async fn a_connection_that_is_still_being_established_is_left_alone() {
    let stage = Stage::local(sweeping(Duration::from_secs(30))).await;
    // The opening is recorded, but `$connect` hears of it only a second later: for the gateway it is not there yet.
    let slow = stage.faults.inject("PutItem", "ConnectionOpened", Effect::LoseAnswer, 1);
    let asked = stage.faults.inject("GetConnection", "", Effect::Refuse(410, "GoneException"), usize::MAX);
    let mut alice = stage.client().await;
    assert_eq!(slow.times(), 1);
    alice.everything_so_far().await;
    assert_eq!(end_of(&stage, &alice.id).await, None);
    assert_eq!(asked.times(), 0, "one so young is not even asked for");
    stage.finish().await;
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_loses_nobody() {
    let stage = Stage::local(sweeping(Duration::ZERO)).await;
    let mut alice = stage.client().await;
    for (status, error) in [(500, "InternalServerError"), (429, "LimitExceededException"), (403, "ForbiddenException")]
    {
        let unclear = stage.faults.inject("GetConnection", "", Effect::Refuse(status, error), 3);
        unclear.reached(3).await;
    }
    alice.everything_so_far().await;
    assert_eq!(end_of(&stage, &alice.id).await, None);
    assert_eq!(alice.list(100).await, [alice.id.clone()]);
    stage.finish().await;
}

#[tokio::test]
async fn a_row_that_missed_the_end_of_its_connection_is_repaired() {
    let stage = Stage::local(sweeping(Duration::from_millis(50))).await;
    let mut alice = stage.client().await;
    let bob = stage.client().await;
    let id = bob.id.clone();
    bob.close(None).await;
    alice.list_until(&id, false).await;
    // As if the stream record of the end had been lost: the row says what it said before.
    let tables = aws_sdk_dynamodb::Client::new(stage.runtime().sdk());
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let opened_at = text("2026-11-22T08:55:46.123Z");
    let put =
        tables.put_item().table_name(local::CONNECTIONS).item("connection", text(&id)).item("opened_at", opened_at);
    put.item("live", text("0")).send().await.unwrap();
    alice.list_until(&id, true).await;
    alice.list_until(&id, false).await;
    assert!(matches!(end_of(&stage, &id).await, Some(Event::ConnectionClosed(_))), "no second end was recorded");
    stage.finish().await;
}

#[test]
fn after_a_restart_the_first_sweep_judges_everyone_within_90_seconds() {
    let timing = Timing::default();
    let swept = local::first_sweep(&timing) + Duration::from_secs(10);
    assert!(local::first_sweep(&timing) > timing.early_gone, "older than a connection of the old process must be");
    assert!(swept < Duration::from_secs(90), "{swept:?}");
}
