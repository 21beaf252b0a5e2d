//! Clients that behave badly, or vanish: the runtime stays up, its memory is bounded, and the others go on talking.
//!
//! Small here; `make soak` does the same by the thousand, against a process of its own. Nothing is timed but by waiting for it.
#![allow(clippy::unwrap_used, clippy::panic)] // a panic is how a test fails

use std::time::Duration;

use events::Timing;
use local::{Options, Runtime};
use serde_json::json;
use tests::{Client, Stage, load::hostile, quick};

/// A message that fills the queue of a client soon.
fn large() -> String {
    "z".repeat(16 * 1024)
}

/// Someone else's message arrives.
async fn others_can_talk(stage: &Stage) {
    let (mut alice, mut bob) = (stage.client().await, stage.client().await);
    let accepted = alice.ask(json!({"action": "chat", "connection": bob.id, "message": "still there?"})).await;
    bob.expect_id("chat", &accepted["id"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_dropped_and_the_others_go_on_talking() {
    let timing = Timing { unread_limit: Duration::from_millis(500), ..quick() };
    let stage = Stage::local(timing).await;
    let (_deaf, id) = hostile::deaf(stage.url()).await.unwrap();
    let mut talker = stage.client().await;
    let mut said = 0;
    while talker.list(400).await.contains(&id) {
        let answer = talker.ask(json!({"action": "chat", "connection": id, "message": large()})).await;
        assert!(answer["type"] == "accepted" || answer["code"] == "unknown_connection", "{answer}");
        said += 1;
        assert!(said < 10_000, "it was kept, with 160 MB for it");
    }
    others_can_talk(&stage).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_never_finished_is_dropped() {
    let stage = Stage::local(Timing { head_limit: Duration::from_secs(2), ..quick() }).await;
    let silent = hostile::silent(stage.url(), 50).await.unwrap();
    let unfinished = hostile::unfinished(stage.url(), 50).await.unwrap();
    others_can_talk(&stage).await;
    hostile::all_ended(silent).await.unwrap();
    hostile::all_ended(unfinished).await.unwrap();
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_vanish_are_ended_when_they_have_been_idle_for_too_long() {
    let stage = Stage::local(Timing { idle_limit: Duration::from_secs(5), ..quick() }).await;
    let half_open = hostile::half_open(stage.url(), 100).await.unwrap();
    others_can_talk(&stage).await;
    hostile::all_ended(half_open).await.unwrap();
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_leaves_nothing_behind() {
    let stage = Stage::local(quick()).await;
    let let_in = hostile::churn(stage.url(), 300, 30).await.unwrap();
    assert!(let_in > 0, "nobody was let in");
    others_can_talk(&stage).await;
    let mut last = stage.client().await;
    stage.idle().await;
    assert_eq!(last.list(400).await, [last.id.clone()]);
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_as_fast_as_it_can_is_answered_and_so_are_the_others() {
    let stage = Stage::local(quick()).await;
    let url = stage.url().to_owned();
    let flood = tokio::spawn(async move { hostile::flood(&url, r#"{"action":"list","limit":1}"#, 1000).await });
    others_can_talk(&stage).await;
    assert!(!flood.is_finished(), "the others had to wait for all of it");
    assert_eq!(flood.await.unwrap().unwrap(), 1000);
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused() {
    let stage = Stage::local(quick()).await;
    let outcomes = hostile::oversized(stage.url()).await.unwrap();
    for (what, outcome) in outcomes {
        let expected: &[&str] = match what {
            // Its connection may end before it has read the answer, as it is still sending.
            "a URL of 1 MB" => &["414", "431", "none"],
            "a header of 1 MB" | "20,000 headers" | "a head without end" => &["431", "none"],
            "a body of 1 MB" => &["426", "none"],
            "a message of 17 KiB" => &["error"],
            _ => &["1009"],
        };
        assert!(expected.contains(&outcome.as_str()), "{what}: {outcome}");
    }
    others_can_talk(&stage).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_room_left_a_client_is_told_and_comes_in_when_another_leaves() {
    let options = Options { max_connections: Some(2), timing: quick(), ..Options::default() };
    let runtime = Runtime::start(options).await.unwrap();
    let (mut first, second) = (Client::welcomed(&runtime.url()).await, Client::welcomed(&runtime.url()).await);
    let Err(refused) = Client::open(&runtime.url()).await else { panic!("a third one was let in") };
    assert!(refused.to_string().contains("503"), "{refused}");
    assert_eq!(first.ask(json!({"action": "ping"})).await["type"], "pong");
    second.close(None).await;
    // The place is free a moment after the end.
    let third = loop {
        match Client::open(&runtime.url()).await {
            Ok(third) => break third,
            Err(refused) => assert!(refused.to_string().contains("503"), "{refused}"),
        }
    };
    third.close(None).await;
    first.close(None).await;
    runtime.stop().await;
}
