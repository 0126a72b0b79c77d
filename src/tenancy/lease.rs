//! A pooled connection that is closed unless it is handed back.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

/// Holds a pooled connection. Dropped in any other way than by [`Lease::hand_back`], it closes the
/// connection, so a cancelled or failed piece of work can leave nothing behind for the next one.
pub(super) struct Lease {
    connection: PoolConnection<Postgres>,
    reusable: bool,
}

impl Lease {
    pub(super) fn new(connection: PoolConnection<Postgres>) -> Self {
        Self {
            connection,
            reusable: false,
        }
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Returns the connection to the pool. Only for one that is outside any transaction.
    pub(super) fn hand_back(mut self) {
        self.reusable = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.reusable {
            self.connection.close_on_drop();
        }
    }
}
