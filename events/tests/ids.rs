//! Test vectors for both kinds of id. If one fails, every fact in every existing log would be appended again.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use events::{ConnectionId, EventId, connection, conversation, delivery, time};

#[test]
fn an_id_of_a_request_is_its_time_and_the_hash_of_the_gateways_request_id() {
    let at = time::from_millis(1_708_326_702_790).unwrap();
    let id = EventId::of_request(at, "TXzPWFkkjoEF92g=");
    assert_eq!(id.to_string(), "018dc034-cec6-70b8-b8ff-234df63594eb");
    assert_eq!(id.request_time(), Some(at));
    let epoch = EventId::of_request(time::from_millis(0).unwrap(), "");
    assert_eq!(epoch.to_string(), "00000000-0000-73b0-8442-98fc1c149afb");
}

#[test]
fn an_id_of_a_fact_is_the_hash_of_stream_kind_and_detail() {
    let connection: ConnectionId = "JC1dgf9yoAMCK-g=".parse().unwrap();
    let message = EventId::of_request(time::from_millis(1_708_326_702_790).unwrap(), "TXzPWFkkjoEF92g=");
    let ids = [
        EventId::of_fact(&connection::stream(&connection), "ConnectionOpened", None),
        EventId::of_fact(&connection::stream(&connection), "ConnectionClosed", None),
        EventId::of_fact(&connection::stream(&connection), "ConnectionLost", None),
        EventId::of_fact(&delivery::stream(message), "outcome", Some(connection.as_str())),
        EventId::of_fact(&delivery::stream(message), "BroadcastDelivered", Some("0/1")),
    ];
    let vectors = [
        "a16b39e2-7dda-5a2f-934b-ca1ae6d69d56",
        "98696327-1141-5207-9030-a9b78fb75671",
        "95a8daa4-05a4-519c-abb2-1dd69129701e",
        "a960e57a-0b25-536b-9484-61f1bd7e8a23",
        "a3e89850-2332-5873-9a96-156f0628f5b6",
    ];
    assert_eq!(ids.map(|id| id.to_string()), vectors);
    assert_eq!(ids[0].request_time(), None);
}

#[test]
fn ids_of_requests_sort_by_time_at_the_gateway() {
    let id = |millis, request| EventId::of_request(time::from_millis(millis).unwrap(), request).to_string();
    assert!(id(1_708_326_702_790, "zzz") < id(1_708_326_702_791, "aaa"));
    assert!(id(1_708_326_702_790, "aaa") != id(1_708_326_702_790, "bbb"));
}

#[test]
fn a_conversation_has_one_stream_whoever_writes() {
    let (a, b): (ConnectionId, ConnectionId) = ("aaa=".parse().unwrap(), "bbb=".parse().unwrap());
    assert_eq!(conversation::between(&a, &b), conversation::between(&b, &a));
    assert_eq!(conversation::between(&a, &b).as_str(), "conversation#aaa=~bbb=");
    assert_eq!(connection::of_stream(&connection::stream(&a)), Some(a));
}

#[test]
fn text_that_is_no_connection_id_is_refused() {
    for text in ["", "a#b", "a~b", "ü", "a b", "a/b", &"x".repeat(129)] {
        assert!(text.parse::<ConnectionId>().is_err(), "{text:?} was taken");
    }
    for text in ["JC1dgf9yoAMCK-g=", "FYnvDeD_NjMCKlg=", &"x".repeat(128)] {
        assert!(text.parse::<ConnectionId>().is_ok(), "{text:?} was refused");
    }
}
