//! Measures the built `bootstrap`: `bench BOOTSTRAP FLOORS`, the second a folder with `bootstrap` of each floor.
//!
//! The function runs on one processor, the harness and the stubs of AWS on another. Every figure is a median of repeated
//! runs, with the spread from the first tenth to the last. Of the floors, `bare` is what the harness itself costs,
//! `empty` adds the Lambda runtime for Rust, and `put` one call of the SDK: what is above them is ours. `scripts/bench.py` builds,
//! runs this and makes the table.

mod cases;
mod delay;
mod function;
mod report;
mod server;
mod stub;

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use tempfile::NamedTempFile;
use tokio::task::LocalSet;

use cases::PAGE;
use function::{Function, Used, Variables, pin};
use report::{Figures, ORIGINAL, ORIGINAL_DATE, Report, Row, millis};
use stub::Stub;

/// Processors for the function and for the harness.
const FUNCTION_CPU: usize = 1;
const HARNESS_CPU: usize = 0;
/// Latency of the rows "at +10 ms".
const LATENCY: Duration = Duration::from_millis(10);
/// Functions that work on a planned broadcast at once.
const DELIVERERS: usize = 20;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [bootstrap, floors] = arguments.as_slice() else { bail!("usage: bench BOOTSTRAP FOLDER-OF-FLOORS") };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pinned = cores > 1 && pin(HARNESS_CPU).inspect_err(|error| println!("not pinned: {error:#}")).is_ok();
    let machine =
        format!("{cores} cores, {}, {}", model(), if pinned { "function pinned to one" } else { "NOT pinned" });
    println!("machine: {machine}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, async {
        let stub = Stub::start().await?;
        let bench = Bench { bootstrap, floors, variables: variables(&stub), stub, cpu: pinned.then_some(FUNCTION_CPU) };
        bench.run().await
    })?;
    if let Some(file) = std::env::var_os("WEBCHAT_BENCH_JSON") {
        fs::write(file, report.into_json(&machine).to_string())?;
    }
    Ok(())
}

fn model() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("unknown", |(_, model)| model).to_owned()
}

/// What Lambda and the deployment tell a function; credentials have a session token as long as a role's.
fn variables(stub: &Stub) -> Variables {
    let aws = format!("http://{}", stub.address);
    vec![
        ("AWS_LAMBDA_FUNCTION_NAME", "webchat-poc-bench".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "ASIAQUITEANORMALKEYX".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-usual-length-of-40-bytes".to_owned()),
        ("AWS_SESSION_TOKEN", "t".repeat(900)),
        ("WEBCHAT_GATEWAY_URL", format!("{aws}/poc")),
        ("AWS_ENDPOINT_URL", aws),
        ("WEBCHAT_EVENTS_TABLE", "webchat-poc-events".to_owned()),
        ("WEBCHAT_CONNECTIONS_TABLE", "webchat-poc-connections".to_owned()),
        ("WEBCHAT_PARKED_TABLE", "webchat-poc-parked".to_owned()),
        ("WEBCHAT_BUS", "webchat-poc".to_owned()),
    ]
}

struct Bench<'a> {
    bootstrap: &'a Path,
    floors: &'a Path,
    variables: Variables,
    stub: Stub,
    cpu: Option<usize>,
}

/// Milliseconds of the floors in this run.
struct Floors {
    /// A bare start.
    start: f64,
    /// Processor time of a bare empty invocation.
    cpu: f64,
    /// The same with the Lambda runtime for Rust.
    runtime: f64,
    /// And with one call of the SDK.
    call: f64,
}

impl Bench<'_> {
    async fn run(&self) -> Result<Report> {
        let mut report = Report::default();
        let floors = self.starts(&mut report).await?;
        self.routes(&mut report, &floors).await?;
        self.broadcast_to_1000(&mut report).await?;
        self.broadcast_over_tls(&mut report).await?;
        self.broadcast_to_100_000(&mut report).await?;
        self.zip(&mut report)?;
        self.projector(&mut report).await?;
        Ok(report)
    }

    async fn start(&self, handler: &str) -> Result<Function> {
        Function::start(self.bootstrap, handler, &self.variables, self.cpu).await
    }

    async fn start_floor(&self, name: &str) -> Result<Function> {
        Function::start(&self.floors.join(name).join("bootstrap"), "connect", &self.variables, self.cpu).await
    }

    /// Starts everything in turn, so that a disturbance hits all alike.
    async fn starts(&self, report: &mut Report) -> Result<Floors> {
        const NAMES: [&str; 6] = ["bare", "empty", "connect", "chat", "projector", "post"];
        let mut started: [Vec<Used>; 6] = Default::default();
        for _ in 0..31 {
            for (name, started) in NAMES.iter().zip(&mut started) {
                let floor = ["bare", "empty"].contains(name);
                let function = if floor { self.start_floor(name).await? } else { self.start(name).await? };
                started.push(function.started);
            }
        }
        let floor = Figures::millis(started[0].iter().map(|used| used.wall)).median();
        for (name, started) in NAMES.iter().zip(&started) {
            let wall = Figures::millis(started.iter().map(|used| used.wall));
            let cpu = Figures::millis(started.iter().map(|used| used.cpu));
            let mut row = Row { value: wall.median(), spread: wall.spread(), ..Row::default() };
            let title = format!("cold start, spawn → first `next`: {name}");
            row.name = &title;
            let floors = format!("{:.2} × the bare floor", wall.median() / floor);
            row.note = Some(format!("{floors}; {:.2} ms of processor time ({})", cpu.median(), cpu.spread()));
            if *name == "connect" {
                let share = 0.4 * ORIGINAL.cold_start / ORIGINAL.floor_start;
                row.before = Some(original(ORIGINAL.cold_start, ORIGINAL.floor_start));
                row.limit = Some(share * floor);
                row.limit_text = Some(format!("≤ {:.2} ms ({share:.2} × floor)", share * floor));
            }
            report.add(row);
        }
        let mut invocations = [f64::NAN; 3];
        for (name, cpu) in ["bare", "empty", "put"].into_iter().zip(&mut invocations) {
            let mut function = self.start_floor(name).await?;
            let figures = blocks(&mut function, || Ok(Bytes::from_static(b"{}"))).await?;
            *cpu = figures.median();
            let title = match name {
                "put" => "invocation with one PutItem of the SDK and nothing else, CPU".to_owned(),
                _ => format!("empty invocation, CPU: {name}"),
            };
            report.add(Row { name: &title, value: *cpu, spread: figures.spread(), ..Row::default() });
        }
        let [bare, empty, put] = invocations;
        Ok(Floors { start: floor, cpu: bare, runtime: empty, call: put })
    }

    async fn routes(&self, report: &mut Report, floors: &Floors) -> Result<()> {
        println!("floors: start {:.3} ms, invocation {:.3} ms of CPU", floors.start, floors.cpu);
        let connect = ("connect", cases::connect as fn() -> Result<Bytes>, 0.6, ORIGINAL.connect_cpu);
        let chat = ("chat", cases::chat as fn() -> Result<Bytes>, 1.2, ORIGINAL.chat_cpu);
        for (handler, event, ratio, before) in [connect, chat] {
            let mut function = self.start(handler).await?;
            self.stub.reset(10, Duration::ZERO);
            let (_, answer) = function.invoke(event()?).await?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            ensure!(answer.contains("200") && !answer.contains("error"), "{handler} answered {answer}");
            let (calls, made) = (self.calls(), self.stub.seen().calls.values().sum::<usize>());
            let not_ours = floors.runtime + made as f64 * (floors.call - floors.runtime);
            let cpu = blocks(&mut function, event).await?;
            let share = ratio * before / ORIGINAL.floor_cpu;
            report.add(Row {
                name: &format!("warm `{handler}`, CPU per invocation"),
                before: Some(original(before, ORIGINAL.floor_cpu)),
                value: cpu.median(),
                spread: cpu.spread(),
                limit: Some(share * floors.cpu),
                limit_text: Some(format!("≤ {:.3} ms ({share:.2} × floor)", share * floors.cpu)),
                note: Some(format!(
                    "{:.2} × the bare floor; calls: {calls}; the runtime and as many calls, and nothing else, take {not_ours:.3} ms",
                    cpu.median() / floors.cpu,
                )),
                ..Row::default()
            });
        }
        Ok(())
    }

    /// The two pages of a broadcast to 1,000.
    fn pages(&self) -> [Bytes; 2] {
        [0, 1].map(|page| cases::deliver(page, &self.stub.page(page, PAGE)))
    }

    async fn broadcast_to_1000(&self, report: &mut Report) -> Result<()> {
        let mut post = self.start("post").await?;
        self.stub.reset(1000, LATENCY);
        let pages = self.pages();
        let (cold, _) = post.invoke(pages[0].clone()).await?;
        let (mut walls, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            for page in &pages {
                let (used, _) = post.invoke(page.clone()).await?;
                walls.push(used.wall);
                cpus.push(used.cpu);
            }
        }
        let seen = self.stub.seen();
        ensure!(seen.posted.len() == 1000, "{} of 1000 were posted to", seen.posted.len());
        let wall = Figures::millis(walls);
        report.add(Row {
            name: "broadcast to 1,000 at +10 ms, warm: a page of 500",
            before: Some(format!("10,437 ms for all, one in flight ({ORIGINAL_DATE})")),
            value: wall.median(),
            spread: wall.spread(),
            limit: Some(60.0),
            note: Some(format!(
                "{} posts in flight; {:.1} ms of CPU a page; the first page of a process {:.1} ms",
                seen.most_posts,
                Figures::millis(cpus).median(),
                millis(cold.wall)
            )),
            ..Row::default()
        });
        self.stub.reset(1000, Duration::ZERO);
        let (mut walls, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..30 {
            let (first, _) = post.invoke(pages[0].clone()).await?;
            let (second, _) = post.invoke(pages[1].clone()).await?;
            walls.push(first.wall + second.wall);
            cpus.push(first.cpu + second.cpu);
        }
        for (name, before, figures) in [
            ("broadcast to 1,000 at +0 ms, one core: both pages, wall", 108.0, Figures::millis(walls)),
            ("broadcast to 1,000 at +0 ms, one core: both pages, CPU", 86.0, Figures::millis(cpus)),
        ] {
            let before = Some(format!("{before} ms ({ORIGINAL_DATE})"));
            let (value, spread) = (figures.median(), figures.spread());
            report.add(Row { name, before, value, spread, limit: Some(18.0), ..Row::default() });
        }
        let mut fresh = self.start("post").await?;
        self.stub.reset(1000, LATENCY);
        fresh.invoke(cases::broadcast()).await?;
        for detail in self.stub.seen().delivers {
            fresh.invoke(cases::published(&detail)?).await?;
        }
        let reached = self.stub.seen().posted.len();
        ensure!(reached == 1000, "{reached} of 1000 were reached");
        report.add(Row {
            name: "peak RSS, broadcast to 1,000 (plan and both pages)",
            before: Some(format!("19 MiB ({ORIGINAL_DATE})")),
            value: fresh.peak_mib()?,
            unit: "MiB",
            limit: Some(19.0),
            note: Some(format!("the process that did all of +10 ms and +0 ms above: {:.1} MiB", post.peak_mib()?)),
            ..Row::default()
        });
        Ok(())
    }

    /// The same pages as to API Gateway: its `@connections` speaks TLS. The first page of a process opens all connections.
    async fn broadcast_over_tls(&self, report: &mut Report) -> Result<()> {
        let trusted = NamedTempFile::new()?;
        fs::write(trusted.path(), &self.stub.certificate)?;
        let mut variables = self.variables.clone();
        variables.retain(|(name, _)| *name != "WEBCHAT_GATEWAY_URL");
        variables.push(("WEBCHAT_GATEWAY_URL", format!("https://{}/poc", self.stub.tls_address)));
        variables.push(("AWS_CA_BUNDLE", trusted.path().to_string_lossy().into_owned()));
        self.stub.reset(1000, LATENCY);
        let pages = self.pages();
        let (mut first, mut warm) = (Vec::new(), Vec::new());
        for _ in 0..7 {
            let mut post = Function::start(self.bootstrap, "post", &variables, self.cpu).await?;
            first.push(post.invoke(pages[0].clone()).await?.0);
            for page in [&pages[1], &pages[0], &pages[1]] {
                warm.push(post.invoke(page.clone()).await?.0);
            }
        }
        let seen = self.stub.seen();
        ensure!(seen.posted.len() == 1000, "{} of 1000 were posted to", seen.posted.len());
        for (which, used) in [("the first page of 500 of a process", first), ("warm: a page of 500", warm)] {
            let wall = Figures::millis(used.iter().map(|used| used.wall));
            let cpu = Figures::millis(used.iter().map(|used| used.cpu));
            report.add(Row {
                name: &format!("broadcast to 1,000 at +10 ms over TLS, {which}"),
                value: wall.median(),
                spread: wall.spread(),
                note: Some(format!("TLS 1.3, a P-256 certificate; {:.1} ms of CPU ({})", cpu.median(), cpu.spread())),
                ..Row::default()
            });
        }
        Ok(())
    }

    /// One plans, 20 deliver what is on the bus, as it comes.
    async fn broadcast_to_100_000(&self, report: &mut Report) -> Result<()> {
        const AUDIENCE: usize = 100_000;
        let mut walls = Vec::new();
        let (mut planned, mut fewest, mut most_posts) = (Duration::ZERO, AUDIENCE, 0);
        for _ in 0..3 {
            self.stub.reset(AUDIENCE, LATENCY);
            let mut planner = self.start("post").await?;
            let before = Instant::now();
            // Notices that somebody is at, the plan's included: what is left undone goes back onto the bus.
            let busy = Cell::new(1);
            let plan = async {
                let planned = planner.invoke(cases::broadcast()).await;
                busy.set(busy.get() - 1);
                Ok::<_, anyhow::Error>(planned?.0.wall)
            };
            let deliverers = (0..DELIVERERS).map(|_| async {
                let mut function = None;
                loop {
                    let Some(detail) = self.stub.take_deliver() else {
                        if busy.get() == 0 {
                            return Ok::<_, anyhow::Error>(());
                        }
                        tokio::time::sleep(Duration::from_millis(2)).await;
                        continue;
                    };
                    busy.set(busy.get() + 1);
                    let function = match &mut function {
                        Some(function) => function,
                        none => none.insert(self.start("post").await?),
                    };
                    let delivered = function.invoke(cases::published(&detail)?).await;
                    busy.set(busy.get() - 1);
                    delivered?;
                }
            });
            let (plan, delivered) = futures::future::join(plan, futures::future::try_join_all(deliverers)).await;
            (planned, _) = (plan?, delivered?);
            let seen = self.stub.seen();
            fewest = fewest.min(seen.posted.len());
            most_posts = most_posts.max(seen.most_posts);
            walls.push(seen.last_post.context("nothing was posted")? - before);
        }
        let wall = Figures::millis(walls);
        report.add(Row {
            name: "broadcast to 100,000, planned, at +10 ms, 20 `deliver` at once",
            before: Some(format!("11,745 of 70,000 missed at one page ({ORIGINAL_DATE})")),
            value: wall.median() / 1e3,
            unit: "s",
            spread: format!("{} ms", wall.spread()),
            limit: Some(12.0),
            limit_text: Some("all reached, ≤ 12 s".to_owned()),
            sound: fewest == AUDIENCE,
            note: Some(format!(
                "{fewest} reached; the plan took {:.1} s; {most_posts} posts in flight; all 21 processes on one core, starts included",
                planned.as_secs_f64()
            )),
        });
        Ok(())
    }

    async fn projector(&self, report: &mut Report) -> Result<()> {
        let batch = cases::batch();
        let mut projector = self.start("projector").await?;
        self.stub.reset(0, LATENCY);
        projector.invoke(batch.event.clone()).await?;
        let seen = self.stub.seen();
        let calls = self.calls();
        let call = |name: &str| seen.calls.get(name).copied().unwrap_or(0);
        let sound = call("UpdateItem") == batch.connections + batch.ended_before
            && call("PutEvents") == batch.notices.div_ceil(10)
            && call("PutItem") == 0;
        let (mut walls, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let (used, answer) = projector.invoke(batch.event.clone()).await?;
            ensure!(!answer.windows(8).any(|text| text == b"SequenceN"[..8].as_ref()), "a batch failed in part");
            walls.push(used.wall);
            cpus.push(used.cpu);
        }
        let (wall, cpu) = (Figures::millis(walls), Figures::millis(cpus));
        report.add(Row {
            name: "projector, batch of 100 mixed events at +10 ms",
            value: wall.median(),
            spread: wall.spread(),
            limit: Some(60.0),
            limit_text: Some(
                "≤ 60 ms, one update per connection (two when the end came first), ⌈n/10⌉ PutEvents".to_owned(),
            ),
            sound,
            note: Some(format!(
                "{} connections, {} of them ended before; {} notices; calls: {calls}; {:.1} ms of CPU",
                batch.connections,
                batch.ended_before,
                batch.notices,
                cpu.median()
            )),
            ..Row::default()
        });
        Ok(())
    }

    fn zip(&self, report: &mut Report) -> Result<()> {
        let megabytes = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.len() as f64 / 1e6);
        let zip = self.bootstrap.with_extension("zip");
        report.add(Row {
            name: "bootstrap zip, for all nine functions",
            before: Some(format!("4.2 MB each, 29 MB in all ({ORIGINAL_DATE})")),
            value: megabytes(&zip).with_context(|| format!("no {}", zip.display()))?,
            unit: "MB",
            limit: Some(3.0),
            note: Some(format!("the binary in it: {:.1} MB", megabytes(self.bootstrap)?)),
            ..Row::default()
        });
        Ok(())
    }

    fn calls(&self) -> String {
        let calls = self.stub.seen().calls;
        let calls: Vec<_> = calls.iter().map(|(operation, calls)| format!("{calls} {operation}")).collect();
        calls.join(", ")
    }
}

fn original(figure: f64, floor: f64) -> String {
    format!("{figure} ms, {:.2} × floor ({ORIGINAL_DATE})", figure / floor)
}

/// Processor milliseconds per invocation, warm: blocks of many.
async fn blocks(function: &mut Function, event: impl Fn() -> Result<Bytes>) -> Result<Figures> {
    const BLOCK: u32 = 200;
    let mut figures = Vec::new();
    for block in 0..11 {
        let event = event()?;
        let before = function.cpu()?;
        for _ in 0..BLOCK {
            function.invoke(event.clone()).await?;
        }
        if block > 0 {
            figures.push(millis(function.cpu()?.saturating_sub(before)) / f64::from(BLOCK));
        }
    }
    Ok(Figures::new(figures))
}
