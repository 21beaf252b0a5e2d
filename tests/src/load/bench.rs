//! The bench of `webchat local`: start, latency, memory for each connection. One process of it for each group of figures.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{
    crowd::Crowd,
    latency::Latency,
    server::{Data, Server},
};

/// Runs of which the median counts.
const RUNS: usize = 5;
const STARTS: usize = 21;

/// A figure, as `scripts/bench.py` takes it.
#[derive(Serialize)]
pub struct Row {
    name: String,
    before: Option<&'static str>,
    value: f64,
    unit: &'static str,
    spread: Option<String>,
    target: Option<String>,
    meets: Option<bool>,
    note: Option<String>,
}

impl Row {
    /// The median of several figures, and how far they lie apart.
    fn of(name: &str, unit: &'static str, mut values: Vec<f64>) -> Row {
        values.sort_by(f64::total_cmp);
        let value = values[values.len() / 2];
        let spread = (values.len() > 1).then(|| format!("{:.1}–{:.1}", values[0], values[values.len() - 1]));
        Row { name: name.to_owned(), before: None, value, unit, spread, target: None, meets: None, note: None }
    }

    fn at_most(mut self, target: f64) -> Row {
        self.target = Some(format!("≤ {target} {}", self.unit));
        self.meets = Some(self.value <= target);
        self
    }

    fn note(mut self, note: String) -> Row {
        self.note = Some(note);
        self
    }

    fn before(mut self, before: &'static str) -> Row {
        self.before = Some(before);
        self
    }
}

/// Measures everything, printing as it goes.
pub fn run(program: &Path) -> Result<Vec<Row>> {
    let mut rows = vec![];
    let mut add = |row: Row| {
        println!("{:<70} {:>10.2} {:<6} {}", row.name, row.value, row.unit, row.spread.as_deref().unwrap_or(""));
        rows.push(row);
    };
    starts(program)?.into_iter().for_each(&mut add);
    chats(program)?.into_iter().for_each(&mut add);
    for clients in [100, 1000] {
        broadcasts(program, clients)?.into_iter().for_each(&mut add);
    }
    memory(program)?.into_iter().for_each(&mut add);
    Ok(rows)
}

fn starts(program: &Path) -> Result<Vec<Row>> {
    let start = || Ok(Server::start(program, Data::NewFolder)?.started_in().as_secs_f64() * 1000.0);
    let took = (0..STARTS).map(|_| start()).collect::<Result<Vec<f64>>>()?;
    Ok(vec![Row::of("local: start to listening, new folder", "ms", took).at_most(150.0)])
}

fn chats(program: &Path) -> Result<Vec<Row>> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let server = Server::start(program, Data::NewFolder)?;
        let latency = measure("chat", server.url(), &["--clients", "100", "--rate", "200", "--seconds", "15"])?;
        runs.push((latency, server.processor_time()?.as_secs_f64() * 1000.0));
    }
    let note = note(&runs);
    let name = "local: direct message, sent to received, 100 clients, 200 messages/s";
    Ok(vec![
        Row::of(&format!("{name}, p50"), "ms", runs.iter().map(|(l, _)| l.p50).collect()).at_most(15.0).note(note),
        Row::of(&format!("{name}, p99"), "ms", runs.iter().map(|(l, _)| l.p99).collect()).at_most(60.0),
    ])
}

fn broadcasts(program: &Path, clients: usize) -> Result<Vec<Row>> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let server = Server::start(program, Data::NewFolder)?;
        let clients = clients.to_string();
        let latency = measure("broadcast", server.url(), &["--clients", &clients, "--rate", "1", "--seconds", "10"])?;
        runs.push((latency, server.processor_time()?.as_secs_f64() * 1000.0));
    }
    let note = note(&runs);
    let name = format!("local: broadcast to {clients}, sent to received, 1 a second");
    Ok(vec![
        Row::of(&format!("{name}, p50"), "ms", runs.iter().map(|(l, _)| l.p50).collect()).note(note),
        Row::of(&format!("{name}, p99"), "ms", runs.iter().map(|(l, _)| l.p99).collect()),
    ])
}

fn memory(program: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in [1000, 10_000] {
        super::allow_open_files(connections)?;
        let server = Server::start(program, Data::NewFolder)?;
        let before = server.memory()?;
        let mut crowd = Crowd::gather(server.url(), connections)?;
        // Everyone has been welcomed and heard: what is left is what idling costs.
        crowd.ping()?;
        let after = server.memory()?;
        let each = (after.saturating_sub(before)) as f64 / connections as f64 / 1000.0;
        let held = crowd.connections();
        let row =
            Row::of(&format!("local: memory of an idle connection, {held} of them"), "KB", vec![each]).note(format!(
                "{held} connections in processes of their own: {:.0} MB before, {:.0} MB after all were welcomed and \
                 answered a ping, {:.0} MB at most",
                before as f64 / 1e6,
                after as f64 / 1e6,
                server.peak()? as f64 / 1e6
            ));
        rows.push(if connections == 10_000 { row.at_most(27.0).before("27 KB (Centrifugo, published)") } else { row });
    }
    Ok(rows)
}

fn note(runs: &[(Latency, f64)]) -> String {
    let (latency, _) = &runs[0];
    let slowest = runs.iter().map(|(latency, _)| latency.rate).fold(f64::MAX, f64::min);
    let cpu = runs.iter().map(|(latency, cpu)| cpu / latency.received as f64).fold(f64::MAX, f64::min);
    let refused: u64 = runs.iter().map(|(latency, _)| latency.sent - latency.accepted).sum();
    format!(
        "open loop, {} sent in each of {} runs, {slowest:.0} a second or more, {refused} refused; {cpu:.2} ms of CPU for each received, start included",
        latency.sent,
        runs.len()
    )
}

/// Runs a measuring process.
fn measure(what: &str, url: &str, arguments: &[&str]) -> Result<Latency> {
    let output = Command::new(std::env::current_exe()?)
        .args([what, "--url", url])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "measuring {what} failed");
    serde_json::from_slice(&output.stdout).context("what it measured")
}
