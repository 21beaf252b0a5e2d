//! The event log and the connections view in real tables: what the fold promises, the store keeps.
//!
//! Local only. Writing rows directly does not disturb the runtime's own projector: it follows the log.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client as DynamoDb,
    types::{AttributeValue, Select},
};
use chrono::{DateTime, TimeDelta, Utc};
use events::{
    Appended, ConnectionId, EventId, EventLog, Reader, RecordedEvent, StreamName, Timing,
    connection::{self, ConnectionClosed, ConnectionOpened, FoundBy, State},
    conversation,
    delivery::{self, BroadcastDelivered},
    time, to_item,
};
use futures::{StreamExt, stream};
use local::{CONNECTIONS, EVENTS, Options, Runtime};
use projections::{
    ConnectionsView, Cursor, LiveConnection, Row,
    connections::{self, live_shard},
    reconcile::{Finding, Kind, Mode, Reconciliation, Report, Scope},
};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use tests::quick;

/// Calls in flight where many are made.
const AT_ONCE: usize = 32;
/// More than the reader takes in a page.
const OVER_A_PAGE: usize = 1_100;

fn at(millis: i64) -> DateTime<Utc> {
    time::from_millis(1_780_272_000_000 + millis).unwrap()
}

fn id(text: &str) -> ConnectionId {
    text.parse().unwrap()
}

fn opened(connection: &ConnectionId, at: DateTime<Utc>) -> RecordedEvent {
    let data = ConnectionOpened { source_ip: Some("192.0.2.1".into()), user_agent: None };
    connection::open(connection, data, at, "r1")
}

fn closed(connection: &ConnectionId, at: DateTime<Utc>, code: Option<i64>) -> RecordedEvent {
    connection::close(connection, ConnectionClosed { code, text: Some(String::new()) }, at, "r2")
}

/// Decided by somebody who has not seen a close that came in between.
fn lost(opened: &RecordedEvent, found_by: FoundBy, millis: i64) -> RecordedEvent {
    let connection = connection::of_stream(&opened.stream).unwrap();
    let early_gone = Duration::from_secs(60);
    let now = opened.at + TimeDelta::milliseconds(60_001 + millis);
    connection::lose(&connection, &State::fold([opened]), found_by, early_gone, now, "r3").unwrap()
}

/// A runtime whose `post` tries a push once and hands it on: nobody whom these tests write of is there.
async fn start() -> Runtime {
    let timing = Timing { push_budget: Duration::ZERO, ..quick() };
    Runtime::start(Options { timing, ..Options::default() }).await.unwrap()
}

fn dynamodb(runtime: &Runtime) -> DynamoDb {
    DynamoDb::new(runtime.sdk())
}

/// What the view must hold of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    row: Row,
    live: Option<String>,
    expires_at: Option<i64>,
}

impl Stored {
    fn of(row: Row) -> Stored {
        let retention = Timing::default().view_retention;
        let live = row.is_live().then(|| live_shard(&row.connection).to_string());
        Stored { live, expires_at: row.expires_at(retention), row }
    }
}

type Rows = BTreeMap<ConnectionId, Stored>;

/// What the pure fold makes of events.
fn folded<'a>(events: impl IntoIterator<Item = &'a RecordedEvent>) -> Rows {
    let rows = connections::fold(events).into_iter();
    rows.map(|(connection, row)| (connection, Stored::of(row))).collect()
}

/// The whole view.
async fn rows(view: &ConnectionsView) -> Rows {
    let all = view.all().await.unwrap().into_iter().map(|stored| {
        let connection = stored.row.connection.clone();
        (connection, Stored { row: stored.row, live: stored.live, expires_at: stored.expires_at })
    });
    all.collect()
}

async fn delete(client: &DynamoDb, connection: &ConnectionId) {
    let key = AttributeValue::S(connection.to_string());
    client.delete_item().table_name(CONNECTIONS).key("connection", key).send().await.unwrap();
}

// The join

/// What may happen to one connection, in the order it is appended. Clocks of different hosts give the times.
fn life(connection: ConnectionId) -> impl Strategy<Value = Vec<RecordedEvent>> {
    let millis = || 0..10_000_000i64;
    let close = option::of((millis(), option::of(1000i64..1016)));
    let lose = option::of((millis(), prop_oneof![Just(FoundBy::Post), Just(FoundBy::Sweep)]));
    (millis(), close, lose).prop_map(move |(millis, close, lose)| {
        let open = opened(&connection, at(millis));
        let lost = lose.map(|(millis, found_by)| lost(&open, found_by, millis));
        let closed = close.map(|(millis, code)| closed(&connection, at(millis), code));
        [Some(open), lost, closed].into_iter().flatten().collect()
    })
}

/// The batches in which the events of a history may arrive: some twice or more, in any order, split anywhere.
fn batches(history: Vec<RecordedEvent>) -> impl Strategy<Value = Vec<Vec<RecordedEvent>>> {
    let arrivals = vec(any::<Index>(), 0..history.len()).prop_flat_map(move |repeated| {
        let again: Vec<_> = repeated.iter().map(|index| index.get(&history).clone()).collect();
        Just([history.clone(), again].concat()).prop_shuffle()
    });
    (arrivals, 1..5usize).prop_map(|(arrivals, size)| arrivals.chunks(size).map(<[_]>::to_vec).collect())
}

#[derive(Clone, Debug)]
struct Case {
    history: Vec<RecordedEvent>,
    one: Vec<Vec<RecordedEvent>>,
    other: Vec<Vec<RecordedEvent>>,
}

fn case() -> impl Strategy<Value = Case> {
    let lives = any::<u64>().prop_flat_map(|n| ["a", "b", "c"].map(|name| life(id(&format!("{name}-{n}")))));
    lives.prop_flat_map(|lives| {
        let history = lives.concat();
        (Just(history.clone()), batches(history.clone()), batches(history)).prop_map(|(history, one, other)| Case {
            history,
            one,
            other,
        })
    })
}

/// Writes batches as the projector does: folds each, then writes its rows.
async fn write(view: &ConnectionsView, batches: &[Vec<RecordedEvent>]) {
    for row in batches.iter().flat_map(connections::fold).map(|(_, row)| row) {
        view.write(&row).await.unwrap();
    }
}

/// Takes the rows of a history out of the view, for the next pass.
async fn take(view: &ConnectionsView, client: &DynamoDb, history: &[RecordedEvent]) -> Rows {
    let connections: BTreeSet<_> = history.iter().filter_map(|event| connection::of_stream(&event.stream)).collect();
    let mut taken = rows(view).await;
    taken.retain(|connection, _| connections.contains(connection));
    for connection in &connections {
        delete(client, connection).await;
    }
    taken
}

#[test]
fn events_in_any_order_repetition_batching_and_concurrency_leave_the_rows_of_one_pass_in_order() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let runtime = tokio.block_on(start());
    let (view, client) = (runtime.view(), dynamodb(&runtime));
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let result = runner.run(&case(), |Case { history, one, other }| {
        let expected = folded(&history);
        tokio.block_on(async {
            let in_order: Vec<_> = history.iter().map(|event| vec![event.clone()]).collect();
            write(&view, &in_order).await;
            let after_one_pass = take(&view, &client, &history).await;
            prop_assert_eq!(&after_one_pass, &expected, "one pass in order");

            write(&view, &one).await;
            let after_batches = take(&view, &client, &history).await;
            prop_assert_eq!(&after_batches, &expected, "shuffled, repeated and split");

            tokio::join!(write(&view, &one), write(&view, &other), write(&view, &in_order));
            let after_concurrency = take(&view, &client, &history).await;
            prop_assert_eq!(&after_concurrency, &expected, "three writers at once");
            Ok(())
        })
    });
    tokio.block_on(runtime.stop());
    result.unwrap();
}

// Who is there

async fn pages(view: &ConnectionsView, size: usize) -> Vec<LiveConnection> {
    let (mut cursor, mut all) = (Some(Cursor::default()), Vec::new());
    while let Some(from) = cursor.take() {
        let page = view.live(from, size).await.unwrap();
        assert!(page.connections.len() == size || page.next.is_none(), "a page that goes on is full");
        all.extend(page.connections);
        // As a client hands it back.
        cursor = page.next.map(|next| next.to_string().parse().unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_live_connections_are_listed_once_each_in_pages_of_any_size() {
    let runtime = start().await;
    let view = runtime.view();
    let live: Vec<_> = (0..1000).map(|n| opened(&id(&format!("live-{n}")), at(n))).collect();
    let ended: Vec<_> = (0..20).map(|n| id(&format!("ended-{n}"))).collect();
    let ended: Vec<_> = ended.iter().flat_map(|id| [opened(id, at(0)), closed(id, at(1), None)]).collect();
    let rows = connections::fold(live.iter().chain(&ended)).into_values();
    stream::iter(rows).for_each_concurrent(AT_ONCE, async |row| view.write(&row).await.unwrap()).await;

    let of = |event: &RecordedEvent| connection::of_stream(&event.stream).unwrap();
    let listed = live.iter().map(|event| LiveConnection { connection: of(event), opened_at: event.at });
    let mut expected: Vec<_> = listed.collect();
    expected.sort_by_key(|live| (live_shard(&live.connection), live.connection.clone()));
    for size in [1, 7, 100, 400, 1000] {
        assert_eq!(pages(&view, size).await, expected, "in pages of {size}");
    }
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_where_it_stopped_though_the_connection_there_has_left() {
    let runtime = start().await;
    let view = runtime.view();
    // All in one partition.
    let connections = ["bd", "cc", "db"].map(id);
    assert!(connections.iter().all(|connection| live_shard(connection) == live_shard(&connections[0])));
    for connection in &connections {
        write(&view, &[vec![opened(connection, at(0))]]).await;
    }
    let first = view.live(Cursor::default(), 2).await.unwrap();
    assert_eq!(first.connections.iter().map(|live| live.connection.as_str()).collect::<Vec<_>>(), ["bd", "cc"]);
    write(&view, &[vec![closed(&connections[1], at(1), None)]]).await;
    let rest = view.live(first.next.unwrap(), 2).await.unwrap();
    assert_eq!(rest.connections.iter().map(|live| live.connection.as_str()).collect::<Vec<_>>(), ["db"]);
    assert_eq!(rest.next, None);
    runtime.stop().await;
}

// Replay

/// An item like `recorded`'s, changed.
async fn put(client: &DynamoDb, recorded: &RecordedEvent, change: impl FnOnce(&mut serde_dynamo::Item)) {
    let mut item = to_item(recorded).unwrap();
    change(&mut item);
    client.put_item().table_name(EVENTS).set_item(Some(item.into())).send().await.unwrap();
}

/// An item of a type that only a later version of this program knows.
async fn put_unknown(client: &DynamoDb, stream: StreamName) {
    let id = EventId::of_fact(&stream, "ConnectionPraised", None);
    put(client, &RecordedEvent { id, stream, ..opened(&id_of_nobody(), time::now()) }, |item| {
        item.insert("type".into(), serde_dynamo::AttributeValue::S("ConnectionPraised".into()));
    })
    .await;
}

fn id_of_nobody() -> ConnectionId {
    id("nobody")
}

/// 30 connections: live, closed, lost, or closed and lost. Ends come before openings: that order is as good as any.
fn lives() -> Vec<Vec<RecordedEvent>> {
    let now = time::now();
    let life = |n: usize| {
        let connection = id(&format!("connection-{n}"));
        let open = opened(&connection, now - TimeDelta::minutes(if n % 4 < 2 { 0 } else { 5 }));
        match n % 4 {
            0 => vec![open],
            1 => vec![closed(&connection, now, Some(1000)), open],
            2 => vec![lost(&open, FoundBy::Sweep, 5), open],
            _ => vec![closed(&connection, now, None), lost(&open, FoundBy::Post, 5), open],
        }
    };
    (0..30).map(life).collect()
}

async fn append_all(log: &EventLog, events: impl IntoIterator<Item = RecordedEvent>) {
    let append = async |event: RecordedEvent| assert_eq!(log.append(&event).await.unwrap(), Appended::New);
    stream::iter(events).for_each_concurrent(AT_ONCE, append).await;
}

async fn append_in_order(log: &EventLog, events: &[RecordedEvent]) {
    for event in events {
        assert_eq!(log.append(event).await.unwrap(), Appended::New);
    }
}

async fn count(client: &DynamoDb, table: &str) -> u64 {
    let scan = client.scan().table_name(table).select(Select::Count).limit(10_000).send().await.unwrap();
    assert!(scan.last_evaluated_key.is_none());
    u64::try_from(scan.count).unwrap()
}

/// Sets and removes attributes of a row, as no code of ours would.
async fn alter(client: &DynamoDb, connection: &str, expression: &str) {
    let update = client.update_item().table_name(CONNECTIONS).key("connection", AttributeValue::S(connection.into()));
    let update = update.update_expression(expression);
    let update = match expression.contains(":wrong") {
        true => update.expression_attribute_values(":wrong", AttributeValue::S("2001-01-01T00:00:00.000Z".into())),
        false => update,
    };
    update.send().await.unwrap();
}

/// What somebody may do to rows, of parts that events explain: connections 0, 4, … are live, 1 closed, 2 lost, 3 both.
async fn damage(client: &DynamoDb) {
    for n in 20..30 {
        delete(client, &id(&format!("connection-{n}"))).await;
    }
    for (connection, expression) in [
        ("connection-0", "REMOVE live"),
        ("connection-4", "SET opened_at = :wrong, source_ip = :wrong"),
        ("connection-8", "REMOVE opened_at, live, source_ip"),
        ("connection-1", "SET live = :wrong"),
        ("connection-5", "SET closed_at = :wrong, close_text = :wrong REMOVE expires_at"),
        ("connection-2", "SET live = :wrong REMOVE lost_at, found_by, expires_at"),
        ("connection-3", "REMOVE closed_at, close_text, expires_at"),
        ("connection-7", "REMOVE closed_at, close_text, lost_at, found_by, expires_at"),
    ] {
        alter(client, connection, expression).await;
    }
}

/// Compares or repairs, and gives the counts and what differed.
async fn reconcile(log: &EventLog, view: &ConnectionsView, mode: Mode, segments: i32) -> (Report, Vec<(String, Kind)>) {
    let scope = Scope { until: time::now() + TimeDelta::minutes(1), settling: Duration::ZERO };
    let mut found = Vec::new();
    let reconciliation = Reconciliation { log, view, scope, mode, segments };
    let note = |finding| {
        if let Finding::Differs(d) = finding {
            found.push((d.connection, d.kind));
        }
    };
    let report = reconciliation.run(note, |_| {}).await.unwrap();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    (report, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_restores_rows_that_were_deleted_or_altered_and_counts_what_it_read() {
    let runtime = start().await;
    let (log, view, client) = (runtime.log(), runtime.view(), dynamodb(&runtime));
    let lives = lives();
    // One after the other within a life: an opening whose end is not there yet might be found lost meanwhile.
    stream::iter(&lives).for_each_concurrent(AT_ONCE, |life| append_in_order(&log, life)).await;
    let said = conversation::broadcast(id_of_nobody(), "Anybody home?".into(), time::now(), "r4").unwrap();
    append_all(&log, [said.clone()]).await;
    put_unknown(&client, conversation::lobby()).await;
    put_unknown(&client, connection::stream(&id("connection-6"))).await;
    put_unknown(&client, connection::stream(&id_of_nobody())).await;
    put(&client, &RecordedEvent { stream: StreamName::from("damaged#1".to_owned()), ..said }, |item| {
        item.remove("data");
    })
    .await;
    runtime.idle().await;
    let before = rows(&view).await;
    assert_eq!(before, folded(lives.iter().flatten()), "the projector's rows are the fold's");
    let items = count(&client, EVENTS).await;

    let sound = Report { events: items - 1, unknown: 3, undecodable: 1, connections: 30, rows: 30, differences: 0 };
    for segments in [1, 4] {
        assert_eq!(reconcile(&log, &view, Mode::Compare, segments).await, (sound.clone(), vec![]));
        damage(&client).await;
        alter(&client, "nobody-ever", "SET live = :wrong").await;
        let damaged = rows(&view).await;
        assert_ne!(damaged, before);
        let (compared, differences) = reconcile(&log, &view, Mode::Compare, segments).await;
        assert_eq!(rows(&view).await, damaged, "comparing changes nothing");
        assert!(differences.contains(&("nobody-ever".to_owned(), Kind::Extra)), "{differences:?}");
        assert!(differences.contains(&("connection-0".to_owned(), Kind::Different)), "{differences:?}");
        let (repaired, repairs) = reconcile(&log, &view, Mode::Repair, segments).await;
        assert_eq!((&repaired, &repairs), (&compared, &differences), "what was found is what was put right");
        assert_eq!(rows(&view).await, before, "in {segments} segments");
        assert_eq!(Report { rows: 30, differences: 0, ..repaired }, sound);
    }
    assert_eq!(count(&client, EVENTS).await, items, "a replay appends nothing");
    runtime.idle().await;
    assert_eq!(count(&client, EVENTS).await, items, "and causes nothing");
    runtime.stop().await;
}

// The log

async fn read(mut reader: Reader) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    while let Some(stored) = reader.next().await.unwrap() {
        events.push(stored.unwrap());
    }
    events
}

async fn read_log(log: &EventLog, since: DateTime<Utc>, until: DateTime<Utc>) -> Vec<RecordedEvent> {
    let mut reader = log.read_log(since, until);
    let mut events = Vec::new();
    while let Some(stored) = reader.next().await.unwrap() {
        events.push(stored.unwrap());
    }
    events
}

fn message() -> EventId {
    EventId::of_request(at(0), "r1")
}

/// An event of one stream that causes neither row nor notice. `page` makes it another one.
fn counted(page: u32, at: DateTime<Utc>) -> RecordedEvent {
    let data = BroadcastDelivered { page, attempt: 1, delivered: 1, gone: 0, failed: 0 };
    delivery::broadcast_delivered(message(), data, at, "r5")
}

/// More events than a page of the reader, all of one stream, one day, and one shard of it.
fn a_page_and_more() -> Vec<RecordedEvent> {
    let all = (0..).map(|page| counted(page, at(i64::from(page) * 7 % 80_000_000)));
    all.filter(|event| event.id.shard(8) == 5).take(OVER_A_PAGE).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_appended_twice_is_one_event_and_the_second_is_told_of_the_first() {
    let runtime = start().await;
    let log = runtime.log();
    let bob = id("bob");
    let (first, second) = (closed(&bob, at(0), Some(1000)), closed(&bob, at(5), Some(1001)));
    assert_eq!(log.append(&first).await.unwrap(), Appended::New);
    assert_eq!(log.append(&first).await.unwrap(), Appended::AlreadyThere(Box::new(first.clone())));
    assert_eq!(log.append(&second).await.unwrap(), Appended::AlreadyThere(Box::new(first.clone())));
    assert_eq!(log.get(&first.stream, first.id).await.unwrap(), Some(Ok(first.clone())));
    assert_eq!(log.read_whole_stream(&first.stream).await.unwrap(), [Ok(first)]);
    assert_eq!(log.get(&second.stream, message()).await.unwrap(), None);
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_append_one_fact_at_once_one_is_first_and_all_are_told_the_same() {
    let runtime = start().await;
    let log = runtime.log();
    let bob = id("bob");
    let appends = (0..50).map(|n| closed(&bob, at(n), Some(n))).map(|event| {
        let log = log.clone();
        async move { (log.append(&event).await.unwrap(), event) }
    });
    let answers: Vec<_> = stream::iter(appends).buffer_unordered(50).collect().await;
    let (new, there): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(appended, _)| *appended == Appended::New);
    let [(_, first)] = new.as_slice() else { panic!("{} were first", new.len()) };
    for (appended, _) in there {
        assert_eq!(appended, Appended::AlreadyThere(Box::new(first.clone())));
    }
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_reads_in_order_of_time_over_days_and_shards_and_past_a_page() {
    let runtime = start().await;
    let log = runtime.log();
    let day = 24 * 3600 * 1000;
    let (since, until) = (at(-2 * day), at(3 * day + 1000));
    // Some of every day; some at one moment; on the bounds and a millisecond beside them.
    let times = (-3 * day..=4 * day).step_by(7_654_321).chain([0; 20]);
    let bounds = [since, until].into_iter().flat_map(|at| [-1, 0, 1].map(|ms| at + TimeDelta::milliseconds(ms)));
    let others = times.map(at).chain(bounds).zip(1_000_000..).map(|(at, page)| counted(page, at));
    let mut all: Vec<_> = a_page_and_more().into_iter().chain(others).collect();
    append_all(&log, all.clone()).await;

    all.sort_by_key(|event| (event.at, event.id));
    let between = |since, until| all.iter().filter(move |event| event.at >= since && event.at < until).cloned();
    let shards: BTreeSet<_> = between(since, until).map(|event| event.id.shard(8)).collect();
    assert_eq!(shards.len(), 8);
    let ids = |events: &[RecordedEvent]| events.iter().map(|event| (event.at, event.id)).collect::<Vec<_>>();
    for (since, until) in [(since, until), (at(0), at(day)), (at(0), at(1)), (at(5), at(5)), (at(day), at(0))] {
        let (read, expected) = (read_log(&log, since, until).await, between(since, until).collect::<Vec<_>>());
        assert_eq!(ids(&read), ids(&expected), "from {since} until {until}");
    }
    assert_eq!(read_log(&log, at(-9 * day), at(9 * day)).await, all, "as they were appended");
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_does_not_hide_the_rest_of_the_log() {
    let runtime = start().await;
    let (log, client) = (runtime.log(), dynamodb(&runtime));
    let events: Vec<_> = (0..20).map(|page| counted(page, at(i64::from(page)))).collect();
    append_all(&log, events.clone()).await;
    put(&client, &counted(99, at(10)), |item| drop(item.remove("data"))).await;
    let mut reader = log.read_log(at(0), at(1000));
    let (mut sound, mut undecodable) = (Vec::new(), Vec::new());
    while let Some(stored) = reader.next().await.unwrap() {
        match stored {
            Ok(event) => sound.push(event),
            Err(error) => undecodable.push(error),
        }
    }
    assert_eq!(sound, events);
    assert_eq!(undecodable.len(), 1);
    assert_eq!(undecodable[0].id, Some(counted(99, at(10)).id.to_string()));
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_reads_whole_in_order_of_id_past_a_page_and_apart_from_others() {
    let runtime = start().await;
    let log = runtime.log();
    let mut events = a_page_and_more();
    let stream = events[0].stream.clone();
    append_all(&log, events.clone()).await;
    append_all(&log, [closed(&id("bob"), at(0), None)]).await;
    events.sort_by_key(|event| event.id);
    assert_eq!(read(log.read_stream(&stream)).await, events);
    assert_eq!(read(log.read_stream(&connection::stream(&id("nobody")))).await, []);
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_of_a_scan_give_every_event_once_with_each_stream_together() {
    let runtime = start().await;
    let log = runtime.log();
    let ends = (0..200).map(|n| id(&format!("connection-{n}"))).flat_map(|connection| {
        let open = opened(&connection, at(0));
        [lost(&open, FoundBy::Sweep, 0), closed(&connection, at(5), None)]
    });
    let all: Vec<_> = ends.chain(a_page_and_more()).collect();
    append_all(&log, all.clone()).await;
    let key = |event: &RecordedEvent| (event.stream.clone(), event.id);
    let expected: BTreeSet<_> = all.iter().map(key).collect();
    for segments in [1, 3, 8] {
        let mut scanned = Vec::new();
        for segment in 0..segments {
            scanned.extend(read(log.scan(segment, segments)).await);
        }
        let keys: BTreeSet<_> = scanned.iter().map(key).collect();
        assert_eq!((scanned.len(), &keys), (all.len(), &expected), "in {segments} segments");
        let mut streams: Vec<_> = scanned.iter().map(|event| &event.stream).collect();
        streams.dedup();
        assert_eq!(streams.len(), 201, "every stream's events come together");
    }
    runtime.stop().await;
}
