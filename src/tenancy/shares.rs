//! How much of the service one tenant may take at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::SchemaName;
use crate::log_throttle::LogThrottle;

/// Lets each tenant have so many connections at once, and so many requests that wait for one.
///
/// What a tenant asks for beyond its share waits here, without a connection, so that a tenant that floods
/// the service, or whose tables are locked, leaves the other connections to the others. A tenant is known
/// here only while it has a request under way.
pub(super) struct Shares {
    at_work: usize,
    under_way: usize,
    tenants: Mutex<HashMap<Arc<SchemaName>, Arc<Tenant>>>,
    refused: LogThrottle,
}

/// What a tenant has left, and what it has.
struct Tenant {
    at_work: Arc<Semaphore>,
    under_way: Arc<Semaphore>,
    connections: AtomicUsize,
}

/// The right to one connection on behalf of a tenant, as long as it lives.
pub(super) struct Share {
    shares: Arc<Shares>,
    schema: Arc<SchemaName>,
    tenant: Arc<Tenant>,
    _under_way: OwnedSemaphorePermit,
    at_work: Option<OwnedSemaphorePermit>,
    has_connection: bool,
}

/// A tenant's turn did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoShare {
    /// The tenant's own requests are in the way.
    Busy,
    /// So are they, but they wait for connections themselves: there are none.
    Stuck,
}

impl Shares {
    /// Each tenant may have `at_work` connections, and `waiting` requests that wait for one.
    pub(super) fn new(at_work: usize, waiting: usize) -> Self {
        Self {
            at_work: at_work.min(Semaphore::MAX_PERMITS),
            under_way: at_work.saturating_add(waiting).min(Semaphore::MAX_PERMITS),
            tenants: Mutex::default(),
            refused: LogThrottle::default(),
        }
    }

    /// Waits for its turn until `deadline`, and not at all where too many wait already. The first to come is
    /// the first to be served. Cancel-safe.
    pub(super) async fn take(
        self: &Arc<Self>,
        schema: &Arc<SchemaName>,
        deadline: Instant,
    ) -> Result<Share, NoShare> {
        let mut share = self.enter(schema)?;
        let turn = Arc::clone(&share.tenant.at_work).acquire_owned();
        match tokio::time::timeout_at(deadline, turn).await {
            Ok(turn) => share.at_work = turn.ok(), // never closed
            Err(_) => return Err(self.refuse(schema, &share.tenant)),
        }
        Ok(share)
    }

    /// Why there is no share. Tells the log now and then.
    fn refuse(&self, schema: &SchemaName, tenant: &Tenant) -> NoShare {
        if tenant.connections.load(Ordering::Relaxed) == 0 {
            return NoShare::Stuck;
        }
        if let Some(refused) = self.refused.hit() {
            tracing::warn!(
                refused,
                tenant = schema.as_str(),
                "more requests of a tenant than TENANT_MAX_CONCURRENT_REQUESTS: some are refused"
            );
        }
        NoShare::Busy
    }

    fn enter(self: &Arc<Self>, schema: &Arc<SchemaName>) -> Result<Share, NoShare> {
        let mut tenants = self.tenants();
        let tenant = tenants.entry(Arc::clone(schema)).or_insert_with(|| {
            Arc::new(Tenant {
                at_work: Arc::new(Semaphore::new(self.at_work)),
                under_way: Arc::new(Semaphore::new(self.under_way)),
                connections: AtomicUsize::new(0),
            })
        });
        let Ok(under_way) = Arc::clone(&tenant.under_way).try_acquire_owned() else {
            return Err(self.refuse(schema, tenant));
        };
        Ok(Share {
            shares: Arc::clone(self),
            schema: Arc::clone(schema),
            tenant: Arc::clone(tenant),
            _under_way: under_way,
            at_work: None,
            has_connection: false,
        })
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<Arc<SchemaName>, Arc<Tenant>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// There is a connection for it.
    pub(super) fn connected(mut self) -> Self {
        self.tenant.connections.fetch_add(1, Ordering::Relaxed);
        self.has_connection = true;
        self
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.has_connection {
            self.tenant.connections.fetch_sub(1, Ordering::Relaxed);
        }
        let mut tenants = self.shares.tenants();
        // Ours and the map's: nobody else has any, and nobody can get one meanwhile.
        if Arc::strong_count(&self.tenant) == 2 {
            tenants.remove(&self.schema);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinHandle;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn tenant(name: &str) -> Arc<SchemaName> {
        Arc::new(SchemaName::parse(name).unwrap())
    }

    async fn take(shares: &Arc<Shares>, tenant: &Arc<SchemaName>) -> Result<Share, NoShare> {
        shares.take(tenant, Instant::now() + PATIENCE).await
    }

    /// One who waits.
    async fn waits(shares: &Arc<Shares>, tenant: &Arc<SchemaName>) -> JoinHandle<Result<Share, NoShare>> {
        let (shares, tenant) = (Arc::clone(shares), Arc::clone(tenant));
        let waiting = tokio::spawn(async move { take(&shares, &tenant).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        waiting
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_waits_for_its_own_share_and_not_for_another_tenants() {
        let shares = Arc::new(Shares::new(2, 10));
        let (busy, other) = (tenant("busy"), tenant("other"));
        let first = take(&shares, &busy).await.ok().unwrap();
        let _second = take(&shares, &busy).await.ok().unwrap();
        let third = waits(&shares, &busy).await;
        let fourth = waits(&shares, &busy).await;
        assert!(take(&shares, &other).await.is_ok());
        drop(first);
        let _third = third.await.unwrap().ok().unwrap();
        assert!(!fourth.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_is_told_what_for() {
        let shares = Arc::new(Shares::new(1, 10));
        let busy = tenant("busy");
        let share = take(&shares, &busy).await.ok().unwrap();
        assert_eq!(take(&shares, &busy).await.err(), Some(NoShare::Stuck));
        let share = share.connected();
        assert_eq!(take(&shares, &busy).await.err(), Some(NoShare::Busy));
        drop(share);
        let _share = take(&shares, &busy).await.ok().unwrap();
        assert_eq!(take(&shares, &busy).await.err(), Some(NoShare::Stuck));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_may() {
        let shares = Arc::new(Shares::new(1, 1));
        let busy = tenant("busy");
        let first = take(&shares, &busy).await.ok().unwrap().connected();
        let second = waits(&shares, &busy).await;
        let start = Instant::now();
        assert_eq!(take(&shares, &busy).await.err(), Some(NoShare::Busy));
        assert_eq!(start.elapsed(), Duration::ZERO);
        second.abort(); // it gives up
        assert!(second.await.is_err());
        let third = waits(&shares, &busy).await;
        drop(first);
        assert!(third.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_tenants_that_ask_for_nothing() {
        let shares = Arc::new(Shares::new(1, 1));
        let held = take(&shares, &tenant("held")).await.ok().unwrap();
        for number in 0..10_000 {
            let tenant = tenant(&format!("t{number}"));
            let share = take(&shares, &tenant).await.ok().unwrap();
            let waiting = waits(&shares, &tenant).await;
            drop(share);
            waiting.abort();
            let _ = waiting.await;
        }
        assert_eq!(shares.tenants().len(), 1);
        drop(held);
        assert!(shares.tenants().is_empty());
    }
}
