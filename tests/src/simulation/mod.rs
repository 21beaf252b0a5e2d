//! Deterministic simulation: a whole chat with its random clients and random faults, in virtual time, from one number.
//!
//! [`play`] plays a seed and says what it saw; the same seed is the same run, step by step (docs/adr/0008). [`Report::digest`]
//! tells two runs apart, [`Report::trace`] says where. The crowd and the promises serve runs on real processes as well.

mod crowd;
mod dice;
mod ledger;
mod promises;
mod scenario;

use std::{
    collections::BTreeMap,
    fmt::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use local::{Chaos, Options, Runtime, Simulation};
use projections::notices;
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async;

use crowd::LONGEST_PAUSE;
pub use crowd::{Crowd, Door, Pipe, Socket};
pub use dice::Dice;
pub use ledger::{Connection, Ledger};
pub use promises::{Aftermath, nothing_is_left, undelivered, view_equals_the_log};
pub use scenario::{Likes, Scenario};

/// How long, by its own clock, a run may take to come to rest. The longest way there: a connection that says nothing is
/// closed after ten minutes, a call that failed twice is tried again after three, one round of a push takes two.
const REST: Duration = Duration::from_secs(3600);
/// When a simulated run begins. Any day would do; it must be the same one always.
const BEGAN: &str = "2026-01-01T00:00:00Z";

/// What a run came to.
pub struct Report {
    /// Of everything that was seen: equal for equal runs.
    pub digest: String,
    /// Everything that happened, in order, with virtual seconds.
    pub trace: Vec<String>,
    /// Events in the log at the end.
    pub events: usize,
    /// Connections that were let in.
    pub connections: usize,
    /// Frames that clients heard.
    pub frames: usize,
    /// How often each mishap struck.
    pub mishaps: BTreeMap<String, u64>,
    /// How long it took by its own clock.
    pub virtual_time: Duration,
    /// Connections still open at the end, where the scenario lingers.
    pub open: usize,
    /// The first promise that did not hold.
    pub wrong: Option<String>,
}

/// Plays a seed.
#[must_use]
pub fn play(seed: u64) -> Report {
    play_scenario(&Scenario::of(seed))
}

/// Plays a scenario.
#[must_use]
pub fn play_scenario(scenario: &Scenario) -> Report {
    let ledger = Ledger::default();
    let chaos = Chaos::told(scenario.plan.clone(), {
        let ledger = ledger.clone();
        Box::new(move |kind, on| ledger.note(&format!("! {kind} {on}")))
    });
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime of tokio");
    let longest = REST * 2 + scenario.lingers.map_or(Duration::ZERO, |longer| longer + REST * 2);
    let played = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async { timeout(longest, run(scenario, &ledger, &chaos)).await })
    }));
    // Whatever is still under way ends here, before anything else is played on this thread.
    drop(runtime);
    let (seen, wrong) = match played {
        Ok(Ok((seen, verdict))) => (seen, verdict.err()),
        Ok(Err(_)) => (Seen::default(), Some("it never ended".to_owned())),
        Err(_) => (Seen::default(), Some("it panicked; see above".to_owned())),
    };
    let trace = if seen.trace.is_empty() { ledger.trace() } else { seen.trace };
    let connections = ledger.connections();
    let mut digest = Sha256::new();
    trace.iter().chain(&seen.stored).for_each(|line| digest.update(format!("{line}\n")));
    Report {
        digest: digest.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
        trace: trace.into_iter().chain(seen.stored).collect(),
        events: seen.events,
        connections: connections.len(),
        frames: connections.iter().map(|connection| connection.heard.len()).sum(),
        mishaps: chaos.struck(),
        virtual_time: seen.virtual_time,
        open: seen.open,
        wrong,
    }
}

/// What is there at the end.
#[derive(Default)]
struct Seen {
    events: usize,
    open: usize,
    virtual_time: Duration,
    trace: Vec<String>,
    /// Events and rows, as text.
    stored: Vec<String>,
}

async fn run(scenario: &Scenario, ledger: &Ledger, chaos: &Chaos) -> (Seen, Result<(), String>) {
    let began: DateTime<Utc> = BEGAN.parse().expect("a time");
    let options = Options { chaos: chaos.clone(), ..Options::default() };
    let simulation = match Simulation::start(options, scenario.seed, began) {
        Ok(simulation) => simulation,
        Err(error) => return (Seen::default(), Err(error.to_string())),
    };
    let mut seen = Seen::default();
    let verdict = judge(scenario, ledger, chaos, &simulation, &mut seen).await;
    // Before it stops: the gateway tells everybody at once, and whom tokio wakes first is left to its own dice.
    seen.trace = ledger.trace();
    seen.virtual_time = (events::time::now() - began).to_std().unwrap_or_default();
    let stopped = timeout(REST, simulation.stop()).await.map_err(|_| "it never stopped".to_owned());
    (seen, verdict.and(stopped))
}

async fn judge(
    scenario: &Scenario,
    ledger: &Ledger,
    chaos: &Chaos,
    simulation: &Simulation,
    seen: &mut Seen,
) -> Result<(), String> {
    let runtime = simulation.runtime();
    let dialler = simulation.dialler();
    let door: Door = Arc::new(move || {
        let pipe: Box<dyn Pipe> = Box::new(dialler.dial());
        Box::pin(async move { client_async(runtime_url(), pipe).await.ok().map(|(socket, _)| socket) })
    });
    let crowd = Crowd::begin(scenario, ledger, door);
    let end_of_chaos = async {
        sleep(scenario.chaos).await;
        chaos.stop();
        ledger.note("the faults stop");
    };
    tokio::join!(end_of_chaos, crowd.play());
    ledger.note("everybody has done what they wanted");
    let aftermath = at_rest(scenario, ledger, simulation).await?;
    note_what_is_stored(seen, runtime, &aftermath).await?;
    every_promise_holds(runtime, ledger, &aftermath).await?;
    if let Some(longer) = scenario.lingers {
        ledger.note("everybody stays on");
        sleep(longer).await;
        let aftermath = at_rest(scenario, ledger, simulation).await?;
        note_what_is_stored(seen, runtime, &aftermath).await?;
        every_promise_holds(runtime, ledger, &aftermath).await?;
        seen.open = ledger.open_now();
    }
    Ok(())
}

/// What there is to judge by, once nothing is under way.
async fn at_rest(scenario: &Scenario, ledger: &Ledger, simulation: &Simulation) -> Result<Aftermath, String> {
    let runtime = simulation.runtime();
    let rested = || async {
        timeout(REST, rest(simulation, ledger)).await.map_err(|_| "5: it never came to rest".to_owned())??;
        Aftermath::read(&runtime.log(), ledger, scenario.inside_the_ladder).await
    };
    let aftermath = rested().await?;
    if scenario.inside_the_ladder || runtime.given_up().is_empty() {
        return Ok(aftermath);
    }
    // Longer than the ladder: what was given up waits in the queues of failures, and the runbook says what to do.
    ledger.note(&format!("{} were given up; redelivering", runtime.given_up().len()));
    redeliver(simulation, &aftermath).await?;
    rested().await
}

async fn every_promise_holds(runtime: &Runtime, ledger: &Ledger, aftermath: &Aftermath) -> Result<(), String> {
    if let Some(wrong) = ledger.trace().iter().find(|line| line.contains("WRONG")) {
        return Err(format!("3: {wrong}"));
    }
    aftermath.check()?;
    view_equals_the_log(runtime).await?;
    nothing_is_left(runtime, aftermath).await
}

async fn note_what_is_stored(seen: &mut Seen, runtime: &Runtime, aftermath: &Aftermath) -> Result<(), String> {
    let rows = runtime.view().all().await.map_err(|error| error.to_string())?;
    seen.events = aftermath.log().len();
    seen.stored = aftermath.log().iter().map(|event| format!("{event:?}")).collect();
    let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    rows.sort();
    seen.stored.extend(rows);
    Ok(())
}

/// Waits until nothing is under way and the view knows of every end.
async fn rest(simulation: &Simulation, ledger: &Ledger) -> Result<(), String> {
    let runtime = simulation.runtime();
    // Whoever had stopped reading goes on.
    sleep(LONGEST_PAUSE).await;
    loop {
        runtime.idle().await;
        let rows = runtime.view().all().await.map_err(|error| error.to_string())?;
        let live = rows.iter().filter(|row| row.live.is_some()).count();
        if live == ledger.open_now() {
            // What was pushed last is still on its way to the clients.
            sleep(Duration::from_secs(1)).await;
            runtime.idle().await;
            return Ok(());
        }
        sleep(Duration::from_secs(20)).await;
    }
}

/// `webchat redeliver --since`.
async fn redeliver(simulation: &Simulation, aftermath: &Aftermath) -> Result<(), String> {
    let runtime = simulation.runtime();
    let messages = undelivered(runtime, aftermath).await?;
    let notices: Vec<_> = messages.iter().filter_map(notices::of).collect();
    let bus =
        handlers::Bus::new(aws_sdk_eventbridge::Client::new(runtime.sdk()), local::BUS, Duration::from_millis(100));
    match bus.publish(&notices).await.first() {
        None => Ok(()),
        Some(unpublished) => Err(unpublished.to_string()),
    }
}

/// Where a simulated runtime seems to be.
fn runtime_url() -> &'static str {
    "ws://127.0.0.1:3000/local"
}
