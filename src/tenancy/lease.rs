//! A pooled connection that is closed unless it is handed back.

#![expect(
    clippy::disallowed_types,
    reason = "the text that opens a transaction names a schema, by SchemaName::quoted"
)]

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use super::DatabaseError;
use super::checkout::Checkout;
use super::session::{SearchPath, Session, Statement};
use super::shares::Share;

/// After this a rollback is given up and its connection closed.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Holds a pooled connection. Dropped in any other way than by [`Lease::hand_back`] or a rollback that
/// was sent, it closes the connection, so a cancelled or failed piece of work can leave nothing behind
/// for the next one.
pub(super) struct Lease {
    checkout: Option<Checkout>,
    session: Session,
    /// Kept as long as the server is at work.
    share: Option<Share>,
}

impl Lease {
    /// A lease of a connection that is set up as `session` says.
    pub(super) fn new(checkout: Checkout, session: Session) -> Self {
        Self {
            checkout: Some(checkout),
            session,
            share: None,
        }
    }

    /// The same, which counts as one of a tenant's.
    pub(super) fn on_behalf_of(mut self, share: Share) -> Self {
        self.share = Some(share.connected());
        self
    }

    /// The same, where tenants have no roles.
    pub(super) fn without_roles(mut self) -> Self {
        self.session = self.session.without_roles();
        self
    }

    #[expect(clippy::expect_used, reason = "what takes the checkout ends the lease")]
    fn checkout(&mut self) -> &mut Checkout {
        self.checkout.as_mut().expect("a lease has a connection")
    }

    /// The connection inside the transaction that was begun.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.checkout().connection()
    }

    /// The connection outside any transaction.
    pub(super) async fn idle_connection(&mut self) -> Result<&mut PgConnection, DatabaseError> {
        if self.checkout().take_open_transaction() {
            raw_sql("ROLLBACK").execute(self.connection()).await?;
        }
        Ok(self.connection())
    }

    /// `statement`, as it is to be run on this connection.
    pub(super) fn prepared<'q>(&self, statement: Statement<'q>) -> Statement<'q> {
        self.session.prepared(statement)
    }

    /// Opens a read-only transaction and sets its search path in one message, which ends the last
    /// transaction first where that is still to be done.
    pub(super) async fn begin(&mut self, path: SearchPath<'_>) -> Result<(), DatabaseError> {
        let mut begin = self.session.begin(path);
        if self.checkout().take_open_transaction() {
            begin.insert_str(0, "ROLLBACK; ");
        }
        let opened = raw_sql(AssertSqlSafe(begin)).execute(self.connection()).await;
        opened.map_err(DatabaseError::at_begin)?;
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

    /// Ends the transaction without waiting for it: nothing was written, so nobody needs to know.
    ///
    /// Whoever waits for the connection gets it as it is and ends the transaction in the message that
    /// begins the next. Where nobody waits, the rollback is sent and its answer is not waited for: who comes
    /// next reads it first, and fails where it is anything but that the transaction has ended.
    pub(super) fn roll_back_unattended(mut self) {
        let Some(checkout) = self.checkout.take() else {
            return;
        };
        let Err(mut checkout) = checkout.hand_over() else {
            return;
        };
        let sent = {
            let rollback = pin!(raw_sql("ROLLBACK").execute(checkout.connection()));
            rollback.poll(&mut Context::from_waker(Waker::noop()))
        };
        match sent {
            Poll::Pending | Poll::Ready(Ok(_)) => checkout.park(),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a rollback failed: its connection is closed");
            }
        }
    }

    /// Hands the connection back. Only for one that is outside any transaction.
    pub(super) fn hand_back(mut self) {
        if let Some(checkout) = self.checkout.take() {
            checkout.park();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut checkout) = self.checkout.take() else {
            return;
        };
        checkout.close_on_drop();
        // The server goes on with a statement whose client is gone. Until it is done, the connection
        // counts: else there would be more of them than the pool may have.
        let statement_timeout = self.session.statement_timeout();
        let share = self.share.take();
        tokio::spawn(async move {
            let _share = share;
            let _ = tokio::time::timeout(statement_timeout, checkout.connection().ping()).await;
        });
    }
}
