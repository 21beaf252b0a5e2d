//! What must hold whatever happens: replays that are cut off, doubled, or run while people come and go.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use chrono::TimeDelta;
use events::{ConnectionId, EventLog, RecordedEvent, Timing, time};
use futures::{StreamExt, future::join_all, stream};
use local::{Effect, Faults, Runtime};
use projections::{
    ConnectionsView, Row, connections,
    reconcile::{Finding, Mode, Reconciliation, Scope},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tests::{Client, Generator};

use crate::{
    command::Place,
    world::{World, folder, hold},
};

type Rows = BTreeMap<ConnectionId, Row>;

async fn rows(view: &ConnectionsView) -> Rows {
    view.all().await.unwrap().into_iter().map(|stored| (stored.row.connection.clone(), stored.row)).collect()
}

fn view(runtime: &Runtime, table: &str) -> ConnectionsView {
    let client = aws_sdk_dynamodb::Client::new(runtime.sdk());
    ConnectionsView::new(client, table, Timing::default().view_retention)
}

async fn whole_log(log: &EventLog) -> Vec<RecordedEvent> {
    let mut reader = log.scan(0, 1);
    let mut events = Vec::new();
    while let Some(stored) = reader.next().await.unwrap() {
        events.push(stored.unwrap());
    }
    events
}

/// What verify would say if nothing were too young to be judged.
async fn differences(runtime: &Runtime) -> Vec<Finding> {
    let (log, view) = (runtime.log(), runtime.view());
    let scope = Scope::everything(Duration::ZERO);
    let reconciliation = Reconciliation { log: &log, view: &view, scope, mode: Mode::Compare, segments: 1 };
    let mut found = Vec::new();
    reconciliation.run(|finding| found.push(finding), |_| {}).await.unwrap();
    found
}

/// Lives of connections as a seed makes them, in any order of arrival, some twice.
fn arrivals() -> impl Strategy<Value = Vec<RecordedEvent>> {
    any::<u64>().prop_flat_map(|seed| {
        let history = Generator::new(seed, time::now() - TimeDelta::hours(3), TimeDelta::seconds(5));
        let lives = history.take(400).filter(|event| event.stream.as_str().starts_with("connection#"));
        let lives: Vec<_> = lives.take(60).collect();
        let again: Vec<_> = lives.iter().step_by(3).cloned().collect();
        Just([lives, again].concat()).prop_shuffle()
    })
}

async fn append(log: &EventLog, events: &[RecordedEvent]) {
    stream::iter(events).for_each_concurrent(16, async |event| drop(log.append(event).await.unwrap())).await;
}

#[test]
fn whatever_happened_a_replay_is_the_view_made_live_is_the_fold_of_the_log() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let (data, runtime) = tokio.block_on(async {
        let data = folder([]).await;
        let runtime = hold(data.path(), &Faults::default()).await;
        (data, runtime)
    });
    let place = Place::folder(data.path());
    let cases = std::sync::atomic::AtomicUsize::new(0);
    let mut runner = TestRunner::new(Config { cases: 4, failure_persistence: None, ..Config::default() });
    let result = runner.run(&arrivals(), |arrivals| {
        let fresh = format!("fresh-{}", cases.fetch_add(1, Ordering::SeqCst));
        tokio.block_on(async {
            let (log, half) = (runtime.log(), arrivals.len() / 2);
            append(&log, &arrivals[..half]).await;
            // One into the live view and one beside it, both cut off at some point or other while more arrives.
            let doomed = [place.spawn(&["replay"]), place.spawn(&["replay", "--into", &fresh])];
            append(&log, &arrivals[half..]).await;
            for mut doomed in doomed {
                doomed.child.start_kill().unwrap();
                doomed.code().await;
            }
            runtime.idle().await;
            let fold = connections::fold(&whole_log(&log).await);
            prop_assert_eq!(&rows(&runtime.view()).await, &fold, "live");
            place.run(&["replay", "--into", &fresh]).await.expect(0);
            prop_assert_eq!(&rows(&view(&runtime, &fresh)).await, &fold, "replayed");
            Ok(())
        })
    });
    tokio.block_on(runtime.stop());
    result.unwrap();
}

/// The replay stops at the row of a connection, with others written; what ends it is up to the signal.
async fn cut_off_by(signal: &str, code: Option<i32>) {
    let history = Generator::new(11, time::now() - TimeDelta::hours(3), TimeDelta::seconds(1)).take(3000);
    let lives: Vec<_> = history.filter(|event| event.stream.as_str().starts_with("connection#")).collect();
    let all = connections::fold(&lives);
    let data = folder(lives).await;
    let faults = Faults::default();
    let runtime = hold(data.path(), &faults).await;
    let place = Place::folder(data.path());
    let late = all.keys().nth(all.len() / 2).unwrap();
    let stuck = faults.inject("UpdateItem", late.as_str(), Effect::Ignore, 1);
    let there = tempfile::tempdir().unwrap();
    let output = there.path().join("report");
    let mut replay = place.spawn(&["replay", "--output", output.to_str().unwrap()]);
    stuck.reached(1).await;
    replay.signal(signal);
    assert_eq!(replay.code().await, code);
    if code.is_some() {
        assert_eq!(std::fs::read_dir(there.path()).unwrap().count(), 0, "no half of a file, nothing beside it");
    }
    let written = rows(&runtime.view()).await;
    assert!(!written.is_empty() && written.len() < all.len(), "{} of {} rows", written.len(), all.len());
    assert!(written.iter().all(|(name, row)| all[name] == *row), "what is there is right");

    faults.clear();
    place.run(&["verify"]).await.expect(1);
    place.run(&["replay", "--output", output.to_str().unwrap()]).await.expect(0);
    assert!(output.exists());
    place.run(&["verify"]).await.expect(0);
    assert_eq!(rows(&runtime.view()).await, all);
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_ends_at_once_with_ctrl_c_and_the_next_one_completes_it() {
    cut_off_by("-INT", Some(130)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_asked_to_end_does() {
    cut_off_by("-TERM", Some(143)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_half_way_is_completed_by_the_next_one() {
    cut_off_by("-KILL", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_folder_that_nobody_holds_commands_wait_for_one_another() {
    let data = World::new().folder().await;
    let place = Place::folder(data.path());
    for said in join_all((0..4).map(|_| place.run(&["replay"]))).await {
        let said = said.expect(0);
        assert!(said.err.is_empty() || said.err.contains("; waiting for it"), "{said:?}");
    }
    place.run(&["verify"]).await.expect(0);
}

/// People who stay are watched all the while: no replay may ever show one of them as ended, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn while_people_come_and_go_replays_at_once_and_killed_ones_harm_nobody() {
    let history = Generator::new(5, time::now() - TimeDelta::hours(30), TimeDelta::seconds(5)).take(10_000);
    let data = folder(history).await;
    let runtime = hold(data.path(), &Faults::default()).await;
    let (url, place, view) = (runtime.url(), Place::folder(data.path()), runtime.view());
    let staying = join_all((0..10).map(|_| Client::welcomed(&url))).await;
    let done = AtomicBool::new(false);

    let replays = async {
        for _ in 0..2 {
            let mut doomed = place.spawn(&["replay"]);
            let (one, other) = tokio::join!(place.run(&["replay"]), place.run(&["replay"]));
            assert!((one.code, other.code) == (Some(0), Some(0)), "{one:?} {other:?}");
            doomed.child.start_kill().unwrap();
            doomed.code().await;
        }
        done.store(true, Ordering::SeqCst);
    };
    let come_and_go = join_all((0..40).map(async |_| {
        while !done.load(Ordering::SeqCst) {
            let mut client = Client::welcomed(&url).await;
            client.list(400).await;
            client.close(None).await;
        }
    }));
    let watch = async {
        while !done.load(Ordering::SeqCst) {
            for client in &staying {
                let row = view.get(&client.id.parse().unwrap()).await.unwrap();
                let row = row.unwrap_or_else(|| panic!("{} is here and has no row", client.id));
                assert!(row.live.is_some() && row.row.ended_at().is_none(), "{} is here: {row:?}", client.id);
            }
        }
    };
    tokio::join!(replays, come_and_go, watch);

    runtime.idle().await;
    place.run(&["verify"]).await.expect(0);
    assert_eq!(differences(&runtime).await, [], "also of what is too young for verify");
    let fold = connections::fold(&whole_log(&runtime.log()).await);
    assert_eq!(rows(&runtime.view()).await, fold);
    assert!(fold.len() > 60, "{} connections", fold.len());
    drop(staying);
    runtime.stop().await;
}
