//! A pooled connection that is closed unless it is handed back.

#![expect(
    clippy::disallowed_types,
    reason = "the text that opens a transaction names a schema, by SchemaName::quoted"
)]

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use super::DatabaseError;
use super::parking::{Checkout, Parking};
use super::session::{SearchPath, Session, Statement};

/// After this a rollback is given up and its connection closed.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Holds a pooled connection. Dropped in any other way than by [`Lease::hand_back`] or a rollback that
/// was sent, it closes the connection, so a cancelled or failed piece of work can leave nothing behind
/// for the next one.
pub(super) struct Lease {
    checkout: Option<Checkout>,
    parking: Arc<Parking>,
    session: Session,
}

impl Lease {
    /// A lease of a connection that is set up as `session` says, and goes back to `parking`.
    pub(super) fn new(checkout: Checkout, parking: Arc<Parking>, session: Session) -> Self {
        Self {
            checkout: Some(checkout),
            parking,
            session,
        }
    }

    #[expect(clippy::expect_used, reason = "what takes the connection ends the lease")]
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        let checkout = self.checkout.as_mut();
        &mut checkout.expect("a lease has a connection").connection
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

    /// Ends the transaction, then hands the connection back.
    pub(super) async fn roll_back(mut self) -> Result<(), DatabaseError> {
        let rollback = raw_sql("ROLLBACK").execute(self.connection());
        tokio::time::timeout(ROLLBACK_TIMEOUT, rollback)
            .await
            .map_err(|_| sqlx::Error::Io(io::ErrorKind::TimedOut.into()))??;
        self.hand_back();
        Ok(())
    }

    /// Ends the transaction and hands the connection back without waiting for the server's answer:
    /// nothing was written, so nobody needs it. Whoever is next on the connection reads it first, and
    /// fails where it is anything but that the transaction has ended.
    pub(super) fn roll_back_unattended(mut self) {
        let sent = {
            let rollback = pin!(raw_sql("ROLLBACK").execute(self.connection()));
            rollback.poll(&mut Context::from_waker(Waker::noop()))
        };
        match sent {
            Poll::Pending | Poll::Ready(Ok(_)) => self.hand_back(),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a rollback failed: its connection is closed");
            }
        }
    }

    /// Hands the connection back. Only for one that is outside any transaction.
    pub(super) fn hand_back(mut self) {
        if let Some(checkout) = self.checkout.take() {
            self.parking.park(checkout);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut checkout) = self.checkout.take() else {
            return;
        };
        checkout.connection.close_on_drop();
        // The server goes on with a statement whose client is gone. Until it is done, the connection
        // counts: else there would be more of them than the pool may have.
        let statement_timeout = self.session.statement_timeout();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(statement_timeout, checkout.connection.ping()).await;
        });
    }
}
