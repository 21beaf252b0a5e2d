//! The local runtime with its functions as processes of the built `bootstrap`: one invocation at a time, killed in time.
//!
//! `Point n` names a point of docs/FIDELITY.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a panic is how a test fails
#![cfg(unix)] // scripts in the place of bootstrap, and signals

mod client;
#[allow(dead_code, unreachable_pub)] // shared with the tests of single processes
mod process;

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use events::Timing;
use local::{Chaos, Effect, Mode, Options, Plan, Runtime};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_tungstenite::{connect_async, tungstenite};

use client::Client;
use process::PATIENCE;

fn bootstrap() -> PathBuf {
    env!("CARGO_BIN_EXE_bootstrap").into()
}

/// By process, in memory.
fn options(bootstrap: PathBuf) -> Options {
    let timing = Timing {
        async_retries: [Duration::from_millis(20), Duration::from_millis(40)],
        throttle_retry: Duration::from_millis(20),
        batch_retry: Duration::from_millis(20),
        batch_retry_max: Duration::from_millis(200),
        ..Timing::default()
    };
    Options { functions: Mode::Processes { bootstrap }, timing, ..Options::default() }
}

async fn start(options: Options) -> Runtime {
    Runtime::start(options).await.unwrap()
}

/// A program in the place of bootstrap.
fn script(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bootstrap");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

/// Nothing may be left undone, and no process be left.
async fn finish(runtime: Runtime) {
    runtime.idle().await;
    assert_eq!(runtime.given_up(), []);
    let processes = runtime.processes();
    runtime.stop().await;
    let left: Vec<_> = processes.into_iter().filter(|(_, pid)| is_up(*pid)).collect();
    assert_eq!(left, []);
}

fn is_up(pid: u32) -> bool {
    std::process::Command::new("kill").args(["-0", &pid.to_string()]).output().unwrap().status.success()
}

fn processes_of(runtime: &Runtime, function: &str) -> BTreeSet<u32> {
    runtime.processes().into_iter().filter(|(of, _)| of == function).map(|(_, pid)| pid).collect()
}

/// What a client that is not let in is told.
async fn refused(runtime: &Runtime) -> u16 {
    match timeout(PATIENCE, connect_async(runtime.url())).await.expect("it hangs") {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

/// The frame of the gateway itself, for a function that failed.
fn is_internal_error(frame: &Value) -> bool {
    frame["message"] == "Internal server error" && frame["requestId"].is_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_and_its_receipt_go_through_processes_that_end_with_the_runtime() {
    let runtime = start(options(bootstrap())).await;
    let mut alice = Client::welcomed(&runtime.url()).await;
    let mut bob = Client::welcomed(&runtime.url()).await;
    let chat = json!({"action": "chat", "connection": bob.id, "message": "Yo!", "receipt": true});
    alice.send(&chat).await;
    assert_eq!(bob.next_of("chat").await["message"], "Yo!");
    assert_eq!(alice.next_of("receipt").await["status"], "delivered");
    let functions: BTreeSet<String> = runtime.processes().into_iter().map(|(function, _)| function).collect();
    for function in ["chat", "connect", "post", "projector"] {
        assert!(functions.contains(function), "{function} is not among {functions:?}");
    }
    let first = processes_of(&runtime, "chat");
    alice.send(&chat).await;
    alice.next_of("receipt").await;
    assert_eq!(processes_of(&runtime, "chat"), first, "a process is kept for the next invocation");
    finish(runtime).await;
}

/// Point 22. Point 42.
#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_over_its_time_is_killed_and_the_next_one_has_a_fresh_process() {
    let mut options = options(bootstrap());
    // Less than the handler itself would wait for the table: 3 s.
    options.timing.route_timeout = Duration::from_millis(2500);
    let faults = options.faults.clone();
    let runtime = start(options).await;
    let mut alice = Client::welcomed(&runtime.url()).await;
    faults.inject("PutItem", "conversation#lobby", Effect::Ignore, usize::MAX);
    let broadcast = json!({"action": "broadcast", "message": "Anybody home?"});
    alice.send(&broadcast).await;
    assert!(is_internal_error(&alice.next().await));
    let killed = processes_of(&runtime, "broadcast");
    assert_eq!(killed, BTreeSet::new());

    faults.clear();
    alice.send(&broadcast).await;
    alice.next_of("accepted").await;
    assert_eq!(processes_of(&runtime, "broadcast").len(), 1);
    finish(runtime).await;
}

/// Point 43.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_at_once_fails_its_invocations_and_nobody_waits_for_it() {
    let (_folder, ends) = script("exit 127");
    let runtime = start(options(ends)).await;
    assert_eq!(refused(&runtime).await, 502);
    publish_welcome(&runtime).await;
    let given_up = &given_up(&runtime).await["responsePayload"];
    assert_eq!(given_up["errorType"], "Runtime.ExitError");
    let message = given_up["errorMessage"].as_str().unwrap();
    assert!(message.ends_with("Error: Runtime exited with error: exit status 127"), "{message}");
    assert_eq!(runtime.processes(), []);
    runtime.stop().await;
}

/// Point 43: and one that says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_well_without_an_answer_has_failed_too() {
    let (_folder, ends) = script("exit 0");
    let runtime = start(options(ends)).await;
    publish_welcome(&runtime).await;
    let message = given_up(&runtime).await["responsePayload"]["errorMessage"].as_str().unwrap().to_owned();
    assert!(message.ends_with("Error: Runtime exited without providing a reason"), "{message}");
    runtime.stop().await;
}

/// Has `post` invoked.
async fn publish_welcome(runtime: &Runtime) {
    let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder().source("webchat").detail_type("welcome");
    let entry = entry.detail("{}").event_bus_name(&runtime.settings().bus).build();
    aws_sdk_eventbridge::Client::new(runtime.sdk()).put_events().entries(entry).send().await.unwrap();
}

/// The one record of what was given up.
async fn given_up(runtime: &Runtime) -> Value {
    runtime.idle().await;
    let [(function, record)] = runtime.given_up().try_into().unwrap();
    assert_eq!(function, "post");
    serde_json::from_str(&record).unwrap()
}

/// Point 46.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_messages_as_come_at_once_run_each_in_a_process_of_its_own() {
    let options = options(bootstrap());
    let faults = options.faults.clone();
    let runtime = start(options).await;
    let mut alice = Client::welcomed(&runtime.url()).await;
    // Held up at the table, all four are there at once.
    let held = faults.inject("PutItem", "conversation#lobby", Effect::Ignore, usize::MAX);
    for n in 0..4 {
        alice.send(&json!({"action": "broadcast", "message": "at once", "ref": n.to_string()})).await;
    }
    timeout(PATIENCE, held.reached(4)).await.unwrap();
    assert_eq!(processes_of(&runtime, "broadcast").len(), 4);
    faults.clear();
    let mut answered = BTreeSet::new();
    while answered.len() < 4 {
        answered.extend(alice.next().await["ref"].as_str().map(str::to_owned));
    }
    finish(runtime).await;
}

/// Point 46: with one at a time reserved, a second is throttled; asynchronous ones are tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_reserved_concurrency_is_throttled() {
    let mut options = options(bootstrap());
    options.concurrency = Some(1);
    let faults = options.faults.clone();
    let runtime = start(options).await;
    let mut alice = Client::welcomed(&runtime.url()).await;
    let held = faults.inject("PutItem", "conversation#lobby", Effect::Ignore, 1);
    alice.send(&json!({"action": "broadcast", "message": "first"})).await;
    timeout(PATIENCE, held.reached(1)).await.unwrap();
    alice.send(&json!({"action": "broadcast", "message": "second"})).await;
    assert!(is_internal_error(&alice.next().await));
    let accepted = alice.next_of("accepted").await;
    assert_eq!(alice.next_of("broadcast").await["id"], accepted["id"], "`post`, one at a time, has pushed it");
    finish(runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_kills_the_process_itself() {
    let mut options = options(bootstrap());
    options.chaos = Chaos::new(Plan { kill_function: 1.0, ..Plan::default() });
    let chaos = options.chaos.clone();
    let runtime = start(options).await;
    assert_eq!(refused(&runtime).await, 502);
    assert_eq!(processes_of(&runtime, "connect"), BTreeSet::new());
    chaos.stop();
    runtime.idle().await;
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_the_environment_of_a_deployed_function_and_nothing_of_the_users() {
    let (folder, tells) = script("/usr/bin/env > \"$LAMBDA_TASK_ROOT/environment\"");
    let runtime = start(options(tells)).await;
    assert_eq!(refused(&runtime).await, 502);
    let environment = std::fs::read_to_string(folder.path().join("environment")).unwrap();
    let names: BTreeSet<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let of_lambda = |name: &&&str| name.starts_with("AWS_") || name.starts_with("WEBCHAT_");
    let others: BTreeSet<&str> = names.iter().filter(|name| !of_lambda(name)).copied().collect();
    // The shell of this script adds the last three.
    let expected = BTreeSet::from(["LAMBDA_TASK_ROOT", "TZ", "_HANDLER", "PWD", "SHLVL", "_"]);
    assert!(others.is_subset(&expected), "{others:?}");
    for (name, _) in handlers::VARIABLES {
        assert!(names.contains(name), "{name}");
    }
    assert!(environment.contains("_HANDLER=connect\n"), "{environment}");
    for users in ["HOME", "AWS_PROFILE", "CARGO_MANIFEST_DIR"] {
        assert!(!names.contains(users), "{users}");
    }
    runtime.stop().await;
}
