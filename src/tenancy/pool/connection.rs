//! A connection of the pool: how a request gets it, and the guard that it holds.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use sqlx::{Connection, PgConnection};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dispatcher::Acquired;
use super::server_connection::{PreparedStatements, ServerConnection};
use super::slots::CheckedOut;
use super::waiters::Ticket;
use super::{Pool, wake};
use crate::tenancy::{DatabaseError, SchemaName};

/// A connection in use, with its slot of the pool.
///
/// [`PooledConnection::check_in`] returns it to the pool. Dropped in any other way, as after an error or a
/// cancellation, the connection is closed, and the slot stays taken until the server has finished the statement:
/// otherwise more statements would run than the pool has connections, or the tenant may have.
pub(in crate::tenancy) struct PooledConnection {
    pool: Arc<Pool>,
    /// `None` once it was returned.
    slot: Option<usize>,
    /// `None` while it is opened.
    connection: Option<ServerConnection>,
    is_home: bool,
}

impl PooledConnection {
    /// Returns whether this connection prepares the tenant's statements.
    pub(in crate::tenancy) fn is_home(&self) -> bool {
        self.is_home
    }

    /// The connection and its prepared statements.
    #[expect(
        clippy::expect_used,
        reason = "`Pool::acquire` opens it, and only the methods that consume the guard take it out"
    )]
    pub(in crate::tenancy) fn parts(&mut self) -> (&mut PgConnection, &mut PreparedStatements) {
        let server = self.connection.as_mut().expect("the guard has a connection");
        (&mut server.connection, &mut server.prepared)
    }

    /// Returns the connection to the pool. Only for a connection that has received the complete answer to its last
    /// message.
    pub(in crate::tenancy) fn check_in(mut self) {
        if let (Some(slot), Some(connection)) = (self.slot.take(), self.connection.take()) {
            self.pool.check_in(slot, connection);
        }
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else {
            return;
        };
        let Some(mut server) = self.connection.take() else {
            return self.pool.free(slot);
        };
        let pool = Arc::clone(&self.pool);
        tokio::spawn(async move {
            // PostgreSQL answers a ping once it has finished the message before.
            let finished = tokio::time::timeout(pool.close_timeout(), server.connection.ping()).await;
            if matches!(finished, Ok(Ok(()))) {
                let _ = server.connection.close().await;
            }
            pool.free(slot);
        });
    }
}

impl Pool {
    /// Waits for a connection until `deadline`: an idle one, preferably of a home slot of `tenant`, or a new one.
    /// Without `has_affinity`, the tenant has no home slots. `is_retry` asks for a new connection in any case.
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::TenantLimit`] or [`DatabaseError::AcquireTimeout`] after the deadline, or at once if too many
    /// requests of the tenant wait. [`DatabaseError::Unavailable`] once the pool is closed.
    pub(in crate::tenancy) async fn acquire(
        self: &Arc<Self>,
        tenant: Option<&SchemaName>,
        has_affinity: bool,
        deadline: Instant,
        is_retry: bool,
    ) -> Result<PooledConnection, DatabaseError> {
        let acquire = async {
            let CheckedOut {
                slot,
                connection,
                is_home,
            } = self.check_out(tenant, has_affinity).await?;
            let mut pooled = PooledConnection {
                pool: Arc::clone(self),
                slot: Some(slot),
                connection,
                is_home,
            };
            if is_retry && let Some(old) = pooled.connection.take() {
                self.dispatcher().set_connected(slot, None);
                let _ = old.connection.close_hard().await;
            }
            if pooled.connection.is_none() {
                // Seldom done, and large: boxed, it does not make every request's future as large.
                let connection = Box::pin(self.gate.connect()).await?;
                self.dispatcher().set_connected(slot, Some(Instant::now()));
                pooled.connection = Some(ServerConnection::new(connection, self.statement_cache));
            }
            Ok(pooled)
        };
        match tokio::time::timeout_at(deadline, acquire).await {
            Ok(acquired) => acquired,
            Err(_) => Err(self.refuse(tenant)),
        }
    }

    async fn check_out(
        self: &Arc<Self>,
        tenant: Option<&SchemaName>,
        has_affinity: bool,
    ) -> Result<CheckedOut<ServerConnection>, DatabaseError> {
        let (waker, mut woken) = oneshot::channel();
        let acquired = self
            .dispatcher()
            .acquire(tenant.map(hash), has_affinity, Instant::now(), waker);
        let (ticket, late_at) = match acquired {
            Acquired::Now(checked_out) => return Ok(checked_out),
            Acquired::Refused => return Err(self.refuse(tenant)),
            Acquired::Closed => return Err(sqlx::Error::PoolClosed.into()),
            Acquired::Waiting { ticket, late_at } => (ticket, late_at),
        };
        let waiting = Waiting { pool: self, ticket };
        match late_at {
            Some(late_at) => drop(tokio::time::timeout_at(late_at, &mut woken).await),
            None => drop((&mut woken).await),
        }
        loop {
            let polled = self.dispatcher().poll(waiting.ticket, Instant::now());
            match polled {
                Acquired::Now(checked_out) => {
                    std::mem::forget(waiting); // nothing to cancel
                    return Ok(checked_out);
                }
                Acquired::Waiting { .. } => drop((&mut woken).await),
                Acquired::Refused | Acquired::Closed => return Err(sqlx::Error::PoolClosed.into()),
            }
        }
    }

    /// The error for a request that gets no connection.
    fn refuse(&self, tenant: Option<&SchemaName>) -> DatabaseError {
        let Some(tenant) = tenant.filter(|tenant| self.dispatcher().is_saturated_by(hash(tenant))) else {
            return self.acquire_timeout();
        };
        if let Some(refused) = self.refused.hit() {
            tracing::warn!(
                refused,
                tenant = tenant.as_str(),
                "refused requests of a tenant beyond TENANT_MAX_CONCURRENT_REQUESTS"
            );
        }
        DatabaseError::TenantLimit
    }
}

fn hash(tenant: &SchemaName) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(tenant.as_str())
}

/// A request that waits, until it is dropped.
struct Waiting<'p> {
    pool: &'p Arc<Pool>,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        wake(self.pool.dispatcher().cancel(self.ticket, Instant::now()));
    }
}
