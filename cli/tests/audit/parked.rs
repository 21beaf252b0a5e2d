//! `webchat parked`: what the projector set aside, and the way back.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use events::{RecordedEvent, time, to_item};
use local::{EVENTS, Faults, Runtime};
use serde_json::json;

use crate::{
    command::Place,
    world::{broadcast, corrupt, folder, hold, id, opened, put, unknown},
};

/// Puts the right item in the place of one that could not be read: the cause is fixed.
async fn mend(runtime: &Runtime, event: &RecordedEvent) {
    put(runtime.sdk(), to_item(event).unwrap()).await;
    runtime.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_record_is_listed_shown_and_taken_up_again_once_it_can_be_read() {
    let data = folder([]).await;
    let runtime = hold(data.path(), &Faults::default()).await;
    let place = Place::folder(data.path());
    let begin = time::now() - TimeDelta::minutes(30);
    let (dave, said) = (opened(&id("dave"), begin), broadcast(&id("dave"), "anybody?", begin));
    let praised = RecordedEvent { stream: "conversation#elsewhere".to_owned().into(), ..said.clone() };
    for item in [corrupt(&dave), corrupt(&said), unknown(&praised)] {
        put(runtime.sdk(), item).await;
    }
    runtime.idle().await;
    let parked = place.rows(&["parked", "list"]).await;
    assert_eq!(parked.len(), 3, "{parked:?}");
    assert!(parked.iter().all(|record| record["parked_at"].as_str().unwrap().ends_with('Z')));
    let one = parked.iter().find(|record| record["stream"] == "connection#dave").unwrap();
    assert!(one["why"].as_str().unwrap().contains("attribute `data` is missing"), "{one}");
    let (stream, id) = ("connection#dave", dave.id.to_string());
    let shown = place.rows(&["parked", "show", "--stream", stream, "--id", &id]).await;
    assert_eq!(shown[0]["event"]["type"], json!({"S": "ConnectionOpened"}), "its event as it is stored: {shown:?}");

    let stuck = place.run(&["parked", "retry", "--format", "jsonl"]).await.expect(1);
    assert!(stuck.rows().iter().all(|row| row["outcome"] == "still parked"), "{stuck:?}");
    assert!(stuck.out.contains("ConnectionPraised version 1 is unknown to this program as well"), "{stuck:?}");
    assert_eq!(place.rows(&["parked", "list"]).await.len(), 3);

    mend(&runtime, &dave).await;
    mend(&runtime, &said).await;
    assert_eq!(place.rows(&["connections"]).await.len(), 0, "nobody has projected it");
    let one = place.rows(&["parked", "retry", "--stream", stream, "--id", &id]).await;
    assert_eq!((one.len(), &one[0]["outcome"]), (1, &json!("done")));
    assert_eq!(place.rows(&["connections", "--live"]).await[0]["connection"], "dave");
    let rest = place.run(&["parked", "retry", "--format", "jsonl"]).await.expect(1).rows();
    let message = rest.iter().find(|row| row["outcome"] == "done").unwrap();
    let sending = format!("it was never sent: webchat redeliver --message {}", said.id);
    assert_eq!(message["why"], json!(sending), "a retry sends nothing, and says what would");
    assert_eq!(place.rows(&["parked", "list"]).await.len(), 1);
    place.run(&["redeliver", "--message", &said.id.to_string(), "--yes"]).await.expect(0);
    runtime.idle().await;
    let told = place.run(&["history", "--message", &said.id.to_string(), "--format", "jsonl"]).await;
    let deliveries = told.expect(2).rows();
    assert_eq!(deliveries[0]["deliveries"].as_array().unwrap().len(), 1);
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_drop_a_record_asks_and_is_recorded() {
    let data = folder([]).await;
    let runtime = hold(data.path(), &Faults::default()).await;
    let place = Place::folder(data.path());
    let said = broadcast(&id("dave"), "lost", time::now() - TimeDelta::minutes(30));
    put(runtime.sdk(), corrupt(&said)).await;
    runtime.idle().await;
    let id = said.id.to_string();
    let one = ["--stream", "conversation#lobby", "--id", id.as_str()];
    let asked = place.run(&[&["parked", "drop"], &one[..]].concat()).await.expect(1);
    assert!(asked.err.contains("Say --yes"), "{asked:?}");
    assert_eq!(place.rows(&["parked", "list"]).await.len(), 1);
    let dropped = place.rows(&[&["parked", "drop", "--yes"], &one[..]].concat()).await;
    assert!(dropped[0]["dropped_at"].is_string() && dropped[0]["dropped_by"].is_string(), "{dropped:?}");
    assert_eq!(place.rows(&["parked", "list"]).await.len(), 0);
    assert_eq!(place.rows(&["parked", "list", "--all"]).await, dropped);
    assert_eq!(place.rows(&["parked", "retry"]).await.len(), 0, "what was given up is not taken up with the rest");
    let unknown = place.run(&["parked", "show", "--stream", "x", "--id", "y"]).await.one_line(1);
    assert!(unknown.contains("nothing of stream x and id y is parked"), "{unknown}");
    place.run(&["parked", "drop", "--stream", "x", "--id", "y", "--yes"]).await.one_line(1);
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_damaged_item_says_can_do_nothing_to_a_terminal() {
    let data = folder([]).await;
    let runtime = hold(data.path(), &Faults::default()).await;
    let client = aws_sdk_dynamodb::Client::new(runtime.sdk());
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let put =
        client.put_item().table_name(EVENTS).item("stream", text("\u{1b}[2J")).item("id", text("\u{1b}]0;x\u{7}"));
    put.item("day", text("2026-10-20#0")).item("logged", text("2026-10-20T12\u{1b}[2J")).send().await.unwrap();
    runtime.idle().await;
    let place = Place::folder(data.path());
    for args in [
        &["parked", "list"][..],
        &["parked", "retry"],
        &["parked", "drop", "--stream", "\u{1b}[2J", "--id", "\u{1b}]0;x\u{7}", "--yes"],
        &["history", "--since", "2026-10-20", "--until", "2026-10-21"],
        &["verify"],
        &["replay"],
    ] {
        let said = place.run(args).await;
        let all = said.out.clone() + &said.err;
        assert!(all.contains("[2J") && all.chars().all(|c| c == '\n' || !c.is_control()), "{args:?}: {said:?}");
    }
    runtime.stop().await;
}
