//! Hostile input: for everything that comes from outside, what must hold whatever it is.
//!
//! One file per target. A target gets bytes and panics if something that we promise does not hold; the engine (`main.rs`,
//! `make fuzz`) looks for such bytes, and `tests/corpora.rs` tries all that were ever interesting on every `cargo test`.
#![forbid(unsafe_code)]

pub mod cursors;
pub mod frames;
pub mod handshakes;
pub mod management;
pub mod notices;
pub mod stored;
mod wire;
mod world;

/// Something that takes input from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is also its folder in `corpus/`.
    pub name: &'static str,
    /// Panics if a promise does not hold for this input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "frames", run: frames::run },
    Target { name: "stored", run: stored::run },
    Target { name: "notices", run: notices::run },
    Target { name: "cursors", run: cursors::run },
    Target { name: "management", run: management::run },
    Target { name: "handshakes", run: handshakes::run },
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
