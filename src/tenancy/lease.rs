//! A pooled connection that is closed unless it is handed back.

#![expect(
    clippy::disallowed_types,
    reason = "the text that opens a transaction names a schema, by SchemaName::quoted"
)]

use std::io;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, raw_sql};

use super::DatabaseError;
use super::session::{SearchPath, Session, Statement};

/// After this a rollback is given up and its connection closed.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Holds a pooled connection. Dropped in any other way than by [`Lease::hand_back`] or a rollback that
/// worked, it closes the connection, so a cancelled or failed piece of work can leave nothing behind
/// for the next one.
pub(super) struct Lease {
    connection: Option<PoolConnection<Postgres>>,
    session: Session,
}

impl Lease {
    /// A lease of `connection`, which is set up as `session` says.
    pub(super) fn new(connection: PoolConnection<Postgres>, session: Session) -> Self {
        Self {
            connection: Some(connection),
            session,
        }
    }

    #[expect(clippy::expect_used, reason = "what takes the connection ends the lease")]
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("a lease has a connection")
    }

    /// `statement`, as it is to be run on this connection.
    pub(super) fn prepared<'q>(&self, statement: Statement<'q>) -> Statement<'q> {
        self.session.prepared(statement)
    }

    /// Opens a read-only transaction and sets its search path in one message.
    pub(super) async fn begin(&mut self, path: SearchPath<'_>) -> Result<(), DatabaseError> {
        let begin = self.session.begin(path);
        raw_sql(AssertSqlSafe(begin)).execute(self.connection()).await?;
        Ok(())
    }

    /// Ends the transaction, then returns the connection to the pool.
    pub(super) async fn roll_back(mut self) -> Result<(), DatabaseError> {
        let rollback = raw_sql("ROLLBACK").execute(self.connection());
        tokio::time::timeout(ROLLBACK_TIMEOUT, rollback)
            .await
            .map_err(|_| sqlx::Error::Io(io::ErrorKind::TimedOut.into()))??;
        self.hand_back();
        Ok(())
    }

    /// Ends the transaction behind the caller's back: nothing was written, so nobody needs to wait
    /// for the rollback.
    pub(super) fn roll_back_unattended(self) {
        tokio::spawn(async move {
            if let Err(error) = self.roll_back().await {
                tracing::debug!(%error, "a rollback failed: its connection is closed");
            }
        });
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
        let statement_timeout = self.session.statement_timeout();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(statement_timeout, connection.ping()).await;
        });
    }
}
