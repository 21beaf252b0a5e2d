//! `webchat connections`, `replay` and `verify`: the state of any moment, rebuilt and proved.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use events::time;
use local::{Archive, CONNECTIONS, Effect, Faults};
use projections::connections;
use serde_json::{Value, json};

use crate::{
    command::{Place, Said},
    world::{World, closed, corrupt, endpoint, folder, hold, id, opened, put, unknown},
};

fn column(rows: &[Value], name: &str) -> Vec<String> {
    rows.iter().map(|row| row[name].as_str().unwrap_or("-").to_owned()).collect()
}

/// What a replay says it did.
async fn replayed(place: &Place, args: &[&str]) -> Value {
    place.rows(&[&["replay"], args].concat()).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_says_who_is_there_since_when_from_where_and_how_it_ended() {
    let world = World::new();
    let data = world.folder().await;
    let place = Place::folder(data.path());
    assert_eq!(place.rows(&["connections"]).await, Vec::<Value>::new(), "the view is empty yet");
    let report = replayed(&place, &[]).await;
    assert_eq!(
        (&report["events"], &report["connections"], &report["rows_written"]),
        (&json!(13), &json!(3), &json!(3))
    );
    let rows = place.rows(&["connections"]).await;
    assert_eq!(column(&rows, "connection"), ["alice", "bob", "carol"]);
    assert_eq!(column(&rows, "state"), ["live", "closed", "lost"]);
    assert_eq!(column(&rows, "how"), ["", "1000 bye", "found by sweep"]);
    assert_eq!(column(&rows, "opened_at"), [world.at(0), world.at(1), world.at(2)]);
    assert_eq!(column(&rows, "ended_at"), ["-".to_owned(), world.at(8), world.at(9)]);
    assert_eq!(column(&rows, "source_ip"), ["192.0.2.1"; 3]);
    assert_eq!(column(&place.rows(&["connections", "--live"]).await, "connection"), ["alice"]);
    let table = place.run(&["connections"]).await.expect(0).out;
    assert!(table.lines().nth(2).unwrap().contains("1000 bye"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_any_moment_is_the_fold_of_the_events_up_to_then() {
    let world = World::new();
    let data = world.folder().await;
    let runtime = hold(data.path(), &Faults::default()).await;
    let place = Place::folder(data.path());
    // Before everything, at an event, between two, at and after ends, after everything.
    for millis in [-1, 0, 1, 60_000, 90_000, 120_000, 8 * 60_000 - 1, 8 * 60_000, 9 * 60_000, 60 * 60_000] {
        let until = world.begin + TimeDelta::milliseconds(millis);
        let expected = connections::fold(world.events.iter().filter(|event| event.at <= until));
        let at = time::to_text(until);
        let rows = place.rows(&["connections", "--at", &at]).await;
        let mut names = column(&rows, "connection");
        names.sort();
        assert_eq!(names, expected.keys().map(ToString::to_string).collect::<Vec<_>>(), "at {at}");
        for row in &rows {
            let fold = &expected[&id(row["connection"].as_str().unwrap())];
            assert_eq!(row["state"] == "live", fold.is_live(), "{row} at {at}");
            assert_eq!(row["ended_at"], json!(fold.ended_at().map(time::to_text)), "at {at}");
        }
        // The same table every time: what is too much is taken away again.
        replayed(&place, &["--at", &at, "--into", "then"]).await;
        let client = aws_sdk_dynamodb::Client::new(runtime.sdk());
        let view = projections::ConnectionsView::new(client, "then", events::Timing::default().view_retention);
        let written: Vec<_> = view.all().await.unwrap().into_iter().map(|stored| stored.row).collect();
        let mut written: Vec<_> = written.into_iter().map(|row| (row.connection.clone(), row)).collect();
        written.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(written, expected.into_iter().collect::<Vec<_>>(), "at {at}");
    }
    assert_eq!(place.rows(&["connections"]).await, Vec::<Value>::new(), "the live view was left alone");
    let live = place.run(&["replay", "--at", "-1h", "--into", CONNECTIONS]).await.one_line(1);
    assert!(live.contains("not into the live view"), "{live}");
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_puts_right_what_somebody_did_to_the_view_and_verify_says_what_and_why() {
    let world = World::new();
    let data = world.folder().await;
    let runtime = hold(data.path(), &Faults::default()).await;
    let place = endpoint(data.path());
    let missing = place.run(&["verify", "--format", "jsonl"]).await.expect(1);
    assert_eq!(column(&missing.rows(), "row"), ["missing"; 3]);
    let dry = replayed(&place, &["--dry-run"]).await;
    assert_eq!((&dry["rows_written"], &dry["dry_run"]), (&json!(3), &json!(true)));
    place.run(&["verify"]).await.expect(1);
    replayed(&place, &[]).await;
    place.run(&["verify"]).await.expect(0);
    assert_eq!(replayed(&place, &[]).await["rows_written"], 0, "there is nothing left to do");

    let client = aws_sdk_dynamodb::Client::new(runtime.sdk());
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let row = |name: &str, extra: &[(&str, &str)]| {
        let put = client.put_item().table_name(CONNECTIONS).item("connection", text(name));
        extra.iter().fold(put, |put, (name, value)| put.item(*name, text(value))).send()
    };
    client.delete_item().table_name(CONNECTIONS).key("connection", text("bob")).send().await.unwrap();
    // Added; one of them under a name that no connection has, another as one who is there and past its time.
    row("mallory", &[("opened_at", "2026-01-01T00:00:00.000Z"), ("live", "0")]).await.unwrap();
    row("no connection's name!", &[("live", "1")]).await.unwrap();
    let update = client.update_item().table_name(CONNECTIONS).key("connection", text("eve"));
    let values = [(":live", text("2")), (":past", AttributeValue::N("1".into()))];
    let update = update.update_expression("SET live = :live, expires_at = :past");
    update.set_expression_attribute_values(Some(values.map(|(k, v)| (k.to_owned(), v)).into())).send().await.unwrap();
    // Altered: alice has ended, carol is back.
    row("alice", &[("opened_at", &world.at(0)), ("closed_at", &world.at(1))]).await.unwrap();
    row("carol", &[("opened_at", &world.at(2)), ("live", "3")]).await.unwrap();

    let said = place.run(&["verify", "--format", "jsonl"]).await.expect(1);
    let rows = said.rows();
    let mut found: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["connection"].as_str().unwrap(), row["row"].as_str().unwrap())).collect();
    found.sort_unstable();
    let expected = [
        ("alice", "different"),
        ("bob", "missing"),
        ("carol", "different"),
        ("eve", "extra"),
        ("mallory", "extra"),
        ("no connection's name!", "extra"),
    ];
    assert_eq!(found, expected);
    let of = |name: &str| rows.iter().find(|row| row["connection"] == name).unwrap();
    let lost = world.events.last().unwrap();
    assert_eq!(of("carol")["decided_by"], json!({"id": lost.id, "type": "ConnectionLost"}));
    assert_eq!(of("mallory")["decided_by"], Value::Null);
    let live = json!({"name": "live", "is": "3", "should_be": null});
    assert!(of("carol")["attributes"].as_array().unwrap().contains(&live), "{}", of("carol"));
    let table = place.run(&["verify"]).await.expect(1).out;
    assert!(table.contains("live is 3, should be nothing") && table.contains("no event"), "{table}");

    assert_eq!(replayed(&place, &[]).await["rows_written"], 6);
    place.run(&["verify"]).await.expect(0);
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_past_their_time_are_neither_written_nor_judged_and_the_last_day_of_one_is() {
    let now = time::now();
    let life = |name: &str, ended: TimeDelta| {
        let connection = id(name);
        [opened(&connection, now - ended - TimeDelta::hours(1)), closed(&connection, now - ended)]
    };
    let week = TimeDelta::days(7);
    let over = life("over", week + TimeDelta::minutes(1));
    let last_hours = life("last-hours", week - TimeDelta::hours(2));
    let data = folder([over, last_hours].concat()).await;
    let place = Place::folder(data.path());
    assert_eq!(replayed(&place, &[]).await["rows_written"], 1);
    assert_eq!(column(&place.rows(&["connections"]).await, "connection"), ["last-hours"]);
    place.run(&["verify"]).await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named_by_replay_and_verify_and_takes_nothing_from_the_view() {
    let world = World::new();
    let data = world.folder().await;
    let place = Place::folder(data.path());
    replayed(&place, &[]).await;
    {
        let archive = Archive::open(data.path()).await.unwrap();
        // Alice's opening is torn, and there is a later version's event of bob's, and one of a connection in a strange stream.
        put(archive.sdk(), corrupt(&world.events[0])).await;
        let mut later = closed(&world.bob, world.begin);
        later.id = events::EventId::of_fact(&later.stream, "ConnectionPraised", None);
        put(archive.sdk(), unknown(&later)).await;
        let strange = opened(&id("strange"), world.begin);
        let strange = events::RecordedEvent { stream: "somewhere#else".to_owned().into(), ..strange };
        put(archive.sdk(), events::to_item(&strange).unwrap()).await;
    }
    for (args, code) in [(&["verify"][..], 2), (&["replay"], 2), (&["verify"], 2), (&["replay", "--dry-run"], 2)] {
        let Said { code: ended, err, .. } = place.run(args).await;
        assert_eq!(ended, Some(code), "{args:?}: {err}");
        let summary = "skipped 1 events of unknown type (ConnectionPraised version 1: 1) and 2 that cannot be decoded";
        assert!(err.contains(summary), "{args:?}: {err}");
        assert!(err.contains(&world.events[0].id.to_string()), "the torn one is named: {err}");
        assert!(err.contains("its stream names no connection"), "{err}");
    }
    let rows = place.rows(&["connections"]).await;
    assert_eq!(column(&rows, "state"), ["live", "closed", "lost"], "alice is there, whatever became of her event");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clocks_ahead_recorded_is_replayed_and_not_judged_too_early() {
    let ahead = opened(&id("ahead"), time::now() + TimeDelta::seconds(30));
    let young = opened(&id("young"), time::now() - TimeDelta::seconds(5));
    let data = folder([ahead, young]).await;
    let place = Place::folder(data.path());
    place.run(&["verify"]).await.expect(0);
    assert_eq!(replayed(&place, &[]).await["rows_written"], 2);
    place.run(&["verify"]).await.expect(0);
    let archive = Archive::open(data.path()).await.unwrap();
    let client = aws_sdk_dynamodb::Client::new(archive.sdk());
    let view = projections::ConnectionsView::new(client, CONNECTIONS, events::Timing::default().view_retention);
    assert!(view.all().await.unwrap().iter().all(|row| row.live.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_into_another_table_makes_it_like_the_live_one_and_a_table_of_another_kind_is_refused() {
    let world = World::new();
    let data = world.folder().await;
    let runtime = hold(data.path(), &Faults::default()).await;
    let place = Place::folder(data.path());
    let missing = place.run(&["replay", "--into", "green", "--dry-run"]).await.one_line(1);
    assert!(missing.contains("there is no table green"), "{missing}");
    place.run(&["verify", "--table", "green"]).await.one_line(2);
    // Two at once: one of them creates it.
    let (one, other) =
        tokio::join!(place.run(&["replay", "--into", "green"]), place.run(&["replay", "--into", "green"]));
    assert!((one.code, other.code) == (Some(0), Some(0)), "{one:?} {other:?}");
    place.run(&["verify", "--table", "green"]).await.expect(0);
    let client = aws_sdk_dynamodb::Client::new(runtime.sdk());
    let describe = async |table: &str| client.describe_table().table_name(table).send().await.unwrap().table.unwrap();
    let (green, live) = (describe("green").await, describe(CONNECTIONS).await);
    assert_eq!(green.key_schema, live.key_schema);
    let indexes = |table: &aws_sdk_dynamodb::types::TableDescription| {
        let indexes = table.global_secondary_indexes.clone().unwrap_or_default();
        indexes.into_iter().map(|i| (i.index_name, i.key_schema, i.projection)).collect::<Vec<_>>()
    };
    assert_eq!(indexes(&green), indexes(&live));
    let ttl =
        client.describe_time_to_live().table_name("green").send().await.unwrap().time_to_live_description.unwrap();
    assert_eq!(ttl.attribute_name.as_deref(), Some("expires_at"));
    let wrong = place.run(&["replay", "--into", local::EVENTS]).await.one_line(1);
    assert!(wrong.contains("is no view of connections"), "{wrong}");
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_publishes_nothing_and_pushes_nothing() {
    let world = World::new();
    let data = world.folder().await;
    let faults = Faults::default();
    let runtime = hold(data.path(), &faults).await;
    let published = faults.inject("PutEvents", "", Effect::Refuse(500, "InternalFailure"), 1000);
    let pushed = faults.inject("PostToConnection", "", Effect::Refuse(500, "InternalFailure"), 1000);
    let place = Place::folder(data.path());
    for args in
        [&["replay"][..], &["replay", "--into", "green"], &["replay", "--at", "-1h", "--into", "then"], &["verify"]]
    {
        place.run(args).await.expect(0);
    }
    runtime.idle().await;
    assert_eq!((published.times(), pushed.times()), (0, 0));
    // The counting works: what is appended now is published.
    runtime.log().append(&opened(&id("dave"), time::now())).await.unwrap();
    published.reached(1).await;
    faults.clear();
    runtime.idle().await;
    runtime.stop().await;
}
