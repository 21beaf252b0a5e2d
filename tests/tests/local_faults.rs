//! Faults at the wire, one at a time, each seen to have struck: what a client hears, and what is in the tables then.
//!
//! Local only: they need the runtime's fault injection and its tables.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use events::{
    Event, EventId, EventLog, RecordedEvent, StreamName, Timing, connection, conversation, delivery, delivery::Reason,
};
use local::Effect;
use serde_json::{Value, json};
use tests::{Client, Stage, quick};

const ALWAYS: usize = usize::MAX;

fn broadcast(text: &str) -> Value {
    json!({"action": "broadcast", "message": text})
}

fn chat(to: &Client, text: &str) -> Value {
    json!({"action": "chat", "connection": to.id, "message": text, "receipt": true})
}

async fn stream(log: &EventLog, stream: &StreamName) -> Vec<RecordedEvent> {
    log.read_whole_stream(stream).await.unwrap().into_iter().map(Result::unwrap).collect()
}

async fn lobby(stage: &Stage) -> Vec<RecordedEvent> {
    stream(&stage.runtime().log(), &conversation::lobby()).await
}

/// What became of a message, by its delivery stream.
async fn outcomes(stage: &Stage, accepted: &Value) -> Vec<Event> {
    let message: EventId = accepted["id"].as_str().unwrap().parse().unwrap();
    let events = stream(&stage.runtime().log(), &delivery::stream(message)).await;
    events.into_iter().map(|recorded| recorded.event).collect()
}

async fn life(stage: &Stage, connection: &str) -> Vec<String> {
    let events = stream(&stage.runtime().log(), &connection::stream(&connection.parse().unwrap())).await;
    events.iter().map(|recorded| recorded.event.type_name().to_owned()).collect()
}

async fn parked(stage: &Stage) -> Vec<HashMap<String, AttributeValue>> {
    let tables = aws_sdk_dynamodb::Client::new(stage.runtime().sdk());
    tables.scan().table_name(local::PARKED).limit(100).send().await.unwrap().items.unwrap_or_default()
}

#[tokio::test]
async fn without_an_event_there_is_no_connection() {
    let stage = Stage::local(quick()).await;
    let refused =
        stage.faults.inject("PutItem", "ConnectionOpened", Effect::Refuse(500, "InternalServerError"), ALWAYS);
    let error = Client::open(stage.url()).await.err().unwrap();
    assert!(error.to_string().contains("503"), "{error}");
    assert!(refused.times() > 0);
    stage.faults.clear();
    let mut alice = stage.client().await;
    assert_eq!(alice.list(100).await, [alice.id.clone()], "nobody else is here");
    stage.finish().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_recorded_is_unavailable_and_said_to_nobody() {
    let stage = Stage::local(quick()).await;
    let mut alice = stage.client().await;
    let refused = stage.faults.inject("PutItem", "hush", Effect::Refuse(500, "InternalServerError"), ALWAYS);
    let error = alice.ask(broadcast("hush")).await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("unavailable")), "{error}");
    assert!(refused.times() > 1, "the SDK tries again");
    let heard = alice.everything_so_far().await;
    assert!(!heard.iter().any(|frame| frame["type"] == "broadcast"), "{heard:?}");
    assert_eq!(lobby(&stage).await, []);
    stage.finish().await;
}

#[tokio::test]
async fn a_message_whose_recording_was_not_confirmed_is_recorded_once_and_accepted() {
    let stage = Stage::local(quick()).await;
    let mut alice = stage.client().await;
    let lost = stage.faults.inject("PutItem", "once", Effect::LoseAnswer, 1);
    let accepted = alice.ask(broadcast("once")).await;
    assert_eq!(accepted["type"], "accepted", "{accepted}");
    alice.expect_id("broadcast", &accepted["id"]).await;
    assert_eq!(lost.times(), 1);
    assert_eq!(lobby(&stage).await.len(), 1);
    stage.finish().await;
}

#[tokio::test]
async fn a_message_is_accepted_even_if_no_try_at_recording_it_was_ever_confirmed() {
    let stage = Stage::local(quick()).await;
    let mut alice = stage.client().await;
    let lost = stage.faults.inject("PutItem", "never confirmed", Effect::LoseAnswer, ALWAYS);
    let accepted = alice.ask(broadcast("never confirmed")).await;
    assert_eq!(accepted["type"], "accepted", "it was looked up: {accepted}");
    assert!(lost.times() > 1);
    assert_eq!(lobby(&stage).await.len(), 1);
    stage.finish().await;
}

#[tokio::test]
async fn notices_the_bus_does_not_take_are_published_again() {
    let stage = Stage::local(quick()).await;
    let mut clients = stage.clients(3).await;
    let failed = stage.faults.inject("PutEvents", "", Effect::FailEntries, 3);
    let mut accepted = Vec::new();
    for n in 0..10 {
        accepted.push(clients[n % 3].ask(broadcast(&format!("number {n}"))).await);
    }
    for client in &mut clients {
        for accepted in &accepted {
            client.expect_id("broadcast", &accepted["id"]).await;
        }
    }
    assert_eq!(failed.times(), 3);
    stage.finish().await;
}

#[tokio::test]
async fn a_bus_that_takes_nothing_for_a_while_loses_nothing() {
    let stage = Stage::local(quick()).await;
    let mut alice = stage.client().await;
    let refused = stage.faults.inject("PutEvents", "patience", Effect::Refuse(500, "InternalFailure"), 20);
    let accepted = alice.ask(broadcast("patience")).await;
    alice.expect_id("broadcast", &accepted["id"]).await;
    assert_eq!(refused.times(), 20, "more than one invocation of the projector failed");
    stage.finish().await;
}

#[tokio::test]
async fn a_welcome_that_comes_before_the_connection_is_established_comes_again() {
    let stage = Stage::local(quick()).await;
    let early = stage.faults.inject("PostToConnection", "welcome", Effect::Refuse(410, "GoneException"), 3);
    let alice = stage.client().await;
    assert_eq!(early.times(), 3);
    assert_eq!(life(&stage, &alice.id).await, ["ConnectionOpened"]);
    stage.finish().await;
}

#[tokio::test]
async fn a_push_that_fails_or_is_not_answered_comes_again() {
    for effect in [
        Effect::Refuse(429, "LimitExceededException"),
        Effect::Refuse(500, "InternalServerError"),
        Effect::Refuse(410, "GoneException"),
        Effect::Ignore,
        Effect::LoseAnswer,
    ] {
        let stage = Stage::local(quick()).await;
        let [mut alice, mut bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
        let failed = stage.faults.inject("PostToConnection", "still coming", effect.clone(), 2);
        let accepted = alice.ask(chat(&bob, "still coming")).await;
        bob.expect_id("chat", &accepted["id"]).await;
        let receipt = alice.expect("receipt").await;
        assert_eq!((&receipt["status"], &receipt["message_id"]), (&json!("delivered"), &accepted["id"]), "{effect:?}");
        assert_eq!(failed.times(), 2);
        assert!(matches!(outcomes(&stage, &accepted).await[..], [Event::MessageDelivered(_)]));
        stage.finish().await;
    }
}

#[tokio::test]
async fn who_is_there_is_read_again_within_the_same_invocation() {
    // Another try of Lambda's would come too late for any test.
    let hour = Duration::from_secs(3600);
    let stage = Stage::local(Timing { async_retries: [hour, hour], ..quick() }).await;
    let mut clients = stage.clients(2).await;
    // More often than the SDK tries one read.
    let failed = stage.faults.inject("Query", "\"IndexName\":\"live\"", Effect::Refuse(500, "InternalServerError"), 7);
    let accepted = clients[0].ask(broadcast("Anybody home?")).await;
    for client in &mut clients {
        client.expect_id("broadcast", &accepted["id"]).await;
    }
    assert_eq!(failed.times(), 7);
    stage.finish().await;
}

#[tokio::test]
async fn a_push_outlives_faults_longer_than_one_invocation() {
    let timing = Timing { push_budget: Duration::from_millis(100), ..quick() };
    let stage = Stage::local(timing).await;
    let [mut alice, mut bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let failed = stage.faults.inject("PostToConnection", "at last", Effect::Refuse(500, "InternalServerError"), 8);
    let accepted = alice.ask(broadcast("at last")).await;
    bob.expect_id("broadcast", &accepted["id"]).await;
    alice.expect_id("broadcast", &accepted["id"]).await;
    assert_eq!(failed.times(), 8);
    stage.idle().await;
    let counts = outcomes(&stage, &accepted).await;
    assert!(counts.len() > 1, "more than one attempt: {counts:?}");
    let delivered = |event: &Event| match event {
        Event::BroadcastDelivered(page) => (page.delivered, page.failed),
        _ => (0, 0),
    };
    let sum = counts.iter().map(delivered).fold((0, 0), |sum, page| (sum.0 + page.0, sum.1 + page.1));
    assert_eq!(sum, (2, 0), "{counts:?}");
    stage.finish().await;
}

/// How the path of a push spells a connection, up to its `=`.
fn in_path(client: &Client) -> &str {
    client.id.trim_end_matches('=')
}

/// Delivered and failed of each notice that pushed the message.
async fn counts(stage: &Stage, accepted: &Value) -> Vec<(u32, u32)> {
    stage.idle().await;
    let counts = outcomes(stage, accepted).await.into_iter().map(|event| match event {
        Event::BroadcastDelivered(page) => (page.delivered, page.failed),
        other => panic!("{other:?}"),
    });
    let mut counts: Vec<_> = counts.collect();
    counts.sort_unstable();
    counts
}

#[tokio::test]
async fn a_listener_that_does_not_read_is_waited_for_once_and_then_gets_one_try_of_each_broadcast() {
    let timing = Timing { push_budget: Duration::from_millis(100), ..quick() };
    let stage = Stage::local(timing).await;
    let mut clients = stage.clients(5).await;
    let mut deaf = clients.pop().unwrap();
    let refused =
        stage.faults.inject("PostToConnection", in_path(&deaf), Effect::Refuse(429, "LimitExceededException"), ALWAYS);
    let first = clients[0].ask(broadcast("first")).await;
    assert_eq!(counts(&stage, &first).await, [(0, 0), (0, 0), (0, 0), (0, 1), (4, 0)], "waited for, five times over");
    let before = refused.times();
    assert!(before > 5, "{before}");
    let second = clients[0].ask(broadcast("second")).await;
    assert_eq!(counts(&stage, &second).await, [(4, 1)]);
    assert_eq!(refused.times(), before + 1);
    // A message to it alone is worth the wait.
    let accepted = clients[0].ask(chat(&deaf, "are you there?")).await;
    let receipt = clients[0].expect("receipt").await;
    assert_eq!((&receipt["message_id"], &receipt["reason"]), (&accepted["id"], &json!("unreachable")));
    assert!(refused.times() > before + 1 + 5);
    // It reads again: the one try is enough, and then it is one like all others.
    stage.faults.clear();
    let third = clients[0].ask(broadcast("third")).await;
    assert_eq!(counts(&stage, &third).await, [(5, 0)]);
    let refused =
        stage.faults.inject("PostToConnection", in_path(&deaf), Effect::Refuse(429, "LimitExceededException"), 1);
    let fourth = clients[0].ask(broadcast("fourth")).await;
    assert_eq!(counts(&stage, &fourth).await, [(5, 0)]);
    assert_eq!(refused.times(), 1);
    for client in clients.iter_mut().chain([&mut deaf]) {
        client.expect_id("broadcast", &third["id"]).await;
        client.expect_id("broadcast", &fourth["id"]).await;
    }
    stage.finish().await;
}

#[tokio::test]
async fn a_page_that_runs_again_accounts_for_a_listener_found_not_to_read_meanwhile() {
    let timing = Timing { push_budget: Duration::from_millis(100), ..quick() };
    let stage = Stage::local(timing).await;
    let mut clients = stage.clients(5).await;
    let limited = Effect::Refuse(429, "LimitExceededException");
    stage.faults.inject("PostToConnection", in_path(&clients[4]), limited, ALWAYS);
    // As often as the SDK tries, as often as `Bus` does: the invocation fails when it has counted the page.
    let unpublished =
        stage.faults.inject("PutEvents", r#""DetailType":"deliver""#, Effect::Refuse(500, "InternalFailure"), 9);
    let accepted = clients[0].ask(broadcast("twice")).await;
    assert_eq!(counts(&stage, &accepted).await, [(0, 0), (0, 0), (0, 0), (0, 1), (4, 0)]);
    assert_eq!(unpublished.times(), 9);
    stage.finish().await;
}

#[tokio::test]
async fn nobody_is_taken_for_a_listener_that_does_not_read_while_others_fail_too_or_it_is_not_known_yet() {
    let limited = Effect::Refuse(429, "LimitExceededException");
    let timing = Timing { push_budget: Duration::from_millis(100), ..quick() };
    for (effect, strikes_all) in [(limited.clone(), true), (Effect::Refuse(410, "GoneException"), false)] {
        let stage = Stage::local(timing.clone()).await;
        let mut clients = stage.clients(5).await;
        let listener = in_path(&clients[4]).to_owned();
        let whom = if strikes_all { "storm" } else { &listener };
        let struck = stage.faults.inject("PostToConnection", whom, effect.clone(), ALWAYS);
        let storm = clients[0].ask(broadcast("storm")).await;
        let of_the_storm = counts(&stage, &storm).await;
        assert!(
            struck.times() > 5 && of_the_storm.iter().any(|(_, failed)| *failed > 0),
            "{effect:?}: {of_the_storm:?}"
        );
        stage.faults.clear();
        let struck = stage.faults.inject("PostToConnection", &listener, limited.clone(), 2);
        let calm = clients[0].ask(broadcast("calm")).await;
        clients[4].expect_id("broadcast", &calm["id"]).await;
        assert_eq!((struck.times(), counts(&stage, &calm).await), (2, vec![(5, 0)]), "{effect:?}");
        stage.finish().await;
    }
}

#[tokio::test]
async fn a_push_that_never_succeeds_is_given_up_and_the_sender_is_told() {
    let timing = Timing { push_budget: Duration::from_millis(50), ..quick() };
    let stage = Stage::local(timing).await;
    let [mut alice, bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let failed = stage.faults.inject("PostToConnection", "never", Effect::Refuse(500, "InternalServerError"), ALWAYS);
    let accepted = alice.ask(chat(&bob, "never")).await;
    let receipt = alice.expect("receipt").await;
    assert_eq!((&receipt["status"], &receipt["reason"]), (&json!("undeliverable"), &json!("unreachable")));
    assert!(failed.times() >= 5);
    assert!(
        matches!(&outcomes(&stage, &accepted).await[..], [Event::MessageUndeliverable(m)] if m.reason == Reason::Unreachable)
    );
    stage.finish().await;
}

#[tokio::test]
async fn a_recipient_that_vanished_in_between_is_undeliverable_but_never_lost_while_it_lives() {
    let timing = Timing { early_gone: Duration::ZERO, ..quick() };
    let stage = Stage::local(timing).await;
    let [mut alice, mut bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let late = stage.faults.inject("PostToConnection", "too late", Effect::Refuse(410, "GoneException"), 1);
    let accepted = alice.ask(chat(&bob, "too late")).await;
    let receipt = alice.expect("receipt").await;
    assert_eq!((&receipt["status"], &receipt["reason"]), (&json!("undeliverable"), &json!("gone")));
    assert_eq!(late.times(), 1);
    assert!(
        matches!(&outcomes(&stage, &accepted).await[..], [Event::MessageUndeliverable(m)] if m.reason == Reason::Gone)
    );
    stage.idle().await;
    assert_eq!(life(&stage, &bob.id).await, ["ConnectionOpened"], "the gateway was asked, and it is there");
    let accepted = alice.ask(chat(&bob, "there you are")).await;
    bob.expect_id("chat", &accepted["id"]).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_message_to_someone_who_has_just_left_is_undeliverable() {
    let stage = Stage::local(quick()).await;
    let [mut alice, bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let id = bob.id.clone();
    // The notice waits until the recipient has left.
    let waiting = stage.faults.inject("PutEvents", "on its way", Effect::Refuse(500, "InternalFailure"), ALWAYS);
    let accepted = alice.ask(chat(&bob, "on its way")).await;
    waiting.reached(1).await;
    bob.close(None).await;
    while !life(&stage, &id).await.contains(&"ConnectionClosed".to_owned()) {}
    stage.faults.clear();
    let receipt = alice.expect("receipt").await;
    assert_eq!((&receipt["status"], &receipt["reason"]), (&json!("undeliverable"), &json!("ended")));
    assert_eq!(outcomes(&stage, &accepted).await.len(), 1);
    stage.finish().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_is_parked_and_the_ones_behind_it_go_on() {
    let stage = Stage::local(quick()).await;
    let mut alice = stage.client().await;
    let tables = aws_sdk_dynamodb::Client::new(stage.runtime().sdk());
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let damaged = [
        ("stream", "conversation#lobby"),
        ("id", "damaged"),
        ("type", "MessageBroadcast"),
        ("day", "d"),
        ("logged", "l"),
    ];
    let item = damaged.map(|(name, value)| (name.to_owned(), text(value)));
    tables.put_item().table_name(local::EVENTS).set_item(Some(HashMap::from(item))).send().await.unwrap();
    let accepted = alice.ask(broadcast("goes on")).await;
    alice.expect_id("broadcast", &accepted["id"]).await;
    let known = lobby_item(&tables, &accepted).await;
    let mut unknown = known.clone();
    unknown.insert("id".into(), text("01a20277-f6cb-7fc6-b565-247226593c49"));
    unknown.insert("type".into(), text("MessageEdited"));
    tables.put_item().table_name(local::EVENTS).set_item(Some(unknown)).send().await.unwrap();
    let accepted = alice.ask(broadcast("and on")).await;
    alice.expect_id("broadcast", &accepted["id"]).await;
    let mut parked: Vec<_> = parked(&stage)
        .await
        .into_iter()
        .map(|row| (row["id"].as_s().unwrap().clone(), row["why"].as_s().unwrap().clone()))
        .collect();
    parked.sort();
    assert_eq!(parked.len(), 2, "{parked:?}");
    assert!(parked[0].1.contains("unknown type MessageEdited version 1"), "{parked:?}");
    assert_eq!(parked[1].0, "damaged");
    stage.finish().await;
}

async fn lobby_item(tables: &aws_sdk_dynamodb::Client, accepted: &Value) -> HashMap<String, AttributeValue> {
    let get = tables.get_item().table_name(local::EVENTS).key("stream", AttributeValue::S("conversation#lobby".into()));
    let id = accepted["id"].as_str().unwrap();
    get.key("id", AttributeValue::S(id.into())).send().await.unwrap().item.unwrap()
}

#[tokio::test]
async fn a_view_that_cannot_be_written_for_a_while_is_right_in_the_end() {
    let stage = Stage::local(quick()).await;
    let refused = stage.faults.inject("UpdateItem", "", Effect::Refuse(500, "InternalServerError"), 12);
    let alice = stage.client().await;
    assert_eq!(refused.times(), 12, "the welcome waited for the row");
    stage.idle().await;
    let row = stage.runtime().view().get(&alice.id.parse().unwrap()).await.unwrap().unwrap();
    assert!(row.live.is_some() && row.row.is_live());
    stage.finish().await;
}
