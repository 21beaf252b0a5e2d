//! Which event causes which notice, and the notices' JSON: a contract between versions that run side by side.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::{
    ConnectionId, Event, EventId, RecordedEvent, StreamName, Unknown,
    connection::{self, ConnectionClosed, ConnectionOpened, FoundBy, State},
    conversation::{self, MAX_TEXT, MessageSent},
    delivery::{self, Address, BroadcastDelivered, Reason},
    time,
};
use projections::{
    Cursor,
    notices::{self, Broadcast, Chat, ConnectionGone, Deliver, Notice, Outcome, Receipt, Resume, Said, Welcome},
};
use serde_json::{Value, json};

fn at() -> DateTime<Utc> {
    time::from_millis(1_795_337_746_123).unwrap()
}

fn id(text: &str) -> ConnectionId {
    text.parse().unwrap()
}

fn event_id() -> EventId {
    "019f2a6b-3c4d-7abc-8def-0123456789ab".parse().unwrap()
}

fn opened() -> RecordedEvent {
    let data = ConnectionOpened { source_ip: Some("192.0.2.1".into()), user_agent: None };
    connection::open(&id("bob"), data, at(), "r1")
}

fn sent(receipt: bool) -> RecordedEvent {
    let message = MessageSent { from: id("alice"), to: id("bob"), text: "Yo!".into(), receipt };
    conversation::send(message, &State::fold(&[opened()]), at(), "r2").unwrap()
}

fn address(receipt: bool) -> Address {
    Address { conversation: conversation::between(&id("alice"), &id("bob")), from: id("alice"), to: id("bob"), receipt }
}

// given an event, when the projector asks, then this is to be sent

#[test]
fn who_connects_is_welcomed() {
    let opened = opened();
    let welcome = Welcome { id: opened.id, at: at(), connection: id("bob"), attempt: 1 };
    assert_eq!(notices::of(&opened), Some(Notice::Welcome(welcome)));
}

#[test]
fn an_opening_in_a_stream_that_is_no_connections_welcomes_nobody() {
    let stray = RecordedEvent { stream: StreamName::from("connection#not an id".to_owned()), ..opened() };
    assert_eq!(notices::of(&stray), None);
}

#[test]
fn an_end_is_told_to_nobody() {
    let closed = connection::close(&id("bob"), ConnectionClosed { code: Some(1000), text: None }, at(), "r1");
    let now = at() + chrono::TimeDelta::seconds(61);
    let state = State::fold(&[opened()]);
    let lost = connection::lose(&id("bob"), &state, FoundBy::Sweep, Duration::from_secs(60), now, "r1").unwrap();
    assert_eq!(notices::of(&closed), None);
    assert_eq!(notices::of(&lost), None);
}

#[test]
fn a_message_goes_to_its_recipient() {
    for receipt in [false, true] {
        let sent = sent(receipt);
        let (from, to, text) = (id("alice"), id("bob"), "Yo!".to_owned());
        let chat = Chat { id: sent.id, at: at(), from, to, text, receipt, attempt: 1 };
        assert_eq!(notices::of(&sent), Some(Notice::Chat(chat)));
    }
}

#[test]
fn a_broadcast_goes_out_from_the_first_page() {
    let recorded = conversation::broadcast(id("alice"), "Anybody home?".into(), at(), "r1").unwrap();
    let said = Said { id: recorded.id, at: at(), from: id("alice"), text: "Anybody home?".into() };
    assert_eq!(notices::of(&recorded), Some(Notice::Broadcast(Broadcast { said, resume: None })));
}

#[test]
fn a_delivery_is_told_to_the_sender_who_asked() {
    let delivered = delivery::delivered(event_id(), address(true), at(), "r1");
    let (id, to, message_id) = (delivered.id, id("alice"), event_id());
    let receipt = Receipt { id, at: at(), to, message_id, outcome: Outcome::Delivered, attempt: 1 };
    assert_eq!(notices::of(&delivered), Some(Notice::Receipt(receipt)));
}

#[test]
fn a_delivery_is_not_told_to_a_sender_who_did_not_ask() {
    assert_eq!(notices::of(&delivery::delivered(event_id(), address(false), at(), "r1")), None);
}

#[test]
fn a_message_that_will_not_arrive_is_always_told_to_its_sender() {
    for (receipt, reason) in
        [(false, Reason::Ended), (true, Reason::Gone), (false, Reason::Refused), (true, Reason::Unreachable)]
    {
        let undeliverable = delivery::undeliverable(event_id(), address(receipt), reason, at(), "r1");
        let outcome = Outcome::Undeliverable { reason };
        let (id, to, message_id) = (undeliverable.id, id("alice"), event_id());
        let receipt = Receipt { id, at: at(), to, message_id, outcome, attempt: 1 };
        assert_eq!(notices::of(&undeliverable), Some(Notice::Receipt(receipt)));
    }
}

#[test]
fn an_outcome_in_a_stream_that_is_no_messages_is_told_to_nobody() {
    let delivered = delivery::delivered(event_id(), address(true), at(), "r1");
    let stray = RecordedEvent { stream: StreamName::from("delivery#not an id".to_owned()), ..delivered };
    assert_eq!(notices::of(&stray), None);
}

#[test]
fn the_count_of_a_page_and_an_event_nobody_here_knows_are_told_to_nobody() {
    let data = BroadcastDelivered { page: 0, attempt: 1, delivered: 3, gone: 1, failed: 0 };
    let counted = delivery::broadcast_delivered(event_id(), data, at(), "r1");
    let event = Event::Unknown(Unknown { event_type: "MessagePraised".into(), data: json!({"text": "Yo!"}) });
    assert_eq!(notices::of(&RecordedEvent { event, ..counted.clone() }), None);
    assert_eq!(notices::of(&counted), None);
}

// JSON

/// The notice has exactly this `detail-type` and `detail`, and comes back out of the envelope EventBridge puts around it.
fn pinned(notice: Notice, detail_type: &str, detail: &str) {
    assert_eq!(notice.detail_type(), detail_type);
    assert_eq!(notice.detail().unwrap(), detail);
    let detail: Value = serde_json::from_str(detail).unwrap();
    let bare = json!({"detail-type": detail_type, "detail": detail});
    assert_eq!(serde_json::to_value(&notice).unwrap(), bare);
    assert_eq!(serde_json::from_value::<Notice>(bare).unwrap(), notice);
    let envelope = format!(
        r#"{{"version":"0","id":"6a7e8feb-b491-4cf7-a9f1-bf3703467718","detail-type":"{detail_type}","source":"{}","account":"000000000000","time":"2026-11-22T08:55:46Z","region":"us-east-1","resources":[],"detail":{detail}}}"#,
        notices::SOURCE
    );
    assert_eq!(serde_json::from_str::<Notice>(&envelope).unwrap(), notice);
    let before = format!(r#"{{"detail":{detail},"id":"6a7e8feb","detail-type":"{detail_type}"}}"#);
    assert_eq!(serde_json::from_str::<Notice>(&before).unwrap(), notice, "whichever key comes first");
}

fn said() -> Said {
    Said { id: event_id(), at: at(), from: id("alice"), text: "Anybody home?".into() }
}

#[test]
fn a_notice_is_from_webchat() {
    assert_eq!(notices::SOURCE, "webchat");
}

#[test]
fn the_json_of_welcome() {
    pinned(
        Notice::Welcome(Welcome { id: event_id(), at: at(), connection: id("JC1dgf9yoAMCK-g="), attempt: 1 }),
        "welcome",
        r#"{"id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.123Z","connection":"JC1dgf9yoAMCK-g=","attempt":1}"#,
    );
}

#[test]
fn the_json_of_chat() {
    let (from, to, text) = (id("alice"), id("bob"), "Yo! \u{1f44b} \"\n\0".to_owned());
    pinned(
        Notice::Chat(Chat { id: event_id(), at: at(), from, to, text, receipt: true, attempt: 2 }),
        "chat",
        r#"{"id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.123Z","from":"alice","to":"bob","text":"Yo! 👋 \"\n\u0000","receipt":true,"attempt":2}"#,
    );
}

#[test]
fn the_json_of_broadcast() {
    pinned(
        Notice::Broadcast(Broadcast { said: said(), resume: None }),
        "broadcast",
        r#"{"id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.123Z","from":"alice","text":"Anybody home?"}"#,
    );
}

#[test]
fn the_json_of_a_broadcast_handed_on() {
    let resume = Some(Resume { cursor: Cursor::behind(2, id("JC1dgf9yoAMCK-g=")), page: 7 });
    pinned(
        Notice::Broadcast(Broadcast { said: said(), resume }),
        "broadcast",
        r#"{"id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.123Z","from":"alice","text":"Anybody home?","resume":{"cursor":"2.JC1dgf9yoAMCK-g=","page":7}}"#,
    );
}

#[test]
fn the_json_of_deliver() {
    pinned(
        Notice::Deliver(Deliver { said: said(), page: 3, attempt: 1, connections: vec![id("bob"), id("carol")] }),
        "deliver",
        r#"{"id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.123Z","from":"alice","text":"Anybody home?","page":3,"attempt":1,"connections":["bob","carol"]}"#,
    );
}

#[test]
fn the_json_of_receipt() {
    let receipt = |outcome| {
        let message_id = "019f2a6b-0000-7abc-8def-0123456789ab".parse().unwrap();
        Notice::Receipt(Receipt { id: event_id(), at: at(), to: id("alice"), message_id, outcome, attempt: 1 })
    };
    pinned(
        receipt(Outcome::Delivered),
        "receipt",
        r#"{"id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.123Z","to":"alice","message_id":"019f2a6b-0000-7abc-8def-0123456789ab","status":"delivered","attempt":1}"#,
    );
    for (reason, text) in [
        (Reason::Ended, "ended"),
        (Reason::Gone, "gone"),
        (Reason::Refused, "refused"),
        (Reason::Unreachable, "unreachable"),
    ] {
        pinned(
            receipt(Outcome::Undeliverable { reason }),
            "receipt",
            &format!(
                r#"{{"id":"019f2a6b-3c4d-7abc-8def-0123456789ab","at":"2026-11-22T08:55:46.123Z","to":"alice","message_id":"019f2a6b-0000-7abc-8def-0123456789ab","status":"undeliverable","reason":"{text}","attempt":1}}"#
            ),
        );
    }
}

#[test]
fn the_json_of_connection_gone() {
    pinned(
        Notice::ConnectionGone(ConnectionGone { id: event_id(), connection: id("bob") }),
        "connection.gone",
        r#"{"id":"019f2a6b-3c4d-7abc-8def-0123456789ab","connection":"bob"}"#,
    );
}

#[test]
fn a_notice_with_fields_of_a_later_version_is_still_understood() {
    let later =
        json!({"detail-type": "connection.gone", "detail": {"id": event_id(), "connection": "bob", "since": 5}});
    let gone = Notice::ConnectionGone(ConnectionGone { id: event_id(), connection: id("bob") });
    assert_eq!(serde_json::from_value::<Notice>(later).unwrap(), gone);
}

#[test]
fn a_notice_of_a_kind_nobody_here_knows_is_an_error() {
    let unknown = json!({"detail-type": "praise", "detail": {"id": event_id()}});
    assert!(serde_json::from_value::<Notice>(unknown).is_err());
}

/// EventBridge takes 256 KB an entry. JSON may write a byte as six.
#[test]
fn the_longest_message_fits_a_notice() {
    let text = "\0".repeat(MAX_TEXT);
    let sent = conversation::broadcast(id("alice"), text, at(), "r1").unwrap();
    assert!(notices::of(&sent).unwrap().detail().unwrap().len() < 200_000);
}
