//! Load on a server: clients by the thousand, latencies, and peers who mean harm.
//!
//! The program `load` (`src/bin/load.rs`) runs these as processes of their own against a real `webchat local`, for `make bench` and
//! `make soak`; `tests/tests/local_load.rs` runs the hostile ones small. Everything is bounded in number and time.

pub mod bench;
pub mod client;
pub mod crowd;
pub mod hostile;
pub mod latency;
pub mod server;
pub mod soak;

use anyhow::{Result, ensure};

/// Files a process needs besides its connections.
const OTHER_FILES: u64 = 200;

/// Raises the limit of open files so that `connections` fit, or says that they do not.
pub fn allow_open_files(connections: usize) -> Result<()> {
    let wanted = connections as u64 + OTHER_FILES;
    let allowed = rlimit::increase_nofile_limit(wanted)?;
    ensure!(
        allowed >= wanted,
        "{connections} connections need {wanted} open files, and the hard limit (ulimit -Hn) is {allowed}"
    );
    Ok(())
}
