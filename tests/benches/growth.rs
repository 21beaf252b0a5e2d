//! How cost grows: connect, list, broadcast and replay at 10², 10³, 10⁴ and 10⁵ connections or events.
//!
//! `cargo bench -p tests --bench growth` writes `target/bench/growth.json`, which `scripts/plots.py` draws. Processor time is
//! of the whole process: handler, SDK, local servers and store. Calls and units are what AWS would bill.
//! `WEBCHAT_BENCH_SIZES=100,1000` takes other sizes.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a bench that cannot run says so by its panic

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use events::{EventLog, Timing, conversation, time, to_item};
use handlers::{Function, Payload, Service, Settings};
use lambda_runtime::{Context, LambdaEvent};
use local::{Archive, CONNECTIONS, Data, EVENTS, Faults, Meter, Options, Runtime};
use projections::{
    ConnectionsView,
    notices::{Broadcast, Deliver, Notice, Said},
    reconcile::{Mode, Reconciliation, Scope},
};
use serde_json::{Value, json};
use tests::{
    Generator,
    audience::{self, answer_for_all, handshake, request},
    ledger::{Cost, Ledger},
};

/// Runs of which the cheapest counts: others only add what the machine did meanwhile.
const RUNS: usize = 3;
/// Operations of a run, if each takes about a millisecond.
const REPEATS: usize = 200;
/// What a curve may be off: a hundred times the rows are a level more of the store's trees, and fewer hits in its caches.
const GROWTH: f64 = 1.5;
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/growth.json");
/// Recipients of a page (`PAGE` of `handlers/src/fan_out.rs`).
const PAGE: usize = 500;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{:<18} {:>8} {:>12} {:>8} {:>8} {:>8}", "one", "at", "cpu ms", "calls", "writes", "reads");
    let mut points = Vec::new();
    for size in sizes() {
        runtime.block_on(size_of(size, &mut points));
    }
    let rows = CURVES.map(|curve| curve.row(&points));
    let whole = json!({"machine": machine(), "at": time::to_text(time::now()), "rows": rows, "points": points});
    let file = std::env::var_os("WEBCHAT_BENCH_JSON").map_or_else(|| PathBuf::from(FILE), PathBuf::from);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, serde_json::to_string_pretty(&whole).unwrap() + "\n").unwrap();
}

/// How a curve should look.
struct Curve {
    one: &'static str,
    of: &'static str,
    /// Whether it may grow with size, in proportion.
    linear: bool,
}

const CURVES: [Curve; 5] = [
    Curve { one: "connect", of: "connections", linear: false },
    Curve { one: "list of 100", of: "connections", linear: false },
    Curve { one: "broadcast, plan", of: "listeners", linear: true },
    Curve { one: "broadcast", of: "listeners", linear: true },
    Curve { one: "replay", of: "events", linear: true },
];

impl Curve {
    /// The largest size against a small one: of what is linear against 1,000, as below that what is fixed counts most.
    fn row(&self, points: &[Value]) -> Value {
        let smallest = if self.linear { 1000 } else { 0 };
        let mine = points.iter().filter(|point| point["one"] == self.one && point["at"].as_u64() >= Some(smallest));
        let cost = |point: &Value| {
            let (cpu, at) = (point["cpu_ms"].as_f64().unwrap(), point["at"].as_f64().unwrap());
            if self.linear { cpu / at } else { cpu }
        };
        let (mut all, each) = (mine.collect::<Vec<_>>(), if self.linear { ", for each" } else { "" });
        all.sort_by_key(|point| point["at"].as_u64());
        let [(small, least), (large, most)] = [all.first(), all.last()]
            .map(|point| point.map_or((0, f64::NAN), |point| (point["at"].as_u64().unwrap_or(0), cost(point))));
        let ratio = (most / least * 100.0).round() / 100.0;
        json!({
            "name": format!("growth: {} at {large} {} against {small}{each}", self.one, self.of), "before": null,
            "value": ratio, "unit": "×", "target": format!("≤ {GROWTH} ×"), "meets": ratio <= GROWTH,
        })
    }
}

fn sizes() -> Vec<usize> {
    let asked = std::env::var("WEBCHAT_BENCH_SIZES").unwrap_or_else(|_| "100,1000,10000,100000".to_owned());
    asked.split(',').map(|size| size.trim().parse().expect("WEBCHAT_BENCH_SIZES: numbers")).collect()
}

/// Every operation where so many connections are there, or so many events in the log.
async fn size_of(size: usize, points: &mut Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    audience::load(folder.path(), size).await.unwrap();
    load_events(folder.path(), size).await;
    let world = World::start(folder.path()).await;
    let from = audience::connection(0);
    let mut point = |name: &str, (cpu, cost): (Duration, Cost)| points.push(told(name, size, cpu, &cost));

    let list = world.service(Function::List);
    let asked = json!({"action": "list", "limit": 100});
    let listed = world.least(REPEATS, async || invoke(&list, Function::List, request("list", &from, &asked)).await);
    point("list of 100", listed.await);
    let repeats = (REPEATS * 100 / size).max(1);
    point("broadcast, plan", world.least(repeats, async || world.plan().await).await);
    point("broadcast", world.least((repeats / 10).max(1), async || world.broadcast(size).await).await);
    // Last, as each of them is one more to list and to reach.
    let connect = world.service(Function::Connect);
    let mut next = size;
    let opened = world.least(REPEATS, async || {
        next += 1;
        invoke(&connect, Function::Connect, handshake(&audience::connection(next))).await;
        world.runtime.idle().await;
    });
    point("connect", opened.await);
    world.runtime.stop().await;

    let log = tempfile::tempdir().unwrap();
    load_events(log.path(), size).await;
    let replayed = replay(log.path(), size).await;
    point("replay", (replayed, Cost::default()));
}

/// The runtime with its gateway answering for connections that have no sockets.
struct World {
    runtime: Runtime,
    /// With a bus that takes everything and delivers nothing, as one that does not exist.
    alone: Settings,
    ledger: Ledger,
}

impl World {
    async fn start(folder: &Path) -> World {
        let (faults, meter) = (Faults::default(), Meter::on());
        answer_for_all(&faults);
        // Neither sweeps nor a pace: what counts is processor time.
        let (sweep_interval, page_interval) = (Duration::from_secs(24 * 3600), Duration::ZERO);
        let timing = Timing { sweep_interval, page_interval, ..Timing::default() };
        let data = Data::Folder(folder.into());
        let options = Options { data, timing, faults, meter: meter.clone(), ..Options::default() };
        let runtime = Runtime::start(options).await.unwrap();
        let alone = Settings { bus: "nobody".to_owned(), ..runtime.settings().clone() };
        World { runtime, alone, ledger: Ledger::new(meter) }
    }

    fn service(&self, function: Function) -> Service {
        function.service(self.runtime.settings(), self.runtime.sdk())
    }

    /// The planner alone: what it publishes goes nowhere.
    async fn plan(&self) {
        let post = Function::Post.service(&self.alone, self.runtime.sdk());
        invoke(&post, Function::Post, serde_json::to_value(Notice::Broadcast(said())).unwrap()).await;
    }

    /// The planner, and every page it makes, one after the other.
    async fn broadcast(&self, audience: usize) {
        self.plan().await;
        if audience <= PAGE {
            return;
        }
        let post = Function::Post.service(&self.alone, self.runtime.sdk());
        for page in 0..audience.div_ceil(PAGE) {
            let connections = (page * PAGE..audience.min((page + 1) * PAGE)).map(audience::connection).collect();
            let deliver = Deliver { said: said().said, page: u32::try_from(page).unwrap(), attempt: 1, connections };
            invoke(&post, Function::Post, serde_json::to_value(Notice::Deliver(deliver)).unwrap()).await;
        }
    }

    /// The least processor time of one of `repeats`, and what one of them costs.
    async fn least(&self, repeats: usize, mut what: impl AsyncFnMut()) -> (Duration, Cost) {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let before = processor_time();
            for _ in 0..repeats {
                what().await;
            }
            runs.push((processor_time() - before) / u32::try_from(repeats).unwrap());
        }
        drop(self.ledger.take());
        what().await;
        (runs.into_iter().min().unwrap(), self.ledger.take())
    }
}

fn said() -> Broadcast {
    let from = audience::connection(0);
    let request = uuid::Uuid::new_v4().to_string();
    let said = conversation::broadcast(from.clone(), "Anybody home?".to_owned(), time::now(), &request).unwrap();
    Broadcast { said: Said { id: said.id, at: said.at, from, text: "Anybody home?".to_owned() }, resume: None }
}

async fn invoke(service: &Service, function: Function, event: Value) {
    let mut context = Context::default();
    context.request_id = uuid::Uuid::new_v4().to_string();
    let deadline = time::now() + function.timeout(&Timing::default());
    context.deadline = u64::try_from(deadline.timestamp_millis()).unwrap();
    let payload: Payload = serde_json::value::to_raw_value(&event).unwrap();
    service(LambdaEvent::new(payload, context)).await.expect("an answer");
}

/// A day's events, however many: about a third of them of connections.
async fn load_events(folder: &Path, count: usize) {
    let begin = Utc::now() - TimeDelta::days(1);
    let pause = TimeDelta::hours(40).num_milliseconds() / i64::try_from(count).unwrap();
    let events = Generator::new(7, begin, TimeDelta::milliseconds(pause.max(1))).take(count);
    Archive::load(folder, EVENTS, events.map(|event| to_item(&event).unwrap())).await.unwrap();
}

/// A replay of the whole log into the view.
async fn replay(folder: &Path, least: usize) -> Duration {
    let archive = Archive::open(folder).await.unwrap();
    let client = aws_sdk_dynamodb::Client::new(archive.sdk());
    let log = EventLog::new(client.clone(), EVENTS);
    let view = ConnectionsView::new(client, CONNECTIONS, Timing::default().view_retention);
    let scope = Scope::everything(Duration::ZERO);
    let replay = Reconciliation { log: &log, view: &view, scope, mode: Mode::Repair, segments: 1 };
    // The first one puts right what is missing; the second one finds all as it should be.
    replay.run(drop, |_| {}).await.unwrap();
    let repeats = (REPEATS * 100 / least).max(1);
    let before = processor_time();
    for _ in 0..repeats {
        let report = replay.run(drop, |_| {}).await.unwrap();
        assert!(report.events >= least as u64 && report.differences == 0, "{report:?}");
    }
    (processor_time() - before) / u32::try_from(repeats).unwrap()
}

fn told(name: &str, at: usize, cpu: Duration, cost: &Cost) -> Value {
    let (calls, writes, reads) = (cost.all_calls(), cost.all_writes(), cost.all_reads());
    let cpu = cpu.as_secs_f64() * 1000.0;
    println!("{name:<18} {at:>8} {cpu:>12.3} {calls:>8} {writes:>8} {reads:>8}");
    json!({"one": name, "at": at, "cpu_ms": cpu, "calls": calls, "writes": writes, "reads": reads})
}

/// Processor time of all threads, those that have ended, too. In steps of 10 ms: hence the repeats.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc, so Linux");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {}", model.map_or("unknown", |(_, model)| model))
}
