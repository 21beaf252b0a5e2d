//! What every operation costs: its calls and units, counted at the wire, are those of `tests/costs.json`.
//!
//! `scripts/cost.py` makes the prices of docs/COST.md of that file, so neither can drift from the code. When a change
//! is meant: `WEBCHAT_RECORD_COSTS=1 cargo test -p tests --test local_cost`, and look at the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a panic is how a test fails

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use events::{
    Timing,
    connection::{self, ConnectionOpened},
    time,
};
use handlers::Function;
use local::{Data, Effect, Faults, Meter, Options, Runtime};
use serde_json::json;
use tests::{
    Client, PATIENCE,
    audience::{self, USER_AGENT, answer_for_all, handshake, invoke, request, scheduled},
    ledger::{Cost, Ledger},
};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// A message of usual length.
const TEXT: usize = 100;
/// Tries, as a push may overtake the handshake it follows on a busy machine, and is made again. Any other call too many fails at once.
const TRIES: usize = 5;

/// A runtime that is counted.
struct World {
    runtime: Runtime,
    faults: Faults,
    ledger: Ledger,
    _folder: tempfile::TempDir,
}

impl World {
    /// With `count` connections that have rows and no sockets.
    async fn with(count: usize) -> World {
        let folder = tempfile::tempdir().unwrap();
        audience::load(folder.path(), count).await.unwrap();
        let (faults, meter) = (Faults::default(), Meter::on());
        // Sweeps come when the test says so, and no call is made twice because the machine is busy.
        let (day, minute) = (Duration::from_secs(24 * 3600), Duration::from_secs(60));
        let patient =
            Timing { call_timeout: minute, operation_timeout: minute, push_budget: minute * 5, ..Timing::default() };
        let timing = Timing { sweep_interval: day, route_timeout: minute * 2, post_timeout: minute * 10, ..patient };
        let data = Data::Folder(folder.path().into());
        let options = Options { data, timing, faults: faults.clone(), meter: meter.clone(), ..Options::default() };
        let runtime = Runtime::start(options).await.unwrap();
        World { runtime, faults, ledger: Ledger::new(meter), _folder: folder }
    }

    async fn client(&self) -> Client {
        let mut request = self.runtime.url().into_client_request().unwrap();
        request.headers_mut().insert("User-Agent", USER_AGENT.parse().unwrap());
        Client::welcomed(request).await
    }

    /// The gateway takes one push to a connection that has no socket: its welcome.
    fn welcomed(&self, id: &events::ConnectionId) {
        // A path has `=` in another spelling.
        self.faults.inject("PostToConnection", id.as_str().trim_end_matches('='), Effect::Refuse(200, "None"), 1);
    }

    /// A connection of which the log knows and the gateway does not.
    async fn vanished(&self, n: usize) -> events::ConnectionId {
        let id = audience::connection(n);
        let at = time::now() - TimeDelta::minutes(5);
        self.welcomed(&id);
        let data = ConnectionOpened { source_ip: None, user_agent: Some(USER_AGENT.to_owned()) };
        self.runtime.log().append(&connection::open(&id, data, at, "T-req5bbIAMFTGg=")).await.unwrap();
        self.rest().await;
        id
    }

    async fn rest(&self) {
        // Ten thousand pushes by unoptimised code take a while.
        timeout(PATIENCE * 10, self.runtime.idle()).await.expect("the runtime never came to rest");
    }

    /// Runs `what`, on something new if it is tried again, and compares what it costs with the table.
    async fn costs(&self, name: &str, mut what: impl AsyncFnMut(usize)) {
        let expected = recorded().remove(name).unwrap_or_default();
        let mut costs = Vec::new();
        for attempt in 0..if recording() { 2 } else { TRIES } {
            self.rest().await;
            drop(self.ledger.take());
            what(attempt).await;
            self.rest().await;
            let cost = self.ledger.take();
            if !recording() && cost == expected {
                return;
            }
            let again = recording() || differs_by_early_pushes(&cost, &expected);
            costs.push(cost);
            if !again {
                break;
            }
        }
        let cost = costs.into_iter().min_by_key(Cost::all_calls).unwrap();
        if recording() {
            return record(name, cost);
        }
        panic!("{name} costs\n{cost:#?}\nand tests/costs.json says\n{expected:#?}");
    }

    async fn finish(self) {
        self.rest().await;
        assert_eq!(self.runtime.given_up(), vec![]);
        self.runtime.stop().await;
    }
}

/// Whether all that differs are pushes refused with 410, and the reads of connections that these make.
fn differs_by_early_pushes(cost: &Cost, expected: &Cost) -> bool {
    let others = |cost: &Cost| {
        let mut cost = cost.clone();
        cost.calls.retain(|call, _| !["PostToConnection 410", "Query events"].contains(&call.as_str()));
        cost
    };
    others(cost) == others(expected)
}

fn recording() -> bool {
    std::env::var_os("WEBCHAT_RECORD_COSTS").is_some()
}

fn file() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/costs.json"))
}

fn recorded() -> BTreeMap<String, Cost> {
    std::fs::read(file()).map(|json| serde_json::from_slice(&json).unwrap()).unwrap_or_default()
}

fn record(name: &str, cost: Cost) {
    static WRITING: Mutex<()> = Mutex::new(());
    let _turn = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all = recorded();
    all.insert(name.to_owned(), cost);
    std::fs::write(file(), serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
}

#[tokio::test]
async fn connections_cost_what_the_table_says() {
    let world = World::with(0).await;
    let mut clients = Vec::new();
    world.costs("connect", async |_| clients.push(world.client().await)).await;
    let event = handshake(&audience::connection(0));
    world.welcomed(&audience::connection(0));
    let connect = async || {
        let answer = invoke(&world.runtime, Function::Connect, &event).await;
        assert_eq!(answer.get(), r#"{"statusCode":200}"#);
    };
    connect().await;
    world.costs("connect, invoked again", async |_| connect().await).await;
    let mut client = world.client().await;
    world.costs("ping", async |_| drop(client.ask(json!({"action": "ping"})).await)).await;
    for _ in clients.len()..TRIES {
        clients.push(world.client().await);
    }
    world.costs("disconnect", async |_| clients.pop().unwrap().close(None).await).await;
    world.finish().await;
}

#[tokio::test]
async fn direct_messages_cost_what_the_table_says() {
    let world = World::with(0).await;
    let (mut alice, mut bob) = (world.client().await, world.client().await);
    let to = bob.id.clone();
    let chat = |text: usize, receipt: bool| json!({"action": "chat", "connection": to, "message": "x".repeat(text), "receipt": receipt});
    for (name, text) in [("chat", TEXT), ("chat of 16 KiB", 16 * 1024)] {
        world
            .costs(name, async |_| {
                let accepted = alice.ask(chat(text, false)).await;
                bob.expect_id("chat", &accepted["id"]).await;
            })
            .await;
    }
    world
        .costs("chat with receipt", async |_| {
            alice.ask(chat(TEXT, true)).await;
            alice.expect("receipt").await;
            bob.expect("chat").await;
        })
        .await;
    // Their handshakes are over for more than a minute, so that the gateway's 410 is believed.
    let mut vanished = Vec::new();
    for n in 0..TRIES {
        vanished.push(world.vanished(n).await);
    }
    world
        .costs("chat to one who vanished", async |attempt| {
            let chat = json!({"action": "chat", "connection": vanished[attempt], "message": "x".repeat(TEXT)});
            let accepted = alice.ask(chat).await;
            assert_eq!(accepted["type"], "accepted", "{accepted}");
            alice.expect("receipt").await;
        })
        .await;
    world.finish().await;
}

#[tokio::test]
async fn lists_and_sweeps_cost_what_the_table_says() {
    let world = World::with(400).await;
    answer_for_all(&world.faults);
    let from = audience::connection(0);
    for limit in [100, 400] {
        let list = json!({"action": "list", "limit": limit});
        let name = format!("list of {limit}");
        world
            .costs(&name, async |_| drop(invoke(&world.runtime, Function::List, &request("list", &from, &list)).await))
            .await;
    }
    world.costs("sweep of 400", async |_| drop(invoke(&world.runtime, Function::Manage, &scheduled()).await)).await;
    world.finish().await;
}

async fn broadcast(audience: usize) {
    let world = World::with(audience).await;
    answer_for_all(&world.faults);
    let said = json!({"action": "broadcast", "message": "x".repeat(TEXT)});
    let from = audience::connection(0);
    world
        .costs(&format!("broadcast to {audience}"), async |_| {
            let answer = invoke(&world.runtime, Function::Broadcast, &request("broadcast", &from, &said)).await;
            assert!(answer.get().contains("accepted"), "{answer}");
        })
        .await;
    world.finish().await;
}

#[tokio::test]
async fn a_broadcast_to_10_costs_what_the_table_says() {
    broadcast(10).await;
}

#[tokio::test]
async fn a_broadcast_to_100_costs_what_the_table_says() {
    broadcast(100).await;
}

#[tokio::test]
async fn a_broadcast_to_1_000_costs_what_the_table_says() {
    broadcast(1_000).await;
}

#[tokio::test]
async fn a_broadcast_to_10_000_costs_what_the_table_says() {
    broadcast(10_000).await;
}
