//! `webchat history`: what an auditor asks, and what is answered.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use events::{RecordedEvent, time};
use local::{Archive, Faults};
use serde_json::{Value, json};

use crate::{
    command::{Place, Said},
    world::{EVIL, World, broadcast, chat, corrupt, endpoint, folder, hold, id, opened, put, unknown},
};

fn ids(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn ids_of<'a>(events: impl IntoIterator<Item = &'a RecordedEvent>) -> Vec<String> {
    events.into_iter().map(|event| event.id.to_string()).collect()
}

/// Those that history shows: outcomes stand beside their message.
fn shown(world: &World) -> Vec<RecordedEvent> {
    let outcome = |event: &RecordedEvent| event.stream.as_str().starts_with("delivery#");
    world.events.iter().filter(|event| !outcome(event)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_said_what_to_whom_and_did_it_arrive_is_one_command_wherever_the_data_is() {
    let world = World::new();
    let data = world.folder().await;
    let questions: Vec<Vec<String>> = [
        "history",
        "history --with-deliveries",
        "history --connection bob",
        "history --conversation lobby",
        "history --conversation alice~bob --with-deliveries",
        "history --text HOME",
        "history --limit 2",
        "connections --at -1h",
        "undelivered",
        "parked list",
        "verify --seals",
    ]
    .iter()
    .map(|line| line.split(' ').map(str::to_owned).collect())
    .collect();
    let ask = async |place: &Place| {
        let mut answers = Vec::new();
        for question in &questions {
            for format in ["table", "csv", "jsonl"] {
                let mut args: Vec<&str> = question.iter().map(String::as_str).collect();
                args.extend(["--format", format]);
                answers.push(place.run(&args).await.expect(0).out);
            }
        }
        answers
    };
    let alone = ask(&Place::folder(data.path())).await;
    assert_eq!(ask(&Place::folder(data.path()).without_aws()).await, alone, "a folder needs no credentials");
    let runtime = hold(data.path(), &Faults::default()).await;
    assert_eq!(ask(&Place::folder(data.path())).await, alone, "through the runtime that holds the folder");
    assert_eq!(ask(&endpoint(data.path())).await, alone, "at an endpoint by its URL");
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_every_event_in_order_in_every_format() {
    let world = World::new();
    let data = world.folder().await;
    let place = Place::folder(data.path());
    let expected = shown(&world);

    let rows = place.rows(&["history"]).await;
    assert_eq!(ids(&rows), ids_of(&expected));
    let yo = rows.iter().find(|row| row["id"] == json!(world.yo)).unwrap();
    let Value::Object(yo) = yo else { panic!("{yo}") };
    assert_eq!(yo["type"], "MessageSent");
    assert_eq!(yo["data"], json!({"from": "bob", "to": "alice", "text": "Yo! 🙂", "receipt": true}));
    assert_eq!(yo["stream"], "conversation#alice~bob");
    assert!(yo["at"].as_str().unwrap().ends_with('Z'), "times have a zone");

    let records = place.run(&["history", "--format", "csv", "--with-deliveries"]).await.expect(0).records();
    assert_eq!(records.iter().map(|r| r["id"].clone()).collect::<Vec<_>>(), ids_of(&expected));
    let outcomes: Vec<(&str, &str)> = records
        .iter()
        .filter(|record| record["event"].starts_with("Message"))
        .map(|record| (record["text"].as_str(), record["outcome"].as_str()))
        .collect();
    let heard = "page 0.1: 3 delivered, 0 gone, 0 failed";
    let expected = [
        ("Anybody home?", heard),
        ("Yo! 🙂", "delivered"),
        (EVIL, "undeliverable: gone"),
        ("lost in space", "-"),
        ("Nobody hears me", "-"),
    ];
    assert_eq!(outcomes, expected, "a program gets the very text");

    let table = place.run(&["history"]).await.expect(0).out;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 1 + shown(&world).len(), "one line each:\n{table}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0]), ["at", "event", "from", "to", "id", "text"]);
    assert_eq!(words(lines[1])[1..], ["ConnectionOpened", "alice", &ids_of(&world.events)[0], "192.0.2.1", "wscat"]);
    assert!(lines[4].ends_with("Anybody home?") && lines[4].contains(" everyone "), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_message_says_can_do_nothing_to_a_terminal() {
    let world = World::new();
    let data = world.folder().await;
    let place = Place::folder(data.path());
    for format in ["table", "jsonl"] {
        let said = place.run(&["history", "--with-deliveries", "--format", format]).await.expect(0).out;
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()) && !said.contains('\u{202e}'), "{said:?}");
        assert!(said.contains("evil"), "and is shown: {said}");
    }
    let rows = place.rows(&["history", "--message", &world.evil.to_string()]).await;
    assert_eq!(rows[0]["data"]["text"], EVIL, "JSON means what was said");
    // Errors repeat what they were given.
    let error = place.run(&["history", "--conversation", "lobby", "--output", "/nowhere\u{1b}[2J/file"]).await;
    assert!(!error.one_line(1).contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_narrowed_by_connection_conversation_message_text_time_and_number() {
    let world = World::new();
    let data = world.folder().await;
    let place = Place::folder(data.path());
    let all = shown(&world);
    let told = async |args: &[&str]| ids(&place.rows(&[&["history"], args].concat()).await);
    let of = |indexes: &[usize]| ids_of(indexes.iter().map(|index| &all[*index]));

    // alice 0, bob 1, carol 2, hello 3, yo 4, evil 5, lost 6, nobody 7, bob closed 8, carol lost 9
    assert_eq!(told(&["--connection", "bob"]).await, of(&[1, 3, 4, 5, 7, 8]));
    assert_eq!(told(&["--connection", "carol"]).await, of(&[2, 3, 5, 6, 7, 9]));
    assert_eq!(told(&["--connection", "alice"]).await, of(&[0, 3, 4, 6, 7]));
    assert_eq!(told(&["--connection", "bob", "--since", &world.at(4), "--until", &world.at(7)]).await, of(&[4, 5]));
    assert_eq!(told(&["--conversation", "lobby"]).await, of(&[3, 7]));
    assert_eq!(told(&["--conversation", "lobby", "--since", &world.at(4)]).await, of(&[7]));
    assert_eq!(told(&["--conversation", "alice~bob"]).await, of(&[4]));
    assert_eq!(told(&["--conversation", "bob~alice"]).await, of(&[4]), "whichever is named first");
    assert_eq!(told(&["--message", &world.yo.to_string()]).await, of(&[4]));
    assert_eq!(told(&["--text", "HOME"]).await, of(&[3]), "whatever the case");
    assert_eq!(told(&["--limit", "3"]).await, of(&[0, 1, 2]));
    assert_eq!(told(&["--limit", "3", "--with-deliveries"]).await, of(&[0, 1, 2]));
    assert_eq!(told(&["--since", &world.at(3), "--until", &world.at(5)]).await, of(&[3, 4]), "the end is not included");
    assert_eq!(told(&["--since", "-1h"]).await, Vec::<String>::new());
    assert_eq!(told(&["--since", "-100d", "--until", "2999-01-01"]).await, of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));

    let with = place.rows(&["history", "--message", &world.evil.to_string()]).await;
    assert_eq!(with[0]["deliveries"][0]["type"], "MessageUndeliverable");
    assert_eq!(with[0]["deliveries"][0]["data"]["reason"], "gone");
    let nothing = place.run(&["history", "--since", "-1h"]).await.expect(0);
    assert!(nothing.err.starts_with("nothing in the log from "), "it says where it looked: {}", nothing.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_was_read_and_that_was_little() {
    let world = World::new();
    let data = world.folder().await;
    let place = Place::folder(data.path());
    let explained = async |args: &[&str]| place.run(&[&["history", "--explain"], args].concat()).await.expect(0).err;
    let message = explained(&["--message", &world.yo.to_string()]).await;
    assert!(message.contains(&format!("read the log at {}", world.at(4))), "{message}");
    assert!(
        message.contains("read the deliveries of 1 messages\n1 told of 2 items, 2 requests, 1.5 read units"),
        "{message}"
    );
    let lobby = explained(&["--conversation", "lobby"]).await;
    assert!(
        lobby.contains("read stream conversation#lobby from ") && lobby.contains("2 told of 2 items, 1 requests"),
        "{lobby}"
    );
    let bob = explained(&["--connection", "bob"]).await;
    assert!(bob.contains("read stream connection#bob") && bob.contains("read the log from "), "{bob}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_understood_is_one_clear_line() {
    let world = World::new();
    let data = world.folder().await;
    let place = Place::folder(data.path());
    let refused = async |args: &[&str]| place.run(args).await.one_line(1);
    let message = "018dc034-cec6-70b8-b8ff-234df63594eb";
    assert!(refused(&["history", "--message", message]).await.contains(&format!("there is no message {message}")));
    let fact = world.events[0].id.to_string();
    assert!(refused(&["history", "--message", &fact]).await.contains("is no id of a message"));
    assert!(refused(&["history", "--connection", "nobody"]).await.contains("there is no connection nobody"));
    let nowhere = Place::folder(&data.path().join("nowhere"));
    assert!(nowhere.run(&["history"]).await.one_line(1).contains("there is no data in"));
    assert!(!data.path().join("nowhere").exists(), "asking creates nothing");

    // What clap says: exit code 2, and no long story.
    for args in [
        &["history", "--since", "yesterday"][..],
        &["history", "--limit", "0"],
        &["history", "--conversation", "somewhere"],
        &["history", "--message", "x"],
        &["history", "--connection", "a b"],
        &["history", "--follow", "--until", "-1h"],
        &["history", "--format", "xml"],
        &["replay", "--at", "-1h"],
        &["redeliver"],
        &["seal", "--day", "yesterday"],
    ] {
        let said = place.run(args).await.expect(2);
        assert!(said.err.starts_with("error: "), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_file_is_there_whole_or_not_at_all() {
    let world = World::new();
    let data = world.folder().await;
    let place = Place::folder(data.path());
    let there = tempfile::tempdir().unwrap();
    let file = there.path().join("history.jsonl");
    let path = file.to_str().unwrap();
    let left = || std::fs::read_dir(there.path()).unwrap().count();

    let to_stdout = place.run(&["history", "--format", "jsonl"]).await.expect(0).out;
    let to_file = place.run(&["history", "--format", "jsonl", "--output", path]).await.expect(0);
    assert_eq!((to_file.out.as_str(), std::fs::read_to_string(&file).unwrap()), ("", to_stdout.clone()));

    // One that fails leaves what was there before, and nothing beside it.
    place.run(&["history", "--connection", "nobody", "--output", path]).await.one_line(1);
    assert_eq!((std::fs::read_to_string(&file).unwrap(), left()), (to_stdout, 1));
    let missing = there.path().join("no/such/folder");
    let error = place.run(&["history", "--output", missing.to_str().unwrap()]).await.one_line(1);
    assert!(error.contains("--output") && error.contains("no/such/folder"), "{error}");
    assert_eq!(left(), 1);
    let nothing = place.run(&["history", "--since", "-1h", "--format", "csv"]).await.expect(0).out;
    assert_eq!(nothing, "at,event,from,to,id,text\n", "programs look for the header");
}

/// As `webchat history | head -1`.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_has_had_enough_is_no_error() {
    let begin = time::now() - TimeDelta::hours(2);
    let many = (0..3000).map(|n| broadcast(&id("alice"), &format!("message {n}"), begin + TimeDelta::milliseconds(n)));
    let data = folder(many).await;
    let mut running = Place::folder(data.path()).spawn(&["history"]);
    assert!(running.line().await.starts_with("at "));
    assert_eq!(running.close().await, (Some(0), String::new()));
}

fn at(day: &str, time: &str) -> DateTime<Utc> {
    let time: NaiveTime = time.parse().unwrap();
    day.parse::<chrono::NaiveDate>().unwrap().and_time(time).and_utc()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_days_years_empty_days_and_leap_seconds_neighbours_history_is_complete_and_in_order() {
    let mut events = Vec::new();
    let times = [
        ("2015-12-31", "23:59:59.999"),
        ("2016-01-01", "00:00:00"),
        ("2016-02-29", "12:00:00"),
        ("2016-03-01", "00:00:00"),
        ("2016-03-03", "00:00:00"),     // with an empty day before it
        ("2016-12-31", "23:59:59.999"), // with nine empty months before it; the leap second itself is no time of ours
        ("2017-01-01", "00:00:00"),
        ("2017-01-01", "00:00:00.001"),
    ];
    for (day, time) in times {
        // Enough at each moment to be in every shard, and in one of them alone at the next: shards out of step.
        let all = (0..40).map(|n| broadcast(&id("alice"), &format!("{n}"), at(day, time)));
        events.extend(all.clone());
        let more = (40..400).map(|n| broadcast(&id("alice"), &format!("{n}"), at(day, time)));
        events.extend(more.filter(|event| event.id.shard(8) == 3));
    }
    let data = folder(events.iter().rev().cloned()).await;
    let place = Place::folder(data.path());
    events.sort_by_key(|event| (event.at, event.id));
    let told = |since: &'static str, until: &'static str| {
        let place = place.clone();
        async move { ids(&place.rows(&["history", "--since", since, "--until", until]).await) }
    };
    assert_eq!(told("2015-12-01", "2017-02-01").await, ids_of(&events));
    let of = |since: DateTime<Utc>, until: DateTime<Utc>| {
        ids_of(events.iter().filter(|event| event.at >= since && event.at < until))
    };
    for (since, until) in [
        ("2016-12-31T23:59:59.999Z", "2017-01-01"),
        ("2017-01-01", "2017-01-01T00:00:00.001Z"),
        ("2017-01-01T01:00:00+01:00", "2017-01-02"),
        ("2015-12-31", "2016-01-01"),
        ("2016-01-01", "2016-03-01"),
        ("2016-03-01", "2016-03-04"),
        ("2016-03-02", "2016-03-03"),
        ("2016-03-03", "2016-03-02"),
    ] {
        let parse = |text: &str| text.parse::<DateTime<Utc>>().unwrap_or_else(|_| at(text, "00:00:00"));
        assert_eq!(told(since, until).await, of(parse(since), parse(until)), "{since} to {until}");
    }
    let leap = told("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.001Z").await;
    assert_eq!(
        leap,
        of(at("2017-01-01", "00:00:00"), at("2017-01-01", "00:00:00.001")),
        "the leap second is before midnight"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named_and_counted_and_the_rest_is_told() {
    let world = World::new();
    let data = world.folder().await;
    {
        let archive = Archive::open(data.path()).await.unwrap();
        for n in 0..12 {
            put(archive.sdk(), unknown(&broadcast(&world.bob, &format!("v{n}"), world.begin + TimeDelta::seconds(n))))
                .await;
        }
        put(archive.sdk(), corrupt(&broadcast(&world.bob, "\u{1b}[2J", world.begin))).await;
        // Of a message that is asked for by its id.
        put(archive.sdk(), corrupt(&chat(&world.bob, &world.alice, "torn", world.begin))).await;
    }
    let place = Place::folder(data.path());
    let said = place.run(&["history", "--format", "jsonl"]).await.expect(2);
    assert_eq!(ids(&said.rows()), ids_of(&shown(&world)), "the rest is told");
    let last = said.err.lines().last().unwrap();
    let summary =
        "webchat: skipped 12 events of unknown type (ConnectionPraised version 1: 12) and 2 that cannot be decoded";
    assert_eq!(last, summary);
    assert_eq!(said.err.lines().count(), 10 + 2 + 1, "some are named, all are counted:\n{}", said.err);
    assert!(
        said.err.contains("of stream conversation#lobby cannot be decoded: attribute `data` is missing"),
        "{}",
        said.err
    );
    let torn = chat(&world.bob, &world.alice, "torn", world.begin).id.to_string();
    let said = place.run(&["history", "--message", &torn]).await.expect(2);
    assert!(said.err.contains(&torn), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_shows_what_comes_marks_what_comes_late_and_ends_with_ctrl_c() {
    let data = folder([opened(&id("alice"), time::now() - TimeDelta::minutes(10))]).await;
    let runtime = hold(data.path(), &Faults::default()).await;
    let log = runtime.log();
    let place = Place::folder(data.path());
    let mut follower = place.spawn(&["history", "--follow", "--since", "-1h", "--format", "jsonl"]);
    let mut filtered =
        place.spawn(&["history", "--follow", "--since", "-1h", "--conversation", "lobby", "--text", "TEA"]);
    let line =
        async |running: &mut crate::command::Running| -> Value { serde_json::from_str(&running.line().await).unwrap() };
    assert_eq!(line(&mut follower).await["stream"], "connection#alice", "first what is there");

    let (now, before) = (time::now(), time::now() - TimeDelta::seconds(20));
    let first = broadcast(&id("alice"), "on time", now);
    let late = broadcast(&id("alice"), "a host whose clock is behind had tea", before);
    let next = broadcast(&id("alice"), "on time again", now + TimeDelta::milliseconds(1));
    for (event, is_late) in [(&first, false), (&late, true), (&next, false)] {
        log.append(event).await.unwrap();
        let told = line(&mut follower).await;
        assert_eq!((&told["id"], told["late"] == true), (&json!(event.id), is_late), "{told}");
    }
    assert!(filtered.line().await.starts_with("at "), "a header");
    let tea = filtered.line().await;
    assert!(tea.ends_with("had tea") && tea.contains("MessageBroadcast"), "{tea}");
    for running in [&mut follower, &mut filtered] {
        running.signal("-INT");
        assert_eq!(running.code().await, Some(130));
    }
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_there_or_needs_a_region_is_one_line_and_no_difference() {
    let nowhere = Place::endpoint("http://127.0.0.1:9");
    let Said { code, out, err } = nowhere.run(&["history"]).await;
    assert_eq!((code, out.as_str(), err.lines().count()), (Some(1), "", 1), "{err}");
    assert!(err.contains("reading log of") && err.len() < 400, "{err}");
    let verify = nowhere.run(&["verify"]).await;
    assert_eq!(verify.code, Some(2), "a check that did not take place has found no difference: {verify:?}");
}
