//! given / when / then for the decisions, and properties of what is stored.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::{
    ConnectionId, EventId, RecordedEvent,
    connection::{self, ConnectionClosed, ConnectionOpened, FoundBy, State},
    conversation::{self, MAX_TEXT, MessageSent, Rejection},
    delivery::{self, Address, Reason},
    from_item, time, to_item,
};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn at(millis: i64) -> DateTime<Utc> {
    time::from_millis(1_795_337_746_000 + millis).unwrap()
}

fn id(text: &str) -> ConnectionId {
    text.parse().unwrap()
}

fn opened(millis: i64) -> RecordedEvent {
    let data = ConnectionOpened { source_ip: None, user_agent: None };
    connection::open(&id("bob"), data, at(millis), "r1")
}

fn closed() -> RecordedEvent {
    connection::close(&id("bob"), ConnectionClosed { code: None, text: None }, at(5), "r2")
}

fn send(given: &[RecordedEvent], text: &str) -> Result<RecordedEvent, Rejection> {
    let message = MessageSent { from: id("alice"), to: id("bob"), text: text.into(), receipt: false };
    conversation::send(message, &State::fold(given), at(10), "r3")
}

#[test]
fn a_message_to_a_live_connection_is_taken_with_the_id_of_its_request() {
    let sent = send(&[opened(0)], "Yo!").unwrap();
    assert_eq!(sent.id, EventId::of_request(at(10), "r3"));
    assert_eq!(sent.at, at(10));
}

#[test]
fn a_message_to_nobody_or_to_someone_who_left_is_rejected() {
    let unknown = Err(Rejection::UnknownConnection(id("bob")));
    assert_eq!(send(&[], "Yo!"), unknown);
    assert_eq!(send(&[opened(0), closed()], "Yo!"), unknown);
    assert_eq!(send(&[closed(), opened(0)], "Yo!"), unknown);
}

#[test]
fn a_text_has_1_byte_to_16_kib() {
    let say = |text: String| conversation::broadcast(id("alice"), text, at(0), "r1");
    assert_eq!(say(String::new()), Err(Rejection::Empty));
    assert!(say("x".into()).is_ok());
    assert!(say("ü".repeat(MAX_TEXT / 2)).is_ok());
    assert_eq!(say("x".repeat(MAX_TEXT + 1)), Err(Rejection::TooLarge(MAX_TEXT + 1)));
}

#[test]
fn a_connection_the_gateway_forgot_is_lost_once_it_is_old_enough() {
    let lose = |given: &[RecordedEvent], millis| {
        connection::lose(&id("bob"), &State::fold(given), FoundBy::Sweep, MINUTE, at(millis), "r4")
    };
    assert!(lose(&[opened(0)], 60_001).is_some());
    assert_eq!(lose(&[opened(0)], 60_000), None, "it may still be establishing");
    assert_eq!(lose(&[opened(0), closed()], 90_000), None, "it has ended already");
    assert_eq!(lose(&[], 90_000), None, "it was never here");
}

#[test]
fn the_first_outcome_of_a_message_stands() {
    let message = EventId::of_request(at(0), "r1");
    let address = Address {
        conversation: conversation::between(&id("alice"), &id("bob")),
        from: id("alice"),
        to: id("bob"),
        receipt: true,
    };
    let delivered = delivery::delivered(message, address.clone(), at(1), "r5");
    let undeliverable = delivery::undeliverable(message, address, Reason::Gone, at(2), "r6");
    assert_eq!((delivered.stream, delivered.id), (undeliverable.stream, undeliverable.id));
}

proptest! {
    /// Deciding twice on the same request gives the same event: a retried invocation appends nothing new.
    #[test]
    fn a_decision_is_a_function_of_its_request(text in "\\PC{1,64}", millis in 0i64..1_000_000, request in "[a-z]{1,16}") {
        let decide = || conversation::broadcast(id("alice"), text.clone(), at(millis), &request);
        prop_assert_eq!(decide(), decide());
    }

    /// Whatever text a message has, the stored item reads back as the same event.
    #[test]
    fn a_message_survives_the_store(text in any::<String>().prop_filter("1 byte at least", |t| !t.is_empty()), receipt: bool) {
        let message = MessageSent { from: id("alice"), to: id("bob"), text, receipt };
        let sent = conversation::send(message, &State::fold(&[opened(0)]), at(10), "r3").unwrap();
        prop_assert_eq!(from_item(to_item(&sent).unwrap()).unwrap(), sent);
    }
}
