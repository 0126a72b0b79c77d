//! A concurrency limit for each tenant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::log_throttle::LogThrottle;
use crate::tenancy::SchemaName;

/// Limits the connections that each tenant uses at once, and its requests that wait for one.
///
/// A request beyond the limit waits here, without a connection. So a tenant that floods the service, or whose
/// tables are locked, leaves connections to the others. A tenant has an entry only while it has requests.
pub(in crate::tenancy) struct TenantLimits {
    max_connections: usize,
    max_requests: usize,
    tenants: Mutex<HashMap<Arc<SchemaName>, Tenant>>,
    refused: LogThrottle,
}

struct Tenant {
    connections: Arc<Semaphore>,
    /// Number of requests that wait for a permit or have one.
    requests: usize,
    /// Number of requests that have a connection.
    connected: usize,
}

/// Permission to use one connection for a tenant, until it is dropped.
pub(in crate::tenancy) struct TenantPermit {
    limits: Arc<TenantLimits>,
    schema: Arc<SchemaName>,
    connection: Option<OwnedSemaphorePermit>,
    is_connected: bool,
}

/// The reason why a request of a tenant was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tenancy) enum LimitError {
    /// Other requests of the tenant use its connections.
    TenantSaturated,
    /// Other requests of the tenant wait for connections themselves: the pool has none.
    PoolExhausted,
}

impl TenantLimits {
    /// At most `max_connections` connections for each tenant, and `max_waiting` requests that wait for one.
    pub(in crate::tenancy) fn new(max_connections: usize, max_waiting: usize) -> Self {
        Self {
            max_connections: max_connections.min(Semaphore::MAX_PERMITS),
            max_requests: max_connections.saturating_add(max_waiting),
            tenants: Mutex::default(),
            refused: LogThrottle::default(),
        }
    }

    /// Waits until `deadline` for a permit, in the order of arrival. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`LimitError`] after the deadline, or at once if too many requests of the tenant wait already.
    pub(in crate::tenancy) async fn acquire(
        self: &Arc<Self>,
        schema: &Arc<SchemaName>,
        deadline: Instant,
    ) -> Result<TenantPermit, LimitError> {
        let (mut permit, connections) = self.enter(schema)?;
        let acquired = tokio::time::timeout_at(deadline, connections.acquire_owned()).await;
        let Ok(connection) = acquired else {
            let connected = self.tenants().get(schema).map_or(0, |tenant| tenant.connected);
            return Err(self.refuse(schema, connected));
        };
        permit.connection = connection.ok(); // the semaphore is never closed
        Ok(permit)
    }

    fn refuse(&self, schema: &SchemaName, connected: usize) -> LimitError {
        if connected == 0 {
            return LimitError::PoolExhausted;
        }
        if let Some(refused) = self.refused.hit() {
            tracing::warn!(
                refused,
                tenant = schema.as_str(),
                "refused requests of a tenant beyond TENANT_MAX_CONCURRENT_REQUESTS"
            );
        }
        LimitError::TenantSaturated
    }

    fn enter(
        self: &Arc<Self>,
        schema: &Arc<SchemaName>,
    ) -> Result<(TenantPermit, Arc<Semaphore>), LimitError> {
        let mut tenants = self.tenants();
        let tenant = tenants.entry(Arc::clone(schema)).or_insert_with(|| Tenant {
            connections: Arc::new(Semaphore::new(self.max_connections)),
            requests: 0,
            connected: 0,
        });
        if tenant.requests >= self.max_requests {
            return Err(self.refuse(schema, tenant.connected));
        }
        tenant.requests += 1;
        let permit = TenantPermit {
            limits: Arc::clone(self),
            schema: Arc::clone(schema),
            connection: None,
            is_connected: false,
        };
        Ok((permit, Arc::clone(&tenant.connections)))
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<Arc<SchemaName>, Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TenantPermit {
    /// Records that the request has a connection.
    pub(super) fn connected(mut self) -> Self {
        if let Some(tenant) = self.limits.tenants().get_mut(&self.schema) {
            tenant.connected += 1;
            self.is_connected = true;
        }
        self
    }
}

impl Drop for TenantPermit {
    fn drop(&mut self) {
        let mut tenants = self.limits.tenants();
        if let Some(tenant) = tenants.get_mut(&self.schema) {
            tenant.requests -= 1;
            tenant.connected -= usize::from(self.is_connected);
            if tenant.requests == 0 {
                tenants.remove(&self.schema);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinHandle;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn tenant(name: &str) -> Arc<SchemaName> {
        Arc::new(SchemaName::parse(name).unwrap())
    }

    async fn acquire(
        limits: &Arc<TenantLimits>,
        tenant: &Arc<SchemaName>,
    ) -> Result<TenantPermit, LimitError> {
        limits.acquire(tenant, Instant::now() + TIMEOUT).await
    }

    /// Starts a request that has to wait.
    async fn wait(
        limits: &Arc<TenantLimits>,
        tenant: &Arc<SchemaName>,
    ) -> JoinHandle<Result<TenantPermit, LimitError>> {
        let (limits, tenant) = (Arc::clone(limits), Arc::clone(tenant));
        let waiting = tokio::spawn(async move { acquire(&limits, &tenant).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        waiting
    }

    #[tokio::test(start_paused = true)]
    async fn tenant_waits_for_its_own_permits_only() {
        let limits = Arc::new(TenantLimits::new(2, 10));
        let (busy, other) = (tenant("busy"), tenant("other"));
        let first = acquire(&limits, &busy).await.ok().unwrap();
        let _second = acquire(&limits, &busy).await.ok().unwrap();
        let third = wait(&limits, &busy).await;
        let fourth = wait(&limits, &busy).await;
        assert!(acquire(&limits, &other).await.is_ok());
        drop(first);
        let _third = third.await.unwrap().ok().unwrap();
        assert!(!fourth.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn error_names_the_exhausted_limit() {
        let limits = Arc::new(TenantLimits::new(1, 10));
        let busy = tenant("busy");
        let permit = acquire(&limits, &busy).await.ok().unwrap();
        assert_eq!(
            acquire(&limits, &busy).await.err(),
            Some(LimitError::PoolExhausted)
        );
        let permit = permit.connected();
        assert_eq!(
            acquire(&limits, &busy).await.err(),
            Some(LimitError::TenantSaturated)
        );
        drop(permit);
        let _permit = acquire(&limits, &busy).await.ok().unwrap();
        assert_eq!(
            acquire(&limits, &busy).await.err(),
            Some(LimitError::PoolExhausted)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn request_beyond_the_waiting_limit_is_refused_at_once() {
        let limits = Arc::new(TenantLimits::new(1, 1));
        let busy = tenant("busy");
        let first = acquire(&limits, &busy).await.ok().unwrap().connected();
        let cancelled = wait(&limits, &busy).await;
        let start = Instant::now();
        assert_eq!(
            acquire(&limits, &busy).await.err(),
            Some(LimitError::TenantSaturated)
        );
        assert_eq!(start.elapsed(), Duration::ZERO);
        cancelled.abort();
        assert!(cancelled.await.is_err());
        let third = wait(&limits, &busy).await;
        drop(first);
        assert!(third.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_without_requests_have_no_entry() {
        let limits = Arc::new(TenantLimits::new(1, 1));
        let held = acquire(&limits, &tenant("held")).await.ok().unwrap();
        for number in 0..10_000 {
            let tenant = tenant(&format!("t{number}"));
            let permit = acquire(&limits, &tenant).await.ok().unwrap();
            let waiting = wait(&limits, &tenant).await;
            drop(permit);
            waiting.abort();
            let _ = waiting.await;
        }
        assert_eq!(limits.tenants().len(), 1);
        drop(held);
        assert!(limits.tenants().is_empty());
    }
}
