//! `kill -9` between any two hops of a message, and a restart on the same folder: nothing is lost, some may repeat.
//!
//! Local only. A child process runs into a fault at the hop, is killed there, and a runtime without faults takes over.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

use std::{path::Path, process::Stdio, time::Duration};

use events::{
    ConnectionId, Event, EventId, RecordedEvent, StreamName, Timing, connection, connection::FoundBy, conversation,
    delivery,
};
use local::{Data, Options, Runtime};
use serde_json::{Value, json};
use tests::{Client, PATIENCE, quick};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// A runtime in a process of its own.
struct Doomed {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Doomed {
    async fn start(folder: &Path, operation: &str, containing: &str, effect: &str) -> Doomed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faulty-local"));
        command.arg(folder).args([operation, containing, effect]).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.next_line().await.unwrap().expect("the child prints its URL");
        Doomed { child, lines, url }
    }

    /// Waits until the fault has struck, and kills the process there.
    async fn kill_9_when_struck(mut self) {
        let struck = timeout(PATIENCE, self.lines.next_line()).await.expect("the fault never struck");
        assert_eq!(struck.unwrap().as_deref(), Some("struck"));
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }
}

async fn take_over(folder: &Path) -> Runtime {
    let timing =
        Timing { early_gone: Duration::from_millis(200), sweep_interval: Duration::from_millis(200), ..quick() };
    let options = Options { data: Data::Folder(folder.into()), timing, ..Options::default() };
    Runtime::start(options).await.unwrap()
}

async fn events(runtime: &Runtime, stream: StreamName) -> Vec<RecordedEvent> {
    runtime.log().read_whole_stream(&stream).await.unwrap().into_iter().map(Result::unwrap).collect()
}

/// Waits until the connection's stream says that it has ended, and how.
async fn lost(runtime: &Runtime, connection: &str) -> Event {
    let connection: ConnectionId = connection.parse().unwrap();
    let waiting = async {
        loop {
            let life = events(runtime, connection::stream(&connection)).await;
            if let Some(end) = life.into_iter().map(|e| e.event).find(|e| !matches!(e, Event::ConnectionOpened(_))) {
                return end;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the connection of the old process was never lost")
}

/// Alice writes to Bob with a receipt wanted; the process is killed where the fault strikes.
async fn killed_at(operation: &str, containing: &str, effect: &str) {
    let folder = tempfile::tempdir().unwrap();
    let doomed = Doomed::start(folder.path(), operation, containing, effect).await;
    let mut alice = Client::welcomed(&doomed.url).await;
    let bob = Client::welcomed(&doomed.url).await;
    let frame = json!({"action": "chat", "connection": bob.id, "message": "crossing", "receipt": true});
    alice.send(frame).await;
    doomed.kill_9_when_struck().await;

    let runtime = take_over(folder.path()).await;
    let pair = conversation::between(&alice.id.parse().unwrap(), &bob.id.parse().unwrap());
    for id in [&alice.id, &bob.id] {
        let end = lost(&runtime, id).await;
        assert!(matches!(&end, Event::ConnectionLost(_)), "{end:?}");
    }
    timeout(PATIENCE, runtime.idle()).await.expect("the runtime never came to rest");
    let sent = events(&runtime, pair).await;
    assert_eq!(sent.len(), 1, "the message is in the log, once");
    let outcome = events(&runtime, delivery::stream(sent[0].id)).await;
    assert_eq!(outcome.len(), 1, "and it has an outcome: {outcome:?}");
    assert_eq!(runtime.given_up(), vec![]);
    let rows = runtime.view().all().await.unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.live.is_none() && row.row.lost.is_some()), "{rows:#?}");
    runtime.stop().await;
}

#[tokio::test]
async fn killed_when_the_message_is_recorded_but_not_accepted() {
    killed_at("PutItem", "crossing", "lose-answer").await;
}

#[tokio::test]
async fn killed_before_the_notice_is_on_the_bus() {
    killed_at("PutEvents", "crossing", "ignore").await;
}

#[tokio::test]
async fn killed_when_the_bus_has_the_notice_but_the_projector_does_not_know() {
    killed_at("PutEvents", "crossing", "lose-answer").await;
}

#[tokio::test]
async fn killed_before_the_push() {
    killed_at("PostToConnection", "crossing", "ignore").await;
}

#[tokio::test]
async fn killed_when_the_push_is_done_but_post_does_not_know() {
    killed_at("PostToConnection", "crossing", "lose-answer").await;
}

#[tokio::test]
async fn killed_before_the_outcome_is_recorded() {
    killed_at("PutItem", "MessageDelivered", "ignore").await;
}

#[tokio::test]
async fn killed_when_the_outcome_is_recorded_but_post_does_not_know() {
    killed_at("PutItem", "MessageDelivered", "lose-answer").await;
}

#[tokio::test]
async fn killed_before_the_receipt() {
    killed_at("PutEvents", "message_id", "ignore").await;
}

#[tokio::test]
async fn killed_before_the_row_of_a_connection_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let doomed = Doomed::start(folder.path(), "UpdateItem", "", "ignore").await;
    let _alice = Client::open(&doomed.url).await.unwrap();
    doomed.kill_9_when_struck().await;
    let runtime = take_over(folder.path()).await;
    timeout(PATIENCE, async {
        loop {
            let rows = runtime.view().all().await.unwrap();
            if rows.iter().any(|row| {
                row.row.opened.is_some()
                    && row
                        .row
                        .lost
                        .as_ref()
                        .is_some_and(|l| l.found_by == FoundBy::Sweep || l.found_by == FoundBy::Post)
            }) {
                return;
            }
        }
    })
    .await
    .expect("the row was never written, or the connection never lost");
    runtime.stop().await;
}

#[tokio::test]
async fn after_a_stop_and_a_start_history_is_there_and_people_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let start = || async {
        let options = Options { data: Data::Folder(folder.path().into()), timing: quick(), ..Options::default() };
        Runtime::start(options).await.unwrap()
    };
    let runtime = start().await;
    let mut alice = Client::welcomed(&runtime.url()).await;
    let said: Value = alice.ask(json!({"action": "broadcast", "message": "before"})).await;
    alice.expect_id("broadcast", &said["id"]).await;
    let old = alice.id.clone();
    let goodbye = tokio::spawn(async move { alice.ended().await });
    runtime.stop().await;
    assert_eq!(goodbye.await.unwrap(), Some(1001), "clients are told that the server goes away");

    let runtime = start().await;
    let mut alice = Client::welcomed(&runtime.url()).await;
    assert_eq!(alice.list(100).await, [alice.id.clone()], "the one of before was closed properly");
    assert!(matches!(lost(&runtime, &old).await, Event::ConnectionClosed(closed) if closed.code == Some(1001)));
    let said_again = alice.ask(json!({"action": "broadcast", "message": "after"})).await;
    alice.expect_id("broadcast", &said_again["id"]).await;
    let lobby = events(&runtime, conversation::lobby()).await;
    let ids: Vec<EventId> = lobby.iter().map(|event| event.id).collect();
    assert_eq!(json!(ids), json!([said["id"], said_again["id"]]));
    runtime.stop().await;
}
