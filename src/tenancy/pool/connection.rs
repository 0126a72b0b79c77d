//! A connection of the pool: how a request gets it, and the guard that it holds.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use sqlx::{Connection, PgConnection};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::server_connection::{PreparedStatements, ServerConnection};
use super::slots::{Acquired, CheckedOut};
use super::tenant_limit::TenantPermit;
use super::waiters::{AFFINITY_TIMEOUT, Ticket};
use super::{Pool, wake};
use crate::tenancy::{DatabaseError, SchemaName};

/// A connection in use, with its slot of the pool.
///
/// [`PooledConnection::check_in`] returns it to the pool. Dropped in any other way, as after an error or a
/// cancellation, the connection is closed, and the slot and the tenant's permit stay taken until the server
/// has finished the statement: otherwise more statements would run than the pool has connections.
pub(in crate::tenancy) struct PooledConnection {
    connection: Option<ServerConnection>,
    slot: usize,
    is_home: bool,
    pool: Arc<Pool>,
    permit: Option<TenantPermit>,
}

impl PooledConnection {
    fn new(connection: ServerConnection, slot: usize, is_home: bool, pool: Arc<Pool>) -> Self {
        Self {
            connection: Some(connection),
            slot,
            is_home,
            pool,
            permit: None,
        }
    }

    /// Keeps `permit` for as long as the server works for this connection.
    pub(in crate::tenancy) fn with_permit(mut self, permit: Option<TenantPermit>) -> Self {
        self.permit = permit.map(TenantPermit::connected);
        self
    }

    /// Returns whether this connection prepares the tenant's statements.
    pub(in crate::tenancy) fn is_home(&self) -> bool {
        self.is_home
    }

    /// The connection and its prepared statements.
    #[expect(
        clippy::expect_used,
        reason = "only the methods that consume the guard take it out"
    )]
    pub(in crate::tenancy) fn parts(&mut self) -> (&mut PgConnection, &mut PreparedStatements) {
        let server = self.connection.as_mut().expect("the guard has a connection");
        (&mut server.connection, &mut server.prepared)
    }

    /// Returns the connection to the pool. Only for a connection that has received the complete answer to its last message.
    pub(in crate::tenancy) fn check_in(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.check_in(self.slot, connection);
        }
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let Some(mut server) = self.connection.take() else {
            return;
        };
        let (pool, slot, permit) = (Arc::clone(&self.pool), self.slot, self.permit.take());
        tokio::spawn(async move {
            // PostgreSQL answers a ping once it has finished the message before.
            let finished = tokio::time::timeout(pool.close_timeout(), server.connection.ping()).await;
            if matches!(finished, Ok(Ok(()))) {
                let _ = server.connection.close().await;
            }
            drop(permit);
            pool.free(slot);
        });
    }
}

impl Pool {
    /// Waits for a connection until `deadline`: an idle one, preferably of the slot that `tenant` prefers, or a
    /// new one. `is_retry` asks for a new one in any case. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::AcquireTimeout`] after the deadline, [`DatabaseError::Unavailable`] once the pool is
    /// closed.
    pub(in crate::tenancy) async fn acquire(
        self: &Arc<Self>,
        tenant: Option<&SchemaName>,
        deadline: Instant,
        is_retry: bool,
    ) -> Result<PooledConnection, DatabaseError> {
        let acquire = async {
            let CheckedOut {
                slot,
                connection,
                is_home,
            } = self.check_out(tenant).await?;
            let slot = TakenSlot { pool: self, slot };
            if let Some(connection) = connection {
                if !is_retry {
                    return Ok(slot.into_connection(connection, is_home));
                }
                let _ = connection.connection.close_hard().await;
            }
            // Seldom done, and large: boxed, it does not make every request's future as large.
            let connection = Box::pin(self.gate.connect()).await?;
            self.slots().connected(slot.slot, Instant::now());
            Ok(slot.into_connection(ServerConnection::new(connection, self.statement_cache), is_home))
        };
        match tokio::time::timeout_at(deadline, acquire).await {
            Ok(acquired) => acquired,
            Err(_) => Err(self.acquire_timeout()),
        }
    }

    async fn check_out(
        self: &Arc<Self>,
        tenant: Option<&SchemaName>,
    ) -> Result<CheckedOut<ServerConnection>, DatabaseError> {
        let tenant =
            tenant.map(|tenant| BuildHasherDefault::<DefaultHasher>::default().hash_one(tenant.as_str()));
        let (waker, mut woken) = oneshot::channel();
        let (acquired, has_affinity) = {
            let mut slots = self.slots();
            (
                slots.acquire(tenant, Instant::now(), waker),
                slots.affinity.is_enabled(),
            )
        };
        let waiting = match acquired {
            Acquired::Now(checked_out) => return Ok(checked_out),
            Acquired::Closed => return Err(sqlx::Error::PoolClosed.into()),
            Acquired::Waiting(ticket) => Waiting { pool: self, ticket },
        };
        if has_affinity {
            // While other slots are idle, only the affinity keeps the request waiting: it has to look again. After
            // that, it gets any slot that becomes idle.
            let _ = tokio::time::timeout(AFFINITY_TIMEOUT, &mut woken).await;
        } else {
            let _ = (&mut woken).await;
        }
        loop {
            let polled = self.slots().poll(waiting.ticket, Instant::now());
            match polled {
                Acquired::Now(checked_out) => {
                    std::mem::forget(waiting); // nothing to cancel
                    return Ok(checked_out);
                }
                Acquired::Closed => return Err(sqlx::Error::PoolClosed.into()),
                Acquired::Waiting(_) => {
                    let _ = (&mut woken).await;
                }
            }
        }
    }
}

/// A slot without a connection, freed when it is dropped.
struct TakenSlot<'p> {
    pool: &'p Arc<Pool>,
    slot: usize,
}

impl TakenSlot<'_> {
    fn into_connection(self, connection: ServerConnection, is_home: bool) -> PooledConnection {
        let connection = PooledConnection::new(connection, self.slot, is_home, Arc::clone(self.pool));
        std::mem::forget(self); // the connection frees the slot now
        connection
    }
}

impl Drop for TakenSlot<'_> {
    fn drop(&mut self) {
        self.pool.free(self.slot);
    }
}

/// A request that waits, until it is dropped.
struct Waiting<'p> {
    pool: &'p Arc<Pool>,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        wake(self.pool.slots().cancel(self.ticket, Instant::now()));
    }
}
