//! What people and programs that chat can rely on, over real WebSockets, wherever the chat runs.
//!
//! `WEBCHAT_URL=wss://… cargo test -p tests --test scenarios` runs them on a deployment. They tolerate strangers: other
//! people may be connected and talk meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Client, Stage};
use tokio_tungstenite::tungstenite::{
    Bytes, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

const KIB_16: usize = 16 * 1024;

fn broadcast(text: &str) -> Value {
    json!({"action": "broadcast", "message": text})
}

fn chat(to: &Client, text: &str) -> Value {
    json!({"action": "chat", "connection": to.id, "message": text})
}

#[tokio::test]
async fn a_new_connection_is_welcomed_unasked_and_listed_by_then() {
    let stage = Stage::open().await;
    let mut alice = Client::open(stage.url()).await.unwrap();
    let welcome = alice.expect("welcome").await;
    let id = welcome["connection"].as_str().unwrap().to_owned();
    assert_eq!(welcome["message"], format!("Welcome! - connected on {id}"));
    assert!(welcome["id"].is_string() && welcome["at"].is_string());
    assert!(alice.list(400).await.contains(&id), "the welcome came before the connection was listed");
    stage.finish().await;
}

#[tokio::test]
async fn a_broadcast_reaches_everyone_who_is_there_and_its_sender() {
    let stage = Stage::open().await;
    let mut clients = stage.clients(3).await;
    let accepted = clients[0].ask(broadcast("Anybody home?")).await;
    assert_eq!(accepted["type"], "accepted");
    let from = clients[0].id.clone();
    for client in &mut clients {
        let heard = client.expect_id("broadcast", &accepted["id"]).await;
        assert_eq!(heard["message"], "Anybody home?");
        assert_eq!(heard["from"], from.as_str());
        assert_eq!(heard["at"], accepted["at"]);
    }
    let mut late = stage.client().await;
    let heard = late.everything_so_far().await;
    assert!(!heard.iter().any(|frame| frame["id"] == accepted["id"]), "who comes later does not hear it");
    stage.finish().await;
}

#[tokio::test]
async fn a_list_is_complete_and_comes_in_pages() {
    let stage = Stage::open().await;
    let mut clients = stage.clients(12).await;
    let ids: BTreeSet<String> = clients.iter().map(|client| client.id.clone()).collect();
    let listed = clients[0].list(5).await;
    let once: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "a connection is listed once");
    assert!(once.is_superset(&ids), "missing: {:?}", ids.difference(&once));
    stage.finish().await;
}

#[tokio::test]
async fn a_chat_reaches_its_recipient_alone_and_a_receipt_tells_the_sender() {
    let stage = Stage::open().await;
    let [mut alice, mut bob, mut carol]: [Client; 3] = stage.clients(3).await.try_into().ok().unwrap();
    let mut frame = chat(&bob, "Yo!");
    frame["receipt"] = json!(true);
    let accepted = alice.ask(frame).await;
    let heard = bob.expect_id("chat", &accepted["id"]).await;
    assert_eq!((&heard["message"], &heard["from"], &heard["to"]), (&json!("Yo!"), &json!(alice.id), &json!(bob.id)));
    let receipt = alice.expect_that("a receipt", |f| f["type"] == "receipt" && f["message_id"] == accepted["id"]).await;
    assert_eq!(receipt["status"], "delivered");
    for other in [&mut alice, &mut carol] {
        let heard = other.everything_so_far().await;
        assert!(!heard.iter().any(|frame| frame["type"] == "chat"), "heard by someone it was not for: {heard:?}");
    }
    stage.finish().await;
}

#[tokio::test]
async fn without_a_wish_for_it_there_is_no_receipt() {
    let stage = Stage::open().await;
    let [mut alice, mut bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let accepted = alice.ask(chat(&bob, "Yo!")).await;
    bob.expect_id("chat", &accepted["id"]).await;
    let heard = alice.everything_so_far().await;
    assert!(!heard.iter().any(|frame| frame["type"] == "receipt"), "{heard:?}");
    stage.finish().await;
}

#[tokio::test]
async fn a_chat_to_nobody_or_to_someone_who_left_is_an_error_that_names_them() {
    let stage = Stage::open().await;
    let [mut alice, bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let left = bob.id.clone();
    bob.close(None).await;
    alice.list_until(&left, false).await;
    for nobody in [left.as_str(), "AAAAAAAAAAAAAAA=", "nobody at all", "a#b"] {
        let error = alice.ask(json!({"action": "chat", "connection": nobody, "message": "Yo!"})).await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("unknown_connection")), "{error}");
        assert_eq!(error["field"], "connection");
        let names = error["message"].as_str().unwrap().contains(nobody);
        assert!(names || nobody.contains([' ', '#']), "{error} does not name {nobody}");
    }
    stage.finish().await;
}

#[tokio::test]
async fn whoever_leaves_is_no_longer_listed_however_they_left() {
    let stage = Stage::open().await;
    let mut alice = stage.client().await;
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
    let [with_code, without_code, fin, rst]: [Client; 4] = stage.clients(4).await.try_into().ok().unwrap();
    let ids = [&with_code, &without_code, &fin, &rst].map(|client| client.id.clone());
    for id in &ids {
        alice.list_until(id, true).await;
    }
    with_code.close(Some(goodbye)).await;
    without_code.close(None).await;
    fin.vanish(false);
    rst.vanish(true);
    for id in &ids {
        alice.list_until(id, false).await;
    }
    stage.finish().await;
}

#[tokio::test]
async fn a_ping_is_answered_and_a_ref_comes_back() {
    let stage = Stage::open().await;
    let mut alice = stage.client().await;
    alice.send(json!({"action": "ping", "ref": "a7"})).await;
    let pong = alice.expect("pong").await;
    assert_eq!(pong, json!({"type": "pong", "connection": alice.id, "ref": "a7"}));
    stage.finish().await;
}

#[tokio::test]
async fn a_mistake_is_an_error_that_names_the_field_and_nothing_is_said_to_anyone() {
    let stage = Stage::open().await;
    let [mut alice, mut bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let big = "x".repeat(KIB_16 + 1);
    let mistakes: Vec<(String, &str, Option<&str>)> = vec![
        ("hello".into(), "invalid_json", None),
        (r#"{"action":"#.into(), "invalid_json", None),
        ("[1,2]".into(), "invalid_request", Some("action")),
        ("42".into(), "invalid_request", Some("action")),
        ("{}".into(), "invalid_request", Some("action")),
        (r#"{"action":null}"#.into(), "invalid_request", Some("action")),
        (r#"{"action":["list"]}"#.into(), "invalid_request", Some("action")),
        (r#"{"action":"dance"}"#.into(), "unknown_action", Some("action")),
        (r#"{"action":"broadcast"}"#.into(), "invalid_request", Some("message")),
        (r#"{"action":"broadcast","message":""}"#.into(), "invalid_request", Some("message")),
        (r#"{"action":"broadcast","message":null}"#.into(), "invalid_request", Some("message")),
        (r#"{"action":"broadcast","message":42}"#.into(), "invalid_request", Some("message")),
        (r#"{"action":"broadcast","message":"\ud800"}"#.into(), "invalid_request", Some("message")),
        (broadcast(&big).to_string(), "message_too_large", Some("message")),
        (r#"{"action":"broadcast","message":"x","ref":1}"#.into(), "invalid_request", Some("ref")),
        (
            json!({"action": "broadcast", "message": "x", "ref": "r".repeat(65)}).to_string(),
            "invalid_request",
            Some("ref"),
        ),
        (r#"{"action":"chat","message":"x"}"#.into(), "invalid_request", Some("connection")),
        (r#"{"action":"chat","connection":7,"message":"x"}"#.into(), "invalid_request", Some("connection")),
        (json!({"action": "chat", "connection": bob.id}).to_string(), "invalid_request", Some("message")),
        (
            json!({"action": "chat", "connection": bob.id, "message": "x", "receipt": "yes"}).to_string(),
            "invalid_request",
            Some("receipt"),
        ),
        (
            json!({"action": "chat", "connection": bob.id, "message": big}).to_string(),
            "message_too_large",
            Some("message"),
        ),
        (r#"{"action":"list","limit":0}"#.into(), "invalid_request", Some("limit")),
        (r#"{"action":"list","limit":401}"#.into(), "invalid_request", Some("limit")),
        (r#"{"action":"list","limit":"10"}"#.into(), "invalid_request", Some("limit")),
        (r#"{"action":"list","cursor":"x"}"#.into(), "invalid_request", Some("cursor")),
        (r#"{"action":"list","cursor":{}}"#.into(), "invalid_request", Some("cursor")),
    ];
    refused(&mut alice, mistakes).await;
    let heard = bob.everything_so_far().await;
    assert!(!heard.iter().any(|frame| frame["from"] == alice.id.as_str()), "{heard:?}");
    assert_eq!(alice.ask(broadcast("still here")).await["type"], "accepted", "the connection is still usable");
    stage.finish().await;
}

/// Sends each frame and expects its error: code and field.
async fn refused(client: &mut Client, mistakes: Vec<(String, &str, Option<&str>)>) {
    for (frame, code, field) in mistakes {
        let shown: String = frame.chars().take(80).collect();
        client.send_text(&frame).await;
        let error = client.expect("error").await;
        assert_eq!(error["code"], code, "{shown}: {error}");
        assert_eq!(error["field"].as_str(), field, "{shown}: {error}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{shown}: {error}");
    }
}

#[tokio::test]
async fn a_frame_made_to_confuse_the_gateway_is_a_mistake_like_any_other() {
    let stage = Stage::open().await;
    let [mut alice, mut bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let deep = format!(r#"{{"action":"broadcast","message":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let mistakes = vec![
        ("[".repeat(20_000), "invalid_json", None),
        (deep, "invalid_request", Some("message")),
        (r#"{"action":"$connect"}"#.into(), "unknown_action", Some("action")),
        (r#"{"action":"$disconnect"}"#.into(), "unknown_action", Some("action")),
        (r#"{"action":"$default"}"#.into(), "unknown_action", Some("action")),
    ];
    refused(&mut alice, mistakes).await;
    let heard = bob.everything_so_far().await;
    assert!(!heard.iter().any(|frame| frame["from"] == alice.id.as_str()), "{heard:?}");
    assert_eq!(alice.ask(broadcast("still here")).await["type"], "accepted", "the connection is still usable");
    stage.finish().await;
}

#[tokio::test]
async fn a_binary_frame_or_one_message_too_long_is_closed_by_the_gateway() {
    let stage = Stage::open().await;
    let mut alice = stage.client().await;
    alice.send_raw(Message::Binary(Bytes::from_static(b"\x00\x01"))).await.unwrap();
    assert_eq!(alice.ended().await, Some(1003));
    let mut bob = stage.client().await;
    let body = json!({"action": "broadcast", "message": "x".repeat(128 * 1024)}).to_string();
    bob.send_text(&body[..128 * 1024 + 1]).await;
    assert_eq!(bob.ended().await, Some(1009));
    let mut carol = stage.client().await;
    carol.list_until(&alice.id, false).await;
    carol.list_until(&bob.id, false).await;
    stage.finish().await;
}

#[tokio::test]
async fn every_text_arrives_byte_for_byte() {
    let stage = Stage::open().await;
    let [mut alice, mut bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let texts = [
        "🙂👩‍👩‍👧‍👦 e\u{301}".to_owned(),
        "שלום \u{202e}abc\u{202c} مرحبا".to_owned(),
        "a\u{0}b\u{7f}\u{1b}[31m\u{2028}\r\n\t\"\\/".to_owned(),
        "<img src=x onerror=alert(1)>".to_owned(),
        "x".repeat(KIB_16),
        "🙂".repeat(KIB_16 / 4),
        "\u{0}".repeat(KIB_16),
        " ".to_owned(),
    ];
    for text in texts {
        let accepted = alice.ask(broadcast(&text)).await;
        assert_eq!(accepted["type"], "accepted", "{accepted}");
        assert_eq!(bob.expect_id("broadcast", &accepted["id"]).await["message"], text.as_str());
        let accepted = bob.ask(chat(&alice, &text)).await;
        assert_eq!(alice.expect_id("chat", &accepted["id"]).await["message"], text.as_str());
    }
    stage.finish().await;
}

#[tokio::test]
async fn ten_of_the_largest_messages_at_once_get_through() {
    let stage = Stage::open().await;
    let [mut alice, mut bob]: [Client; 2] = stage.clients(2).await.try_into().ok().unwrap();
    let text = "\u{1}".repeat(KIB_16);
    for n in 0..10 {
        let mut frame = broadcast(&text);
        frame["ref"] = json!(n.to_string());
        alice.send(frame).await;
    }
    for n in 0..10 {
        let reply = alice.expect_that("a reply", |frame| frame["ref"] == n.to_string().as_str()).await;
        assert_eq!(reply["type"], "accepted", "{reply}");
        assert_eq!(bob.expect_id("broadcast", &reply["id"]).await["message"], text.as_str());
    }
    stage.finish().await;
}

#[tokio::test]
async fn fifty_people_talking_at_once_all_hear_everything() {
    let stage = Stage::open().await;
    let clients = stage.clients(50).await;
    let talk = clients.into_iter().map(|mut client| async move {
        let mut said = Vec::new();
        for n in 0..4 {
            client
                .send(
                    json!({"action": "broadcast", "message": format!("{n} from {}", client.id), "ref": n.to_string()}),
                )
                .await;
        }
        for n in 0..4 {
            let reply = client.expect_that("a reply", |frame| frame["ref"] == n.to_string().as_str()).await;
            said.push(reply["id"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned());
        }
        (client, said)
    });
    let (clients, said): (Vec<Client>, Vec<Vec<String>>) = join_all(talk).await.into_iter().unzip();
    let said: BTreeSet<String> = said.into_iter().flatten().collect();
    assert_eq!(said.len(), 200);
    let listen = clients.into_iter().map(|mut client| {
        let said = &said;
        async move {
            let mut heard = BTreeSet::new();
            while heard.len() < 200 {
                let frame = client.expect_that("another broadcast", |f| f["type"] == "broadcast").await;
                heard.extend(frame["id"].as_str().filter(|id| said.contains(*id)).map(str::to_owned));
            }
            client
        }
    });
    drop(join_all(listen).await);
    stage.finish().await;
}
