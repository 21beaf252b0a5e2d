//! The gateway as its users meet it: WebSocket clients and the AWS SDK, over real sockets.
//!
//! `Point n` names a point of docs/FIDELITY.md. `world.rs` is the harness; every event a function gets is also parsed there
//! as a Lambda handler would parse it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod client;
mod closing;
mod handshake;
mod load;
mod management;
mod messages;
mod shutdown;
mod toys;
mod world;
