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
pub mod simulation;
mod stage;

use std::time::Duration;

pub use client::Client;
pub use generator::Generator;
pub use stage::{Stage, quick};

/// How long a test waits for something before it says that it does not come. Never reached when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);
