//! The pool: connections to PostgreSQL, at most as many as there are slots.

mod affinity;
mod connection;
mod gate;
mod slots;
mod tenant_limit;
mod waiters;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{DatabaseError, SchemaName};
use crate::connect::Connector;
use connection::ServerConnection;
pub(super) use connection::{PooledConnection, PreparedStatements};
use gate::ConnectGate;
use slots::{Acquired, CheckedOut, IDLE_TIMEOUT, Slots};
pub(super) use tenant_limit::{LimitError, TenantLimits, TenantPermit};
use waiters::{AFFINITY_TIMEOUT, Ticket};

/// Interval between two searches for connections that have expired.
const REAPER_INTERVAL: Duration = Duration::from_secs(IDLE_TIMEOUT.as_secs() / 12);

/// A pool of connections. Requests get one by [`Pool::acquire`] and return it by
/// [`PooledConnection::check_in`].
pub(super) struct Pool {
    slots: Mutex<Slots<ServerConnection, oneshot::Sender<()>>>,
    gate: ConnectGate,
    statement_cache: usize,
    close_timeout: Duration,
    acquire_timeouts: AtomicU64,
    all_free: Notify,
}

/// The pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// Maximum number of connections.
    pub limit: usize,
    /// Open connections.
    pub open: usize,
    /// Open connections that no request uses.
    pub idle: usize,
    /// Connections that are used, opened or closed just now.
    pub in_use: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// Requests that waited in vain, since the start.
    pub timeouts: u64,
}

/// The limits of a pool.
pub(super) struct PoolLimits {
    /// Maximum number of connections.
    pub(super) connections: usize,
    /// Maximum number of prepared statements of a connection.
    pub(super) statement_cache: usize,
    /// Maximum time for which a closed connection keeps its slot.
    pub(super) close_timeout: Duration,
    /// Maximum time for one attempt to connect.
    pub(super) connect_timeout: Duration,
}

impl Pool {
    /// Makes a pool, which opens no connection before the first is needed.
    pub(super) fn new(connector: Connector, limits: &PoolLimits) -> Arc<Self> {
        // A tenant takes two prepared statements at most.
        let affinity_threshold = limits.statement_cache / 2;
        let pool = Arc::new(Self {
            slots: Mutex::new(Slots::new(limits.connections, affinity_threshold)),
            gate: ConnectGate::new(connector, limits.connect_timeout),
            statement_cache: limits.statement_cache,
            close_timeout: limits.close_timeout,
            acquire_timeouts: AtomicU64::new(0),
            all_free: Notify::new(),
        });
        tokio::spawn(close_expired_connections(Arc::downgrade(&pool)));
        pool
    }

    /// Waits for a connection until `deadline`: an idle one, preferably of the slot that `tenant` prefers, or a
    /// new one. `is_retry` asks for a new one in any case. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::AcquireTimeout`] after the deadline, [`DatabaseError::Unavailable`] once the pool is
    /// closed.
    pub(super) async fn acquire(
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

    /// Opens a connection that does not belong to the pool.
    pub(super) async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        self.gate.connect().await
    }

    /// The error for a request that waited for a connection in vain.
    pub(super) fn acquire_timeout(&self) -> DatabaseError {
        self.acquire_timeouts.fetch_add(1, Ordering::Relaxed);
        let status = self.status();
        DatabaseError::AcquireTimeout {
            limit: status.limit,
            open: status.open,
            idle: status.idle,
            connect_error: self.gate.last_error(),
        }
    }

    /// The pool as it is now.
    pub(super) fn status(&self) -> PoolStatus {
        let slots = self.slots();
        let counts = slots.counts();
        PoolStatus {
            limit: slots.limit(),
            open: counts.open,
            idle: counts.idle,
            in_use: counts.in_use,
            waiting: counts.waiting,
            timeouts: self.acquire_timeouts.load(Ordering::Relaxed),
        }
    }

    /// Closes all connections, once the requests that use them have finished. Cancel-safe.
    pub(super) async fn close(self: &Arc<Self>) {
        drop(self.slots().close()); // wakes the requests that wait
        self.close_expired();
        loop {
            let freed = self.all_free.notified();
            if self.slots().counts().in_use == 0 {
                return;
            }
            freed.await;
        }
    }

    async fn check_out(
        self: &Arc<Self>,
        tenant: Option<&SchemaName>,
    ) -> Result<CheckedOut<ServerConnection>, DatabaseError> {
        let tenant =
            tenant.map(|tenant| BuildHasherDefault::<DefaultHasher>::default().hash_one(tenant.as_str()));
        let (waker, mut woken) = oneshot::channel();
        let acquired = self.slots().acquire(tenant, Instant::now(), waker);
        let ticket = match acquired {
            Acquired::Now(checked_out) => return Ok(checked_out),
            Acquired::Closed => return Err(sqlx::Error::PoolClosed.into()),
            Acquired::Waiting(ticket) => Waiting { pool: self, ticket },
        };
        // While other slots are idle, only the affinity keeps the request waiting: it has to look again. After
        // that, it gets any slot that becomes idle.
        let _ = tokio::time::timeout(AFFINITY_TIMEOUT, &mut woken).await;
        loop {
            let polled = self.slots().poll(ticket.ticket, Instant::now());
            match polled {
                Acquired::Now(checked_out) => return Ok(checked_out),
                Acquired::Closed => return Err(sqlx::Error::PoolClosed.into()),
                Acquired::Waiting(_) => {
                    let _ = (&mut woken).await;
                }
            }
        }
    }

    fn check_in(self: &Arc<Self>, slot: usize, connection: ServerConnection) {
        let now = Instant::now();
        let mut slots = self.slots();
        if slots.is_expired(slot, now) {
            drop(slots);
            self.close_connection(slot, connection);
        } else {
            wake(slots.check_in(slot, connection, now));
        }
    }

    fn free(&self, slot: usize) {
        let mut slots = self.slots();
        wake(slots.free(slot, Instant::now()));
        let is_unused = slots.counts().in_use == 0;
        drop(slots);
        if is_unused {
            self.all_free.notify_waiters();
        }
    }

    /// Closes a connection, whose slot stays taken until then.
    fn close_connection(self: &Arc<Self>, slot: usize, connection: ServerConnection) {
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(pool.close_timeout, connection.connection.close()).await;
            pool.free(slot);
        });
    }

    fn close_expired(self: &Arc<Self>) {
        let expired = self.slots().take_expired(Instant::now());
        for (slot, connection) in expired {
            self.close_connection(slot, connection);
        }
    }

    fn close_timeout(&self) -> Duration {
        self.close_timeout
    }

    fn slots(&self) -> MutexGuard<'_, Slots<ServerConnection, oneshot::Sender<()>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes a request that waits. One that was cancelled returns its slot itself.
fn wake(waiter: Option<oneshot::Sender<()>>) {
    if let Some(waiter) = waiter {
        let _ = waiter.send(());
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

/// Closes expired connections until the pool is dropped.
async fn close_expired_connections(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(REAPER_INTERVAL).await;
        match pool.upgrade() {
            Some(pool) => pool.close_expired(),
            None => return,
        }
    }
}
