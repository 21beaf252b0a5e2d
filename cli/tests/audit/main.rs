//! The commands of audit and replay, as a person or a script runs them: the built `webchat`, its output and exit codes.
//!
//! Each module is one concern. What is read is a made-up history (`world.rs`), in a folder that nobody holds, through the
//! runtime that holds it, and at an endpoint by URL: the answers must be the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a panic is how a test fails
#![cfg(unix)] // signals

mod command;
mod history;
mod parked;
mod promises;
mod redeliver;
mod scale;
mod seals;
mod view;
mod world;
