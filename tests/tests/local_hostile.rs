//! What a client or a page cannot do to others, whatever it sends. What cannot be guessed is looked for: `fuzz/`.
//!
//! Local only: these look into tables or at addresses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a panic is how a test fails

use std::net::Ipv4Addr;

use events::{ConnectionId, Timing, conversation};
use local::{Options, Runtime};
use serde_json::{Value, json};
use tests::{Client, Stage};

/// Everything that was ever said to everyone, as recorded.
async fn lobby(stage: &Stage) -> Vec<Value> {
    let stored = stage.runtime().log().read_whole_stream(&conversation::lobby()).await.unwrap();
    stored.into_iter().map(|event| serde_json::to_value(event.unwrap()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_as_somebody_else_or_at_another_time() {
    let stage = Stage::local(Timing::default()).await;
    let (mut mallory, mut bob) = (stage.client().await, stage.client().await);
    let forged = json!({"action": "broadcast", "message": "it was Bob", "from": bob.id, "sender": bob.id,
        "connectionId": bob.id, "requestContext": {"connectionId": bob.id}, "id": "00000000-0000-7000-8000-000000000000",
        "at": "1970-01-01T00:00:00.000Z", "stream": "connection#x", "type": "ConnectionLost"});
    let accepted = mallory.ask(forged).await;
    let heard = bob.expect_id("broadcast", &accepted["id"]).await;
    assert_eq!((&heard["from"], &heard["at"]), (&json!(mallory.id), &accepted["at"]));
    assert_ne!(heard["id"], "00000000-0000-7000-8000-000000000000");
    let [recorded] = lobby(&stage).await.try_into().unwrap();
    assert_eq!((&recorded["data"]["from"], &recorded["type"]), (&json!(mallory.id), &json!("MessageBroadcast")));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_is_no_id_reads_and_writes_no_stream() {
    let stage = Stage::local(Timing::default()).await;
    let mut mallory = stage.client().await;
    let own = mallory.id.clone();
    let log = stage.runtime().log();
    let long = "a".repeat(ConnectionId::MAX_LEN + 1);
    for to in
        ["", "lobby", "a~b", "connection#x", "#", "../x", "a b", "a\n", "\u{202e}", long.as_str(), &format!("{own}#")]
    {
        let refused = mallory.ask(json!({"action": "chat", "connection": to, "message": "Yo!"})).await;
        assert_eq!(
            (&refused["code"], &refused["field"]),
            (&json!("unknown_connection"), &json!("connection")),
            "{to:?}"
        );
    }
    stage.idle().await;
    let mut events = log.scan(0, 1);
    assert!(matches!(events.next().await.unwrap(), Some(Ok(opened)) if opened.event.type_name() == "ConnectionOpened"));
    assert_eq!(events.next().await.unwrap(), None, "nothing more");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_made_up_or_changed_lists_live_connections_or_nothing() {
    let stage = Stage::local(Timing::default()).await;
    let mut mallory = stage.client().await;
    let there: Vec<String> = stage.clients(3).await.iter().map(|client| client.id.clone()).collect();
    for cursor in ["4", "-1", "+1", "0.", "0.a#b", "connection#x", "0.a\n", "{}", "0.\u{0}", "99999999999999999999.a"] {
        let refused = mallory.ask(json!({"action": "list", "cursor": cursor})).await;
        assert_eq!((&refused["code"], &refused["field"]), (&json!("invalid_request"), &json!("cursor")), "{cursor:?}");
    }
    for cursor in ["0", "3", "0.zzzzzzzzzzzzzzz=", "1.-", "2.MessageSent"] {
        let page = mallory.ask(json!({"action": "list", "cursor": cursor})).await;
        for live in page["connections"].as_array().unwrap_or_else(|| panic!("{cursor}: {page}")) {
            let known =
                live["connection"] == mallory.id.as_str() || there.iter().any(|id| live["connection"] == id.as_str());
            assert!(known, "{cursor} lists {live}");
        }
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_ref_and_the_strangest_come_back_as_they_were() {
    let stage = Stage::local(Timing::default()).await;
    let mut client = stage.client().await;
    for reference in ["", "\u{0}\n\u{1b}[2J\u{202e}", &"\u{1f44b}".repeat(16), "\"}{\"type\":\"accepted\""] {
        client.send(json!({"action": "ping", "ref": reference})).await;
        assert_eq!(client.expect("pong").await["ref"], *reference);
    }
    client.send(json!({"action": "ping", "ref": "\u{1f44b}".repeat(17)})).await;
    let refused = client.expect("error").await;
    assert_eq!((&refused["field"], refused.get("ref")), (&json!("ref"), None));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_to_every_address_it_still_serves_tables_and_pushes_on_loopback_alone() {
    let options = Options { bind: Ipv4Addr::UNSPECIFIED.into(), ..Options::default() };
    let runtime = Runtime::start(options).await.unwrap();
    assert!(runtime.address().ip().is_unspecified());
    let aws = runtime.sdk().endpoint_url().unwrap();
    assert!(aws.starts_with("http://127.0.0.1:"), "{aws}");
    let gateway = &runtime.settings().gateway_url;
    assert!(gateway.starts_with(aws), "{gateway}");
    // A page of another machine's name is no page of ours.
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = runtime.url().into_client_request().unwrap();
    request.headers_mut().insert("origin", format!("http://192.0.2.1:{}", runtime.address().port()).parse().unwrap());
    let refused = tokio_tungstenite::connect_async(request).await.err().unwrap().to_string();
    assert!(refused.contains("403"), "{refused}");
    Client::welcomed(&runtime.url()).await.close(None).await;
    runtime.idle().await;
    runtime.stop().await;
}
