//! A pooled connection that is closed unless it is handed back.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, Postgres};

/// Holds a pooled connection. Dropped in any other way than by [`Lease::hand_back`], it closes the
/// connection, so a cancelled or failed piece of work can leave nothing behind for the next one.
pub(super) struct Lease {
    connection: Option<PoolConnection<Postgres>>,
    statement_timeout: Duration,
}

impl Lease {
    /// A statement on `connection` ends by itself after `statement_timeout`.
    pub(super) fn new(connection: PoolConnection<Postgres>, statement_timeout: Duration) -> Self {
        Self {
            connection: Some(connection),
            statement_timeout,
        }
    }

    #[expect(clippy::expect_used, reason = "what takes the connection ends the lease")]
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("a lease has a connection")
    }

    /// Returns the connection to the pool. Only for one that is outside any transaction.
    pub(super) fn hand_back(mut self) {
        drop(self.connection.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        connection.close_on_drop();
        // The server goes on with a statement whose client is gone. Until it is done, the connection
        // counts: else there would be more of them than the pool may have.
        let statement_timeout = self.statement_timeout;
        tokio::spawn(async move {
            let _ = tokio::time::timeout(statement_timeout, connection.ping()).await;
        });
    }
}
