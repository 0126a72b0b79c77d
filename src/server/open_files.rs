//! The process's limit of open files: each connection takes one.

use std::num::NonZeroUsize;

/// Open files that are not connections: the log, the listener, the runtime, DNS lookups.
const RESERVED_FILES: usize = 64;

/// Raises the process's soft limit of open files for `clients` and `other_connections`, up to the hard
/// limit. Returns the number of clients that fit, at least one.
pub(super) fn raise_limit(clients: NonZeroUsize, other_connections: usize) -> usize {
    let clients = clients.get();
    let reserved = other_connections.saturating_add(RESERVED_FILES);
    let needed = clients.saturating_add(reserved);
    let limit = match rlimit::increase_nofile_limit(u64::try_from(needed).unwrap_or(u64::MAX)) {
        Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "failed to raise the limit of open files to {needed}");
            return clients;
        }
    };
    let max_clients = limit.saturating_sub(reserved).clamp(1, clients);
    if max_clients < clients {
        tracing::warn!(
            "the limit of {limit} open files allows {max_clients} client connections instead of {clients}; \
             raise it (ulimit -n) or lower MAX_CLIENT_CONNECTIONS"
        );
    }
    max_clients
}
