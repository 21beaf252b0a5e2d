//! What the end-to-end tests share: a client that waits for frames, and the stage they play on.
//!
//! Scenarios run against `WEBCHAT_URL` if it is set, else against a runtime of their own. Nothing here sleeps: a wait ends
//! when the thing is there, and [`PATIENCE`] only turns a hang into a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a panic is how a test fails
#![allow(clippy::missing_panics_doc)]

pub mod audience;
mod client;
mod generator;
pub mod ledger;
pub mod load;
pub mod simulation;
mod stage;

use std::time::Duration;

pub use client::Client;
pub use generator::Generator;
pub use stage::{Stage, quick};

/// How long a test waits for something before it says that it does not come. Never reached when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The machine, in a line: figures mean little without it.
#[must_use]
pub fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {}", model.map_or("unknown", |(_, model)| model))
}
