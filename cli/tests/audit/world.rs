//! A small history with one of everything, two hours old, and the places it is read from.

use std::{path::Path, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use events::{
    ConnectionId, EventId, RecordedEvent, Timing,
    connection::{self, ConnectionClosed, ConnectionOpened, FoundBy, State},
    conversation::{self, MessageSent},
    delivery::{self, Address, BroadcastDelivered, Reason},
    time, to_item,
};
use local::{Archive, Data, EVENTS, Faults, Options, Runtime};
use serde_dynamo::Item;
use tempfile::TempDir;

use crate::command::Place;

/// What a message may try on a terminal.
pub(crate) const EVIL: &str = "\u{1b}[2Jevil\u{9b}31m\u{202e}\r\n,\"quoted\"";

/// A history, and the names of what is in it.
pub(crate) struct World {
    pub(crate) begin: DateTime<Utc>,
    pub(crate) events: Vec<RecordedEvent>,
    /// Who are there: alice. Who were: bob (closed), carol (lost).
    pub(crate) alice: ConnectionId,
    pub(crate) bob: ConnectionId,
    pub(crate) carol: ConnectionId,
    /// Alice to all, heard by three.
    pub(crate) hello: EventId,
    /// Bob to Alice, delivered.
    pub(crate) yo: EventId,
    /// Carol to Bob, undeliverable.
    pub(crate) evil: EventId,
    /// Alice to Carol, without an outcome.
    pub(crate) lost: EventId,
}

pub(crate) fn id(text: &str) -> ConnectionId {
    text.parse().unwrap()
}

pub(crate) fn opened(connection: &ConnectionId, at: DateTime<Utc>) -> RecordedEvent {
    let data = ConnectionOpened { source_ip: Some("192.0.2.1".into()), user_agent: Some("wscat".into()) };
    connection::open(connection, data, at, &format!("open-{connection}"))
}

pub(crate) fn closed(connection: &ConnectionId, at: DateTime<Utc>) -> RecordedEvent {
    let data = ConnectionClosed { code: Some(1000), text: Some("bye".into()) };
    connection::close(connection, data, at, &format!("close-{connection}"))
}

pub(crate) fn broadcast(from: &ConnectionId, text: &str, at: DateTime<Utc>) -> RecordedEvent {
    conversation::broadcast(from.clone(), text.into(), at, &format!("{from} {text}")).unwrap()
}

pub(crate) fn chat(from: &ConnectionId, to: &ConnectionId, text: &str, at: DateTime<Utc>) -> RecordedEvent {
    let message = MessageSent { from: from.clone(), to: to.clone(), text: text.into(), receipt: true };
    conversation::send(message, &State::fold([&opened(to, at)]), at, &format!("{from} {to} {text}")).unwrap()
}

impl World {
    pub(crate) fn new() -> World {
        let begin = time::now() - TimeDelta::hours(2);
        let at = |minute| begin + TimeDelta::minutes(minute);
        let (alice, bob, carol) = (id("alice"), id("bob"), id("carol"));
        let address = |from: &ConnectionId, to: &ConnectionId| Address {
            conversation: conversation::between(from, to),
            from: from.clone(),
            to: to.clone(),
            receipt: true,
        };
        let hello = broadcast(&alice, "Anybody home?", at(3));
        let yo = chat(&bob, &alice, "Yo! 🙂", at(4));
        let evil = chat(&carol, &bob, EVIL, at(5));
        let lost = chat(&alice, &carol, "lost in space", at(6));
        let page = BroadcastDelivered { page: 0, attempt: 1, delivered: 3, gone: 0, failed: 0 };
        let soon = TimeDelta::milliseconds(20);
        let gone = connection::lose(
            &carol,
            &State::fold([&opened(&carol, at(2))]),
            FoundBy::Sweep,
            Duration::from_secs(60),
            at(9),
            "sweep",
        );
        let events = vec![
            opened(&alice, at(0)),
            opened(&bob, at(1)),
            opened(&carol, at(2)),
            hello.clone(),
            delivery::broadcast_delivered(hello.id, page, at(3) + soon, "post"),
            yo.clone(),
            delivery::delivered(yo.id, address(&bob, &alice), at(4) + soon, "post"),
            evil.clone(),
            delivery::undeliverable(evil.id, address(&carol, &bob), Reason::Gone, at(5) + soon, "post"),
            lost.clone(),
            broadcast(&bob, "Nobody hears me", at(7)),
            closed(&bob, at(8)),
            gone.unwrap(),
        ];
        World { begin, events, alice, bob, carol, hello: hello.id, yo: yo.id, evil: evil.id, lost: lost.id }
    }

    /// In a folder that nobody holds.
    pub(crate) async fn folder(&self) -> TempDir {
        folder(self.events.iter().cloned()).await
    }

    /// Minutes after the beginning, as the commands take it.
    pub(crate) fn at(&self, minutes: i64) -> String {
        time::to_text(self.begin + TimeDelta::minutes(minutes))
    }
}

/// A folder with these events, and an empty view.
pub(crate) async fn folder(events: impl IntoIterator<Item = RecordedEvent>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path(), events).await;
    folder
}

pub(crate) async fn load(folder: &Path, events: impl IntoIterator<Item = RecordedEvent>) {
    Archive::load(folder, EVENTS, events.into_iter().map(|event| to_item(&event).unwrap())).await.unwrap();
}

/// A runtime that holds a folder, and does nothing of its own that a test has not asked for.
pub(crate) async fn hold(folder: &Path, faults: &Faults) -> Runtime {
    let timing = Timing {
        sweep_interval: Duration::from_secs(24 * 3600),
        push_budget: Duration::ZERO,
        push_backoff: Duration::from_millis(20),
        push_backoff_max: Duration::from_millis(200),
        ..Timing::default()
    };
    let options = Options { data: Data::Folder(folder.into()), timing, faults: faults.clone(), ..Options::default() };
    Runtime::start(options).await.unwrap()
}

/// The place of a runtime's endpoint: its AWS-facing address, from the lock file.
pub(crate) fn endpoint(folder: &Path) -> Place {
    let holder: local::Holder = serde_json::from_slice(&std::fs::read(folder.join("lock")).unwrap()).unwrap();
    Place::endpoint(&holder.aws)
}

/// Puts an item into the event table as somebody would who can write it.
pub(crate) async fn put(sdk: &SdkConfig, item: Item) {
    let client = aws_sdk_dynamodb::Client::new(sdk);
    client.put_item().table_name(EVENTS).set_item(Some(item.into())).send().await.unwrap();
}

/// Takes an event out of the table.
pub(crate) async fn delete(sdk: &SdkConfig, event: &RecordedEvent) {
    let text = |text: String| AttributeValue::S(text);
    let client = aws_sdk_dynamodb::Client::new(sdk);
    let delete = client.delete_item().table_name(EVENTS).key("stream", text(event.stream.to_string()));
    delete.key("id", text(event.id.to_string())).send().await.unwrap();
}

/// An event of a type that only a later version of this program knows.
pub(crate) fn unknown(event: &RecordedEvent) -> Item {
    let mut item = to_item(event).unwrap();
    item.insert("type".into(), serde_dynamo::AttributeValue::S("ConnectionPraised".into()));
    item
}

/// An event without its data.
pub(crate) fn corrupt(event: &RecordedEvent) -> Item {
    let mut item = to_item(event).unwrap();
    item.remove("data");
    item
}
