//! How fast events are folded, replayed and read: `cargo bench -p tests --bench replay`, or `make bench`.
//!
//! Prints the machine, and for each size events a second (the median of several runs) and the peak of memory.
//! `WEBCHAT_BENCH_EVENTS=1000000` sets another size than 100,000; several are separated by commas. The peak of memory is a
//! process's and never goes down, so each figure is taken by a child: this program again. `WEBCHAT_BENCH_JSON` names a file
//! for scripts/bench.py.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a bench that cannot run says so by its panic

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use events::{EventLog, RecordedEvent, Timing, to_item};
use local::{Archive, CONNECTIONS, EVENTS};
use projections::{
    ConnectionsView, connections,
    reconcile::{Mode, Reconciliation, Scope},
};
use serde_json::{Value, json};
use tests::Generator;

/// As in `webchat`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of which the median counts.
const RUNS: usize = 5;
const SEED: u64 = 7;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, what, events, folder] = arguments.as_slice() {
        return child(what, events.parse().expect("a number of events"), Path::new(folder));
    }
    println!("machine: {}", tests::machine());
    println!("{:<46} {:>9} {:>9} {:>11} {:>9}", "median of 5", "events", "ms", "events/s", "peak MiB");
    let rows: Vec<Value> = sizes().into_iter().flat_map(bench).collect();
    if let Some(file) = std::env::var_os("WEBCHAT_BENCH_JSON") {
        let measured = json!({"machine": tests::machine(), "rows": rows});
        fs::write(file, measured.to_string()).expect("writing the JSON");
    }
}

fn sizes() -> Vec<usize> {
    let asked = std::env::var("WEBCHAT_BENCH_EVENTS").unwrap_or_else(|_| "100000".to_owned());
    asked.split(',').map(|size| size.trim().parse().expect("WEBCHAT_BENCH_EVENTS: numbers of events")).collect()
}

/// Measures one size; gives rows for the table of scripts/bench.py.
fn bench(events: usize) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder for the log");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let items = history(events).map(|event| to_item(&event).expect("an item"));
    runtime.block_on(Archive::load(folder.path(), EVENTS, items)).expect("loading the log");
    let mut rows = Vec::new();
    for what in WHAT {
        let mut runs: Vec<(Duration, u64)> = (0..RUNS).map(|_| run(what, events, folder.path())).collect();
        runs.sort();
        let (took, _) = runs[RUNS / 2];
        let peak = runs.iter().map(|(_, peak)| peak).max().unwrap_or(&0);
        let rate = events as f64 / took.as_secs_f64();
        println!("{what:<46} {events:>9} {:>9} {rate:>11.0} {:>9}", took.as_millis(), peak / 1024);
        let rates = |index: usize| (events as f64 / runs[index].0.as_secs_f64()) as u64;
        let least = TARGETS.iter().find_map(|(target, least)| (*target == what).then_some(*least));
        rows.push(json!({
            "name": format!("{what}, {events} events"),
            "before": (what == FOLD).then_some(BEFORE),
            "value": rate as u64,
            "unit": "events/s",
            "spread": format!("{}–{}", rates(RUNS - 1), rates(0)),
            "target": least.map(|least| format!("≥ {least:.0} events/s")),
            "meets": least.map(|least| rate >= least),
            "note": null,
        }));
    }
    rows
}

const FOLD: &str = "pure fold of events in memory";
const FILL: &str = "replay into an empty view";
const REPLAY: &str = "replay into a view that is as it should be";
const HISTORY: &str = "history of everything, as JSON lines";
const WHAT: [&str; 4] = [FOLD, FILL, REPLAY, HISTORY];
/// Events a second to reach.
const TARGETS: [(&str, f64); 2] = [(FOLD, 3e6), (REPLAY, 100e3)];
/// Published for the aggregate replay of a well-known event store.
const BEFORE: &str = "11.8k events/s";

/// One run in a child: how long it took, and its peak of memory in KiB.
fn run(what: &str, events: usize, folder: &Path) -> (Duration, u64) {
    let program = std::env::current_exe().expect("this program");
    let child = Command::new(program).args([what, &events.to_string()]).arg(folder).stderr(Stdio::inherit()).output();
    let said = String::from_utf8(child.expect("a child").stdout).expect("text");
    let numbers: Vec<u64> = said.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    (Duration::from_micros(numbers[0]), numbers[1])
}

fn child(what: &str, events: usize, folder: &Path) {
    let took = if what == FOLD {
        fold(events)
    } else {
        tokio::runtime::Runtime::new().unwrap().block_on(read(what, events, folder))
    };
    println!("{} {}", took.as_micros(), peak());
}

fn fold(events: usize) -> Duration {
    let events: Vec<RecordedEvent> = history(events).collect();
    let started = Instant::now();
    let rows = connections::fold(&events);
    let took = started.elapsed();
    assert!(!rows.is_empty());
    took
}

async fn read(what: &str, events: usize, folder: &Path) -> Duration {
    let archive = Archive::open(folder).await.expect("opening the log");
    let client = aws_sdk_dynamodb::Client::new(archive.sdk());
    let log = EventLog::new(client.clone(), EVENTS);
    if what == HISTORY {
        return tell(&log, events).await;
    }
    let view = ConnectionsView::new(client.clone(), CONNECTIONS, Timing::default().view_retention);
    if what == FILL {
        empty(&client).await;
    }
    let scope = Scope::everything(Duration::ZERO);
    let replay = Reconciliation { log: &log, view: &view, scope, mode: Mode::Repair, segments: 1 };
    let started = Instant::now();
    let report = replay.run(drop, |_| {}).await.expect("a replay");
    assert_eq!(report.events, events as u64);
    assert_eq!(report.differences, if what == FILL { report.connections } else { 0 });
    started.elapsed()
}

/// Removes every row.
async fn empty(client: &aws_sdk_dynamodb::Client) {
    let mut rows = client.scan().table_name(CONNECTIONS).limit(1000).into_paginator().items().send();
    while let Some(mut row) = rows.next().await.transpose().expect("a row") {
        let key = row.remove("connection").expect("a key");
        client.delete_item().table_name(CONNECTIONS).key("connection", key).send().await.expect("deleting a row");
    }
}

async fn tell(log: &EventLog, events: usize) -> Duration {
    let started = Instant::now();
    let mut reader = log.read_log(begin() - TimeDelta::days(1), begin() + TimeDelta::days(30));
    let (mut told, mut out) = (0, std::io::BufWriter::new(std::io::sink()));
    while let Some(stored) = reader.next().await.expect("reading the log") {
        let line = serde_json::to_string(&stored.expect("an event")).expect("JSON");
        writeln!(out, "{line}").expect("writing");
        told += 1;
    }
    assert_eq!(told, events);
    started.elapsed()
}

fn begin() -> DateTime<Utc> {
    Utc::now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc() - TimeDelta::days(5)
}

/// About four days of events, however many: so no row is past its time.
fn history(events: usize) -> impl Iterator<Item = RecordedEvent> {
    let pause = TimeDelta::days(4).num_milliseconds() * 2 / i64::try_from(events).expect("a number of events");
    Generator::new(SEED, begin(), TimeDelta::milliseconds(pause.max(1))).take(events)
}

fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
