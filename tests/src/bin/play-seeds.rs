//! Plays seeds of the simulation, two at a time or as many as there are processors, and prints a JSON line for each.
//!
//! `play-seeds FROM [TO]`; without TO it goes on until it is ended. Used by `scripts/soak.py`.
#![allow(clippy::unwrap_used)] // a panic is how it fails

use std::{
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use serde_json::json;
use tests::simulation::play;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let from = arguments.next().and_then(Result::ok).unwrap_or_else(|| {
        eprintln!("usage: play-seeds FROM [TO]");
        std::process::exit(2)
    });
    let to = arguments.next().and_then(Result::ok).unwrap_or(u64::MAX);
    let next = AtomicU64::new(from);
    let one_after_the_other = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= to {
                return;
            }
            let report = play(seed);
            let line = json!({
                "seed": seed, "digest": report.digest, "wrong": report.wrong, "connections": report.connections,
                "events": report.events, "frames": report.frames, "virtual_seconds": report.virtual_time.as_secs(),
                "mishaps": report.mishaps,
            });
            let mut out = std::io::stdout().lock();
            // Nobody reads any more: whoever started us is done.
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                std::process::exit(0);
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(2, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(one_after_the_other)));
    });
}
