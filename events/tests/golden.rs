//! The stored form of every type and version of event, pinned: `golden/<type>.<version>.json` is the item in DynamoDB's
//! own JSON. A file here is never changed once it has landed; a new version gets a new file.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::{collections::BTreeSet, fs, path::PathBuf};

use chrono::{DateTime, Utc};
use events::{
    ConnectionId, Event, EventId, RecordedEvent, connection, connection::*, conversation, conversation::*, delivery,
    delivery::*, from_item, seal, time, to_item,
};
use serde_dynamo::Item;
use serde_json::{Value, json};

fn at() -> DateTime<Utc> {
    time::from_millis(1_795_337_746_123).unwrap()
}

fn alice() -> ConnectionId {
    "JC1dgf9yoAMCK-g=".parse().unwrap()
}

fn bob() -> ConnectionId {
    "FYnvDeD_NjMCKlg=".parse().unwrap()
}

/// One event of every type, made by the decisions that make them.
fn every_event() -> Vec<RecordedEvent> {
    let message = EventId::of_request(at(), "request-2");
    let address =
        || Address { conversation: conversation::between(&alice(), &bob()), from: alice(), to: bob(), receipt: true };
    let opened = ConnectionOpened { source_ip: Some("192.0.2.1".into()), user_agent: Some("wscat".into()) };
    let closed = ConnectionClosed { code: Some(1000), text: Some("bye".into()) };
    let sent = MessageSent { from: alice(), to: bob(), text: "Yo! 🙂".into(), receipt: true };
    let day = at().date_naive().pred_opt().unwrap();
    let page = BroadcastDelivered { page: 0, attempt: 1, delivered: 498, gone: 2, failed: 0 };
    let here = connection::State::fold(&[connection::open(&bob(), opened.clone(), at(), "request-0")]);
    let long_gone = at() + std::time::Duration::from_secs(61);
    let lost =
        connection::lose(&bob(), &here, FoundBy::Sweep, std::time::Duration::from_secs(60), long_gone, "invocation-1");
    vec![
        connection::open(&alice(), opened, at(), "request-1"),
        connection::close(&alice(), closed, at(), "request-9"),
        lost.unwrap(),
        conversation::broadcast(alice(), "Anybody home?".into(), at(), "request-2").unwrap(),
        conversation::send(sent, &here, at(), "request-3").unwrap(),
        delivery::delivered(message, address(), at(), "invocation-2"),
        delivery::undeliverable(message, address(), Reason::Gone, at(), "invocation-3"),
        delivery::broadcast_delivered(message, page, at(), "invocation-4"),
        seal::seal(day, &[], Some(seal::root(&[])), at(), "webchat seal"),
    ]
}

fn golden(recorded: &RecordedEvent) -> PathBuf {
    let name = format!("{}.{}.json", recorded.event.type_name(), recorded.version);
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn dynamo_json(item: &Item) -> Value {
    serde_json::to_value(item).unwrap()
}

#[test]
fn every_event_is_stored_as_its_golden_file_says() {
    for recorded in every_event() {
        let written = dynamo_json(&to_item(&recorded).unwrap());
        let path = golden(&recorded);
        if std::env::var_os("BLESS").is_some() && !path.exists() {
            fs::write(&path, serde_json::to_string_pretty(&written).unwrap() + "\n").unwrap();
        }
        let pinned: Value = serde_json::from_slice(&fs::read(&path).unwrap_or_default()).unwrap_or_default();
        assert_eq!(written, pinned, "{} (a new type or version? BLESS=1 writes a missing file)", path.display());
    }
}

#[test]
fn every_golden_file_reads_back_as_the_event_it_was() {
    let mut types = BTreeSet::new();
    for recorded in every_event() {
        let item: Item = serde_json::from_slice(&fs::read(golden(&recorded)).unwrap()).unwrap();
        assert_eq!(from_item(item).unwrap(), recorded);
        types.insert(recorded.event.type_name().to_owned());
    }
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).unwrap();
    let files = files.map(|f| f.unwrap().file_name().into_string().unwrap().split('.').next().unwrap().to_owned());
    assert_eq!(types, files.collect(), "a golden file of a type that no test makes");
}

#[test]
fn an_unknown_type_survives_a_read_and_is_written_back_as_it_was() {
    let mut stored = dynamo_json(&to_item(&every_event()[0]).unwrap());
    stored["type"] = json!({"S": "ConnectionRenamed"});
    stored["data"] = json!({"M": {"name": {"S": "Zoë"}, "tries": {"N": "3"}, "old": {"NULL": true}}});
    let read = from_item(serde_json::from_value(stored.clone()).unwrap()).unwrap();
    assert!(matches!(&read.event, Event::Unknown(unknown) if unknown.event_type == "ConnectionRenamed"));
    assert_eq!(dynamo_json(&to_item(&read).unwrap()), stored);
}

#[test]
fn a_newer_version_of_a_known_type_is_unknown_and_not_misread() {
    let mut stored = dynamo_json(&to_item(&every_event()[3]).unwrap());
    stored["version"] = json!({"N": "2"});
    let read = from_item(serde_json::from_value(stored).unwrap()).unwrap();
    assert!(matches!(read.event, Event::Unknown(_)));
    assert_eq!(read.version, 2);
}

#[test]
fn a_damaged_item_says_which_event_it_was_and_what_is_wrong() {
    for (attribute, value, expected) in [
        ("data", json!({"M": {"from": {"S": "JC1dgf9yoAMCK-g="}}}), "text"),
        ("data", json!({"S": "text"}), "data"),
        ("at", json!({"S": "yesterday"}), "yesterday"),
        ("version", json!({"S": "one"}), "version"),
    ] {
        let mut stored = dynamo_json(&to_item(&every_event()[3]).unwrap());
        stored[attribute] = value;
        let error = from_item(serde_json::from_value(stored.clone()).unwrap()).unwrap_err();
        assert_eq!(error.stream.as_deref(), Some("conversation#lobby"));
        assert_eq!(error.id.as_deref(), stored["id"]["S"].as_str());
        assert!(error.to_string().contains(expected) || attribute == "version", "{error}");
    }
    let error = from_item(Item::default()).unwrap_err();
    assert_eq!((error.stream, error.id), (None, None));
}
