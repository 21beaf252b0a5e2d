//! The connections view as a pure fold: whatever order, repetition and batching events come in, the rows are the same.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use events::{
    ConnectionId, Event, EventId, RecordedEvent, StreamName, Unknown,
    connection::{self, ConnectionClosed, ConnectionOpened, FoundBy, State},
    conversation::{self, MessageSent},
    delivery::{self, Address},
    time,
};
use projections::{
    Cursor, Row,
    connections::{LIVE_SHARDS, fold, live_shard},
};
use proptest::{collection::vec, option, prelude::*, sample::Index};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn at(millis: i64) -> DateTime<Utc> {
    time::from_millis(1_795_337_746_000 + millis).unwrap()
}

fn id(text: &str) -> ConnectionId {
    text.parse().unwrap()
}

fn opened(connection: &ConnectionId, millis: i64, source_ip: Option<String>) -> RecordedEvent {
    let data = ConnectionOpened { source_ip, user_agent: Some("wscat".into()) };
    connection::open(connection, data, at(millis), "r1")
}

fn closed(connection: &ConnectionId, millis: i64, code: Option<i64>) -> RecordedEvent {
    let data = ConnectionClosed { code, text: code.map(|code| format!("said {code}")) };
    connection::close(connection, data, at(millis), "r2")
}

/// Decided by somebody who has not seen a close that came in between.
fn lost(connection: &ConnectionId, opened: &RecordedEvent, millis: i64, found_by: FoundBy) -> RecordedEvent {
    let now = opened.at + chrono::TimeDelta::milliseconds(60_001 + millis);
    connection::lose(connection, &State::fold([opened]), found_by, MINUTE, now, "r3").unwrap()
}

// Histories

const SPAN: std::ops::Range<i64> = 0..10_000_000;

/// What may happen to one connection, in the order it is appended. Clocks of different hosts give the times.
fn life(connection: ConnectionId) -> impl Strategy<Value = Vec<RecordedEvent>> {
    let open = (SPAN, option::of("[0-9.]{0,8}"));
    let close = option::of((SPAN, option::of(1000i64..1016)));
    let lose = option::of((SPAN, prop_oneof![Just(FoundBy::Post), Just(FoundBy::Sweep)]));
    (open, close, lose).prop_map(move |((at, ip), close, lose)| {
        let open = opened(&connection, at, ip);
        let lost = lose.map(|(at, found_by)| lost(&connection, &open, at, found_by));
        let closed = close.map(|(at, code)| closed(&connection, at, code));
        [Some(open), lost, closed].into_iter().flatten().collect()
    })
}

/// Events that leave no row.
fn talk() -> impl Strategy<Value = RecordedEvent> {
    (SPAN, 0..3u8).prop_map(|(millis, kind)| {
        let (from, to) = (id("c0"), id("c1"));
        let said = conversation::broadcast(from.clone(), "Anybody home?".into(), at(millis), "r4").unwrap();
        match kind {
            0 => said,
            1 => {
                let here = State::fold(&[opened(&to, 0, None)]);
                let message = MessageSent { from, to, text: "Yo!".into(), receipt: true };
                conversation::send(message, &here, at(millis), "r5").unwrap()
            }
            _ => {
                let address = Address { conversation: conversation::lobby(), from, to, receipt: true };
                delivery::delivered(said.id, address, at(millis), "r6")
            }
        }
    })
}

/// Some connections' lives and what they say.
fn history() -> impl Strategy<Value = Vec<RecordedEvent>> {
    let lives: Vec<_> = (0..4).map(|n| life(id(&format!("c{n}")))).collect();
    (lives, 1..=4usize, vec(talk(), 0..4))
        .prop_map(|(lives, connections, talk)| lives.into_iter().take(connections).flatten().chain(talk).collect())
}

/// The batches in which the events of a history may arrive: some twice or more, in any order, split anywhere.
fn batches(history: Vec<RecordedEvent>) -> impl Strategy<Value = Vec<Vec<RecordedEvent>>> {
    let repeated = vec(any::<Index>(), 0..history.len());
    let arrivals = repeated.prop_flat_map(move |repeated| {
        let again: Vec<_> = repeated.iter().map(|index| index.get(&history).clone()).collect();
        Just([history.clone(), again].concat()).prop_shuffle()
    });
    (arrivals, vec(1..6usize, 1..8)).prop_map(|(arrivals, sizes)| {
        let mut rest = arrivals.into_iter().peekable();
        let mut sizes = sizes.into_iter().cycle();
        let mut batches = Vec::new();
        while rest.peek().is_some() {
            batches.push(rest.by_ref().take(sizes.next().unwrap()).collect());
        }
        batches
    })
}

fn history_and_batches() -> impl Strategy<Value = (Vec<RecordedEvent>, Vec<Vec<RecordedEvent>>)> {
    history().prop_flat_map(|history| (Just(history.clone()), batches(history)))
}

/// Rows of batches that were folded apart, put together as they come.
fn join(batches: &[Vec<RecordedEvent>]) -> BTreeMap<ConnectionId, Row> {
    let mut rows: BTreeMap<ConnectionId, Row> = BTreeMap::new();
    for (connection, row) in batches.iter().flat_map(fold) {
        rows.entry(connection.clone()).or_insert_with(|| Row::new(connection)).join(row);
    }
    rows
}

proptest! {
    #[test]
    fn events_shuffled_repeated_and_split_give_the_rows_of_one_pass_in_order((history, batches) in history_and_batches()) {
        let in_order = fold(&history);
        prop_assert_eq!(&join(&batches), &in_order);
        prop_assert_eq!(&fold(batches.iter().flatten()), &in_order);
    }

    #[test]
    fn a_row_says_what_its_connections_stream_says((history, batches) in history_and_batches()) {
        let rows = join(&batches);
        let streams = history.iter().filter_map(|recorded| connection::of_stream(&recorded.stream));
        prop_assert_eq!(streams.collect::<std::collections::BTreeSet<_>>(), rows.keys().cloned().collect());
        for (connection, row) in rows {
            let stream = connection::stream(&connection);
            let state = State::fold(history.iter().filter(|recorded| recorded.stream == stream));
            prop_assert_eq!(row.is_live(), state.is_live());
            prop_assert_eq!(row.ended_at().is_some(), state.has_ended());
            prop_assert_eq!(row.expires_at(DAY).is_some(), state.has_ended());
        }
    }

    #[test]
    fn a_cursor_reads_back_from_its_text(shard in any::<u8>(), connection in "[A-Za-z0-9_=-]{1,128}") {
        let cursor = Cursor::behind(shard, id(&connection));
        prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor.clone());
        let json = serde_json::to_string(&cursor).unwrap();
        prop_assert_eq!(serde_json::from_str::<Cursor>(&json).unwrap(), cursor);
    }

    #[test]
    fn any_text_is_a_cursor_or_an_error_and_what_is_taken_is_what_was_given(text in "\\PC{0,40}|[0-9]{0,3}\\.?[a-z=]{0,4}") {
        if let Ok(cursor) = text.parse::<Cursor>() {
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
    }
}

// Rows

fn row(events: &[RecordedEvent]) -> Row {
    let mut rows = fold(events);
    assert_eq!(rows.len(), 1);
    rows.remove(&id("bob")).unwrap()
}

#[test]
fn a_connection_is_live_from_its_opening_to_its_first_end() {
    let bob = id("bob");
    let open = opened(&bob, 0, None);
    let (closed, lost) = (closed(&bob, 5, None), lost(&bob, &open, 0, FoundBy::Post));
    assert!(!Row::new(bob).is_live(), "nothing is known");
    assert!(row(std::slice::from_ref(&open)).is_live());
    assert!(!row(std::slice::from_ref(&closed)).is_live(), "its opening was not heard of yet");
    assert!(!row(&[open.clone(), closed]).is_live());
    assert!(!row(&[lost, open]).is_live());
}

#[test]
fn of_two_ends_the_later_one_counts() {
    let bob = id("bob");
    let open = opened(&bob, 0, None);
    let lost = lost(&bob, &open, 0, FoundBy::Sweep);
    let lost_at = at(60_001);
    assert_eq!(row(std::slice::from_ref(&open)).ended_at(), None);
    assert_eq!(row(std::slice::from_ref(&lost)).ended_at(), Some(lost_at));
    assert_eq!(row(&[closed(&bob, 5, None), lost.clone()]).ended_at(), Some(lost_at));
    assert_eq!(row(&[closed(&bob, 99_000, None), lost]).ended_at(), Some(at(99_000)));
}

#[test]
fn a_row_expires_in_whole_seconds_a_retention_after_its_end_and_never_while_live() {
    let bob = id("bob");
    let ended = row(&[closed(&bob, 999, Some(1000))]);
    assert_eq!(row(&[opened(&bob, 0, None)]).expires_at(DAY), None);
    assert_eq!(ended.expires_at(Duration::ZERO), Some(1_795_337_746));
    assert_eq!(ended.expires_at(DAY), Some(1_795_337_746 + 24 * 3600));
    assert_eq!(ended.expires_at(Duration::MAX), Some(i64::MAX));
}

#[test]
fn a_row_keeps_what_its_events_say() {
    let bob = id("bob");
    let open = opened(&bob, 0, Some("192.0.2.1".into()));
    let row = row(&[open.clone(), closed(&bob, 5, Some(1001)), lost(&bob, &open, 0, FoundBy::Post)]);
    let (opened, closed, lost) = (row.opened.unwrap(), row.closed.unwrap(), row.lost.unwrap());
    assert_eq!(
        (opened.at, opened.source_ip, opened.user_agent),
        (at(0), Some("192.0.2.1".into()), Some("wscat".into()))
    );
    assert_eq!((closed.at, closed.code, closed.text), (at(5), Some(1001), Some("said 1001".into())));
    assert_eq!((lost.at, lost.found_by), (at(60_001), FoundBy::Post));
}

#[test]
fn an_event_nobody_here_knows_leaves_no_row() {
    let event = Event::Unknown(Unknown { event_type: "ConnectionPraised".into(), data: serde_json::json!({}) });
    let stream = connection::stream(&id("bob"));
    let id = EventId::of_fact(&stream, "ConnectionPraised", None);
    let praised = RecordedEvent { stream, id, at: at(0), event, version: 1, request_id: "r1".into() };
    let lobby = RecordedEvent { stream: StreamName::from("conversation#lobby".to_owned()), ..praised.clone() };
    assert_eq!(fold(&[praised, lobby]), BTreeMap::new());
}

// Places in the live index

#[test]
fn a_connection_is_always_in_the_same_partition_of_the_live_index() {
    let shards = ["a", "b", "c", "d", "JC1dgf9yoAMCK-g=", "FYnvDeD_NjMCKlg="].map(|text| live_shard(&id(text)));
    assert_eq!(shards, [1, 2, 3, 0, 1, 2], "stored: another function would lose those who are there");
    assert!(shards.iter().all(|shard| *shard < LIVE_SHARDS));
}

#[test]
fn a_cursor_has_a_text_that_stays() {
    assert_eq!(Cursor::default().to_string(), "0");
    assert_eq!(Cursor::behind(3, id("JC1dgf9yoAMCK-g=")).to_string(), "3.JC1dgf9yoAMCK-g=");
    assert_eq!(
        Cursor::behind(LIVE_SHARDS, id("a")),
        Cursor::behind(0, id("a")),
        "of every number there is a partition"
    );
    assert_eq!("2".parse::<Cursor>().unwrap().to_string(), "2");
}

#[test]
fn what_is_no_cursor_is_refused() {
    let long = format!("0.{}", "x".repeat(ConnectionId::MAX_LEN + 1));
    for text in [
        "",
        ".",
        "0.",
        ".a",
        "4",
        "4.a",
        "-1.a",
        "+1.a",
        "01.a",
        "1 ",
        "0.a\n",
        "0.a#b",
        "256.a",
        "x",
        "0.a b",
        "0.a.b",
        "0.ä",
        "0 .a",
        " 0",
        "99999999999",
        &long,
    ] {
        assert_eq!(
            text.parse::<Cursor>().map_err(|error| error.to_string()),
            Err("not a cursor of a previous `next`".into()),
            "{text}"
        );
        let json = serde_json::to_string(text).unwrap();
        assert!(serde_json::from_str::<Cursor>(&json).is_err(), "{json}");
    }
    for json in ["null", "0", "{}", "[]", "true"] {
        assert!(serde_json::from_str::<Cursor>(json).is_err(), "{json}");
    }
}

#[test]
fn a_cursor_is_before_what_comes_behind_it_in_the_order_of_partition_and_id() {
    // Partitions: `d` 0, `a` 1, `b` and `f` 2, `c` 3.
    let before = |cursor: &Cursor| ["d", "a", "b", "f", "c"].map(|text| cursor.is_before(&id(text)));
    assert_eq!(before(&Cursor::default()), [true; 5]);
    assert_eq!(before(&Cursor::behind(2, id("b"))), [false, false, false, true, true]);
    assert_eq!(before(&Cursor::behind(3, id("z"))), [false; 5]);
}
