//! `kill -9` of a real `webchat local` with faults on, again and again: what was accepted is there afterwards, and the promises
//! hold. The crowd is that of the simulation, on real sockets: who was connected comes again as somebody new.
//!
//! `KILL_SEEDS=<from>..<to>` plays others than the usual ten. The times of kills follow from the seed; what they meet does not.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails
#![cfg(unix)]

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use events::Timing;
use futures::future::join_all;
use local::{Data, Options, Plan, Runtime};
use tests::simulation::{
    Aftermath, Crowd, Dice, Door, Ledger, Likes, Pipe, Scenario, nothing_is_left, view_equals_the_log,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};
use tokio_tungstenite::client_async;

/// Processes killed in a run before one is left alone.
const KILLS: u32 = 3;
/// How long a run may take to come to rest: Lambda's second retry comes after two minutes.
const REST: Duration = Duration::from_secs(150);

/// The design's durations for whoever takes over; those who are killed have the real ones.
fn hasty() -> Timing {
    Timing {
        early_gone: Duration::from_secs(5),
        // The first sweep comes after `early_gone` and finds all that died with the processes. Shorter ones would overlap on a
        // busy machine, and it would never come to rest.
        sweep_interval: Duration::from_secs(60),
        async_retries: [Duration::from_secs(5), Duration::from_secs(10)],
        // A busy machine is no fault: nothing may be given up for being slow.
        call_timeout: Duration::from_secs(20),
        operation_timeout: Duration::from_secs(60),
        route_timeout: Duration::from_secs(200),
        ..Timing::default()
    }
}

/// Faults that are over within a process's short life. Killed functions would leave their second try for a minute later.
fn plan(seed: u64) -> Plan {
    Plan { kill_function: 0.0, ..Plan::rough(seed) }
}

async fn start(folder: &Path, chaos: &Path) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webchat"));
    command.args(["local", "--port", "0", "--log", "off", "--data"]).arg(folder).arg("--chaos").arg(chaos);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(url) = line.strip_prefix("listening on ") {
            return (child, url.to_owned());
        }
    }
    panic!("it never listened");
}

/// To wherever a runtime listens now.
fn door(url: &Arc<Mutex<String>>) -> Door {
    let url = url.clone();
    Arc::new(move || {
        let url = url.lock().unwrap().clone();
        Box::pin(async move {
            let address = url.strip_prefix("ws://")?.strip_suffix("/local")?.to_owned();
            let pipe: Box<dyn Pipe> = Box::new(TcpStream::connect(address).await.ok()?);
            let (socket, _) = timeout(Duration::from_secs(40), client_async(url, pipe)).await.ok()?.ok()?;
            Some(socket)
        })
    })
}

async fn play(seed: u64) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let chaos = folder.path().join("chaos.json");
    std::fs::write(&chaos, serde_json::to_string(&plan(seed)).unwrap()).unwrap();
    let data = folder.path().join("data");
    let own = Scenario::of(seed);
    let scenario = Scenario {
        // Nobody leaves but by the kill: a client that says nothing would be closed after ten real minutes.
        likes: Likes { leave: 0, ..own.likes },
        people: 4,
        actions: 10,
        chaos: Duration::from_secs(8),
        pause: Duration::from_millis(600),
        storms: Vec::new(),
        ..own
    };
    let (mut child, url) = start(&data, &chaos).await;
    let url = Arc::new(Mutex::new(url));
    let ledger = Ledger::default();
    let crowd = tokio::spawn(Crowd::begin(&scenario, &ledger, door(&url)).play());
    let mut dice = Dice::of(seed, "kills");
    for left in (0..KILLS).rev() {
        sleep(Duration::from_millis(dice.between(300, 2500))).await;
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        ledger.note("killed");
        if left > 0 {
            let next;
            (child, next) = start(&data, &chaos).await;
            *url.lock().unwrap() = next;
        }
    }
    let options = Options { data: Data::Folder(data), timing: hasty(), ..Options::default() };
    let runtime = Runtime::start(options).await.unwrap();
    *url.lock().unwrap() = runtime.url();
    ledger.note("a runtime without faults has taken over");
    crowd.await.unwrap();
    ledger.note("everybody has done what they wanted");
    let verdict = match timeout(REST, rest(&runtime, &ledger)).await {
        Ok(()) => judge(&runtime, &ledger).await,
        Err(_) => Err(format!(
            "5: it never came to rest: {} invocations are owed, {} are here",
            runtime.owed(),
            ledger.open_now()
        )),
    };
    timeout(REST, runtime.stop()).await.map_err(|_| "it never stopped")?;
    if verdict.is_err() {
        println!("{}", ledger.trace().join("\n"));
    }
    verdict
}

async fn rest(runtime: &Runtime, ledger: &Ledger) {
    loop {
        runtime.idle().await;
        let live = runtime.view().all().await.unwrap().iter().filter(|row| row.live.is_some()).count();
        if live == ledger.open_now() {
            runtime.idle().await;
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn judge(runtime: &Runtime, ledger: &Ledger) -> Result<usize, String> {
    // Frames that were pushed last may still be on their way to the ledger.
    let aftermath = Aftermath::read(&runtime.log(), ledger, false).await?;
    aftermath.check()?;
    view_equals_the_log(runtime).await?;
    nothing_is_left(runtime, &aftermath).await?;
    Ok(aftermath.log().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_under_faults_it_keeps_what_it_accepted() {
    let range = std::env::var("KILL_SEEDS").unwrap_or_else(|_| "0..10".to_owned());
    let (from, to) = range.split_once("..").expect("KILL_SEEDS is <from>..<to>");
    let seeds: Vec<u64> = (from.parse().expect("a number")..to.parse().expect("a number")).collect();
    // At once: most of a run is waiting.
    let played = join_all(seeds.iter().map(|seed| async move { (seed, play(*seed).await) })).await;
    let mut events = 0;
    for (seed, verdict) in played {
        events += verdict.unwrap_or_else(|wrong| panic!("KILL_SEEDS={seed}..{}: {wrong}", seed + 1));
    }
    println!("{} runs, {} kills, {events} events", seeds.len(), seeds.len() as u32 * KILLS);
    assert!(events > seeds.len() * 10, "only {events} events: nobody played");
}
