//! The workers of a run.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::event::{RunEvent, TenantReport};
use crate::admin::error::AdminError;
use crate::admin::retry::RetryPolicy;
use crate::admin::{advisory_lock, database::AdminDatabase};
use crate::tenancy::{DatabaseError, SchemaName};

/// Delays between the attempts to connect.
const CONNECT_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_factor(5.0)
    .with_max_times(2);

/// Maximum number of tenants per connection: a backend caches the catalog entries of each table that it has
/// seen.
const MAX_TENANTS_PER_CONNECTION: usize = 250;

/// Wait for another session's advisory lock after which the wait is reported.
const REPORT_WAIT_AFTER: Duration = Duration::from_secs(5);

/// Work on one tenant.
pub(crate) trait TenantJob: Send + Sync + 'static {
    /// The changes to the tenant.
    type Outcome: Default + Send;

    /// Tries once to do the work, on a connection that holds the tenant's advisory lock. Changes are added to
    /// `outcome`, which contains those of earlier attempts.
    fn attempt(
        &self,
        database: &AdminDatabase,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        lock_timeout: Duration,
        outcome: &mut Self::Outcome,
    ) -> impl Future<Output = Result<(), AdminError>> + Send;
}

/// The tenants of a run and the work on them, which all workers share.
pub(super) struct Work<J> {
    pub(super) database: AdminDatabase,
    pub(super) tenants: Vec<SchemaName>,
    /// Index of the next tenant.
    pub(super) next: AtomicUsize,
    pub(super) failures: AtomicUsize,
    pub(super) job: J,
    pub(super) retry: RetryPolicy,
    pub(super) max_failures: Option<NonZeroUsize>,
}

/// A worker, which takes one tenant after the other.
pub(super) struct Worker<J: TenantJob> {
    pub(super) work: Arc<Work<J>>,
    pub(super) events: mpsc::Sender<RunEvent<J::Outcome>>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl<J: TenantJob> Worker<J> {
    /// Works until no tenants are left. If it fails to connect, the other workers take over its tenants.
    pub(super) async fn run(mut self) -> Result<(), AdminError> {
        while self.work.next.load(Ordering::Relaxed) < self.work.tenants.len() && !self.is_stopped() {
            let mut connection = self.connect().await?;
            for _ in 0..MAX_TENANTS_PER_CONNECTION {
                let Some(tenant) = self.take() else { break };
                let Some(report) = self.report(&mut connection, tenant).await else {
                    return Ok(());
                };
                let failed = report.error.is_some();
                if failed {
                    self.work.failures.fetch_add(1, Ordering::Relaxed);
                }
                if self.events.send(RunEvent::Finished(report)).await.is_err() {
                    return Ok(());
                }
                if failed {
                    // The session may be in any state, and still holds the advisory lock.
                    break;
                }
            }
            let _ = connection.close().await;
        }
        Ok(())
    }

    /// Opens a connection. The server counts a closed connection until its backend has exited, so that an
    /// attempt can fail although this worker has just closed its own.
    async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        (|| self.work.database.connect())
            .retry(CONNECT_BACKOFF)
            .when(|error| matches!(error, DatabaseError::Unavailable(_)))
            .await
    }

    /// Returns whether no further tenants are started.
    fn is_stopped(&self) -> bool {
        let failures = self.work.failures.load(Ordering::Relaxed);
        let has_failed = self.work.max_failures.is_some_and(|max| failures >= max.get());
        has_failed || *self.stopped.borrow()
    }

    /// Returns the next tenant, or `None` if there are no more or the run was stopped.
    fn take(&self) -> Option<SchemaName> {
        if self.is_stopped() {
            return None;
        }
        let index = self.work.next.fetch_add(1, Ordering::Relaxed);
        self.work.tenants.get(index).cloned()
    }

    /// Works on one tenant. Returns `None` if the run was stopped before the work was done.
    async fn report(
        &mut self,
        connection: &mut PgConnection,
        tenant: SchemaName,
    ) -> Option<TenantReport<J::Outcome>> {
        let begin = Instant::now();
        let mut outcome = J::Outcome::default();
        let worked = self.work_on(connection, &tenant, &mut outcome).await?;
        Some(TenantReport {
            tenant,
            outcome,
            duration: begin.elapsed(),
            error: worked.err(),
        })
    }

    /// Returns `None` if the run was stopped, as the following functions do.
    async fn work_on(
        &mut self,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        outcome: &mut J::Outcome,
    ) -> Option<Result<(), AdminError>> {
        if let Err(error) = self.lock(connection, tenant).await? {
            return Some(Err(error.into()));
        }
        let work = Arc::clone(&self.work);
        let lock_timeout = work.retry.lock_timeout;
        let mut backoff = work.retry.backoff();
        // Attempts are never cancelled, only the delays between them.
        while let Err(error) = work
            .job
            .attempt(&work.database, connection, tenant, lock_timeout, outcome)
            .await
        {
            let Some(delay) = backoff.next_delay(&error) else {
                return Some(Err(error));
            };
            let tenant = tenant.clone();
            self.send(RunEvent::Retrying { tenant, delay }).await;
            self.unless_stopped(sleep(delay)).await?;
        }
        let unlocked = advisory_lock::unlock(connection, tenant.as_str()).await;
        Some(unlocked.map_err(AdminError::from))
    }

    /// Waits for the tenant's advisory lock.
    async fn lock(
        &mut self,
        connection: &mut PgConnection,
        tenant: &SchemaName,
    ) -> Option<Result<(), DatabaseError>> {
        let mut locking = pin!(advisory_lock::lock(connection, tenant.as_str()));
        let locked = timeout(REPORT_WAIT_AFTER, &mut locking);
        if let Ok(locked) = self.unless_stopped(locked).await? {
            return Some(locked);
        }
        let tenant = tenant.clone();
        self.send(RunEvent::Waiting { tenant }).await;
        self.unless_stopped(locking).await
    }

    /// Sends an event. A dropped run has no receiver, and cancels this worker.
    async fn send(&self, event: RunEvent<J::Outcome>) {
        let _ = self.events.send(event).await;
    }

    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let stopped = async {
            let _ = self.stopped.wait_for(|stopped| *stopped).await;
        };
        tokio::select! {
            biased;
            () = stopped => None,
            done = work => Some(done),
        }
    }
}
