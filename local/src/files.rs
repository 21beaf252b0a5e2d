//! Open files: each connection is one, and so are those between our own clients and servers.
//!
//! A runtime out of files could neither push nor store, and clients would wait for what cannot come. So both get a share of what the
//! system allows, and neither can take the other's.

/// Files that are always open (tables, listeners, the runtime's own), with some room.
const ALWAYS_OPEN: u64 = 64;
/// Files kept back where there are enough: a quarter of all, and at least these.
const KEPT_BACK: u64 = 1024;
/// Calls of our own clients at once: far more than keep the tables busy, as a call takes a millisecond of them.
const CALLS: u64 = 256;

/// What the open files are enough for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Connections of clients.
    pub(crate) connections: usize,
    /// Calls of our own clients at once.
    pub(crate) calls: usize,
}

impl Room {
    /// Raises this process's limit of open files as far as it may be raised, and shares it out.
    pub(crate) fn make() -> Room {
        // Where the limit cannot be read there is none that we could know.
        Room::of(rlimit::increase_nofile_limit(u64::MAX).unwrap_or(u64::MAX))
    }

    fn of(files: u64) -> Room {
        let files = files.min(1 << 28);
        let kept_back = (files / 4).max(KEPT_BACK.min(files / 2));
        // Two files for each end of a call, and as many again for those that are closing.
        let calls = (kept_back.saturating_sub(ALWAYS_OPEN) / 4).clamp(1, CALLS);
        let fits = |number: u64| usize::try_from(number).unwrap_or(usize::MAX >> 3);
        Room { connections: fits(files - kept_back), calls: fits(calls) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_our_own_calls_both_have_room_within_the_limit() {
        assert_eq!(Room::of(256), Room { connections: 128, calls: 16 });
        assert_eq!(Room::of(1024), Room { connections: 512, calls: 112 });
        assert_eq!(Room::of(20_000), Room { connections: 15_000, calls: 256 });
        for files in (256..5000).chain([20_000, 1 << 20, u64::MAX]) {
            let Room { connections, calls } = Room::of(files);
            assert!(connections as u64 + 4 * calls as u64 + ALWAYS_OPEN <= files, "{files}");
        }
    }
}
