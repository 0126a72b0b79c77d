//! The pool: connections to PostgreSQL, at most as many as there are slots.

mod affinity;
mod connection;
mod dispatcher;
mod gate;
mod server_connection;
mod slots;
mod waiters;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::DatabaseError;
use crate::connect::Connector;
use crate::log_throttle::LogThrottle;
use dispatcher::Dispatcher;
pub(super) use dispatcher::TenantLimits;
use gate::ConnectGate;
pub(super) use server_connection::PreparedStatements;
use server_connection::ServerConnection;
use slots::IDLE_TIMEOUT;

/// Interval between two searches for connections that have expired.
const REAPER_INTERVAL: Duration = Duration::from_secs(IDLE_TIMEOUT.as_secs() / 12);

/// A pool of connections. Requests get one by [`Pool::acquire`] and return it by
/// [`PooledConnection::check_in`](connection::PooledConnection::check_in).
pub(super) struct Pool {
    dispatcher: Mutex<Dispatcher<ServerConnection, oneshot::Sender<()>>>,
    gate: ConnectGate,
    statement_cache: usize,
    close_timeout: Duration,
    acquire_timeouts: AtomicU64,
    refused: LogThrottle,
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
    /// Requests that got no connection in time, since the start.
    pub timeouts: u64,
}

/// The limits of a pool.
pub(super) struct PoolLimits {
    /// Maximum number of connections.
    pub(super) connections: usize,
    /// Maximum number of prepared statements of a connection.
    pub(super) statement_cache: usize,
    /// The limits of each tenant.
    pub(super) tenants: TenantLimits,
    /// Maximum time for which a closed connection keeps its slot.
    pub(super) close_timeout: Duration,
    /// Maximum time for one attempt to connect.
    pub(super) connect_timeout: Duration,
}

impl Pool {
    /// Makes a pool, which opens no connection before the first is needed.
    pub(super) fn new(connector: Connector, limits: &PoolLimits) -> Arc<Self> {
        let pool = Arc::new(Self {
            // A tenant takes two prepared statements at most.
            dispatcher: Mutex::new(Dispatcher::new(
                limits.connections,
                limits.statement_cache / 2,
                limits.tenants,
            )),
            gate: ConnectGate::new(connector, limits.connect_timeout),
            statement_cache: limits.statement_cache,
            close_timeout: limits.close_timeout,
            acquire_timeouts: AtomicU64::new(0),
            refused: LogThrottle::default(),
            all_free: Notify::new(),
        });
        tokio::spawn(close_expired_connections(Arc::downgrade(&pool)));
        pool
    }

    /// Opens a connection that does not belong to the pool.
    pub(super) async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        self.gate.connect().await
    }

    /// The error for a request that got no connection in time.
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
        PoolStatus {
            timeouts: self.acquire_timeouts.load(Ordering::Relaxed),
            ..self.dispatcher().status()
        }
    }

    /// Closes all connections, once the requests that use them have finished. Cancel-safe.
    pub(super) async fn close(self: &Arc<Self>) {
        drop(self.dispatcher().close()); // wakes the requests that wait
        self.close_expired();
        loop {
            let freed = self.all_free.notified();
            if self.dispatcher().status().in_use == 0 {
                return;
            }
            freed.await;
        }
    }

    fn check_in(self: &Arc<Self>, slot: usize, connection: ServerConnection) {
        let now = Instant::now();
        let mut dispatcher = self.dispatcher();
        if dispatcher.is_expired(slot, now) {
            drop(dispatcher);
            self.close_connection(slot, connection);
        } else {
            wake(dispatcher.check_in(slot, connection, now));
        }
    }

    fn free(&self, slot: usize) {
        let mut dispatcher = self.dispatcher();
        wake(dispatcher.free(slot, Instant::now()));
        let is_unused = dispatcher.status().in_use == 0;
        drop(dispatcher);
        if is_unused {
            self.all_free.notify_waiters();
        }
    }

    /// Closes a connection. Its slot stays taken until then.
    fn close_connection(self: &Arc<Self>, slot: usize, connection: ServerConnection) {
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(pool.close_timeout, connection.connection.close()).await;
            pool.free(slot);
        });
    }

    fn close_expired(self: &Arc<Self>) {
        let expired = self.dispatcher().take_expired(Instant::now());
        for (slot, connection) in expired {
            self.close_connection(slot, connection);
        }
    }

    fn close_timeout(&self) -> Duration {
        self.close_timeout
    }

    fn dispatcher(&self) -> MutexGuard<'_, Dispatcher<ServerConnection, oneshot::Sender<()>>> {
        self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes requests that wait. One that was cancelled returns its slot itself.
fn wake(waiters: [Option<oneshot::Sender<()>>; 2]) {
    for waiter in waiters.into_iter().flatten() {
        let _ = waiter.send(());
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
