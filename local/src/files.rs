//! Open files: each connection is one, and so are those between our own clients and servers.
//!
//! A runtime out of files could neither push nor store, so the public listener takes only its share of what the system allows.

/// Clients may take three quarters of the files.
const CLIENTS_SHARE: (u64, u64) = (3, 4);

/// Raises this process's limit of open files as far as it may be raised; the connections there is then room for, beside our own.
pub(crate) fn room_for_connections() -> usize {
    // Where the limit cannot be read there is none that we could know. Tokio's semaphores hold 2^61.
    let allowed = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(u64::MAX).min(1 << 32);
    usize::try_from(allowed * CLIENTS_SHARE.0 / CLIENTS_SHARE.1).unwrap_or(usize::MAX >> 3)
}
