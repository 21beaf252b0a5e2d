//! `webchat undelivered` and `redeliver`: what got stuck, and the one command that sends.

use chrono::TimeDelta;
use events::{conversation, time};
use local::Faults;
use serde_json::json;
use tests::Client;

use crate::{
    command::Place,
    world::{World, broadcast, chat, corrupt, folder, hold, id, load, opened, put},
};

#[tokio::test(flavor = "multi_thread")]
async fn undelivered_lists_messages_without_an_outcome_that_should_have_one() {
    let world = World::new();
    let now = time::now();
    // Too young to be missed; and one whose outcome stands before it in the log, by a clock that was behind.
    let young = chat(&world.alice, &world.carol, "just now", now - TimeDelta::minutes(4));
    let data = folder(world.events.iter().cloned().chain([young])).await;
    let place = Place::folder(data.path());
    let rows = place.rows(&["undelivered"]).await;
    let texts: Vec<&str> = rows.iter().map(|row| row["data"]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["lost in space", "Nobody hears me"]);
    assert_eq!(place.rows(&["undelivered", "--since", &world.at(7)]).await.len(), 1);
    let said = place.run(&["undelivered"]).await.expect(0);
    assert!(said.err.contains("2 messages without an outcome"), "{said:?}");
    assert!(said.out.contains("everyone"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_unless_somebody_says_yes_and_somebody_delivers() {
    let world = World::new();
    let data = world.folder().await;
    let place = Place::folder(data.path());
    let alone = place.run(&["redeliver", "--since", "-3h", "--yes"]).await.one_line(1);
    assert!(alone.contains("start `webchat local` on this folder first"), "{alone}");

    let faults = Faults::default();
    let runtime = hold(data.path(), &faults).await;
    let published = faults.inject("PutEvents", "", local::Effect::Refuse(500, "InternalFailure"), 1000);
    let asked = place.run(&["redeliver", "--since", "-3h"]).await.expect(1);
    assert!(asked.out.contains("lost in space") && asked.err.contains("--yes"), "it lists them first: {asked:?}");
    let nothing = place.run(&["redeliver", "--since", "-1m", "--yes"]).await.expect(0);
    assert!(nothing.err.contains("nothing to redeliver"), "{nothing:?}");
    let unknown =
        place.run(&["redeliver", "--message", "018dc034-cec6-70b8-b8ff-234df63594eb", "--yes"]).await.one_line(1);
    assert!(unknown.contains("there is no message"), "{unknown}");
    assert_eq!(published.times(), 0);
    let failed = place.run(&["redeliver", "--since", "-3h", "--yes"]).await.expect(1);
    assert!(failed.err.contains("0 of 2 notices published"), "{failed:?}");
    faults.clear();
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivered_messages_reach_whom_they_were_meant_for_and_nobody_who_came_later() {
    let data = folder([]).await;
    let runtime = hold(data.path(), &Faults::default()).await;
    let url = runtime.url();
    let (mut alice, mut bob) = (Client::welcomed(&url).await, Client::welcomed(&url).await);
    runtime.idle().await;
    let said = alice.ask(json!({"action": "broadcast", "message": "once more"})).await;
    let sent = alice.ask(json!({"action": "chat", "connection": bob.id, "message": "for you"})).await;
    for client in [&mut alice, &mut bob] {
        client.expect_id("broadcast", &said["id"]).await;
    }
    bob.expect_id("chat", &sent["id"]).await;
    let mut carol = Client::welcomed(&url).await;
    runtime.idle().await;

    let place = Place::folder(data.path());
    for message in [&said["id"], &sent["id"]] {
        let redelivered = place.run(&["redeliver", "--message", message.as_str().unwrap(), "--yes"]).await.expect(0);
        assert!(redelivered.err.contains("1 of 1 notices published"), "{redelivered:?}");
    }
    for client in [&mut alice, &mut bob] {
        client.expect_id("broadcast", &said["id"]).await;
    }
    bob.expect_id("chat", &sent["id"]).await;
    runtime.idle().await;
    let heard = carol.everything_so_far().await;
    assert!(heard.iter().all(|frame| frame["id"] != said["id"] && frame["id"] != sent["id"]), "{heard:?}");
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_redelivered_has_an_outcome_and_is_undelivered_no_more() {
    let world = World::new();
    let data = world.folder().await;
    let runtime = hold(data.path(), &Faults::default()).await;
    let place = Place::folder(data.path());
    let redelivered = place.run(&["redeliver", "--since", "-3h", "--yes"]).await.expect(0);
    assert!(redelivered.err.contains("2 of 2 notices published"), "{redelivered:?}");
    runtime.idle().await;
    assert_eq!(place.rows(&["undelivered"]).await.len(), 0);
    let told = place.rows(&["history", "--message", &world.lost.to_string()]).await;
    assert_eq!(told[0]["deliveries"][0]["type"], "MessageUndeliverable", "carol had left: {told:?}");
    let lobby = place.rows(&["history", "--conversation", "lobby", "--with-deliveries"]).await;
    assert_eq!(lobby[1]["deliveries"][0]["data"]["delivered"], 0);
    assert_eq!(lobby[0]["id"], json!(world.hello));
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_cannot_be_read_are_counted_and_outcomes_that_cannot_are_no_reason_to_send_again() {
    let world = World::new();
    let data = world.folder().await;
    let log = world.begin + TimeDelta::minutes(10);
    load(data.path(), [opened(&id("dave"), log), broadcast(&id("dave"), "heard by some", log)]).await;
    {
        let archive = local::Archive::open(data.path()).await.unwrap();
        put(archive.sdk(), corrupt(&broadcast(&world.bob, "torn", log))).await;
        let outcome = world.events.iter().find(|event| event.stream == events::delivery::stream(world.yo)).unwrap();
        put(archive.sdk(), corrupt(outcome)).await;
    }
    let said = Place::folder(data.path()).run(&["undelivered", "--format", "jsonl"]).await.expect(2);
    let texts: Vec<String> = said.rows().iter().map(|row| row["data"]["text"].to_string()).collect();
    assert_eq!(texts, ["\"lost in space\"", "\"Nobody hears me\"", "\"heard by some\""], "{}", said.err);
    assert!(said.err.contains("2 that cannot be decoded"), "{}", said.err);
    assert_eq!(said.rows()[2]["stream"], conversation::lobby().as_str());
}
