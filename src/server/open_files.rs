//! The limit of open files: each connection is one.

use std::num::NonZeroUsize;

/// For all that is neither a client nor a connection to the database: the log, the listener, the
/// runtime, a name being looked up.
const SPARE: usize = 64;

/// Raises the limit of open files to what `clients` and `others` take, as far as it may be raised.
/// How many clients there is room for then, at least one.
pub(super) fn room_for(clients: NonZeroUsize, others: usize) -> usize {
    let clients = clients.get();
    let others = others.saturating_add(SPARE);
    let needed = clients.saturating_add(others);
    let limit = match rlimit::increase_nofile_limit(u64::try_from(needed).unwrap_or(u64::MAX)) {
        Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files to {needed}");
            return clients;
        }
    };
    let room = limit.saturating_sub(others).clamp(1, clients);
    if room < clients {
        tracing::warn!(
            "the limit of {limit} open files has room for {room} client connections, not for {clients}: \
             raise it (ulimit -n), or lower MAX_CLIENT_CONNECTIONS"
        );
    }
    room
}
