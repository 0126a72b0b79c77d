//! A run: workers that take turns at the tenants.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{FleetEvent, FleetOptions, FleetTask, TenantReport};
use crate::admin::AdminError;
use crate::admin::citus::distribution;
use crate::admin::migrate::{self, TenantProgress};
use crate::admin::{advisory_lock, database::AdminDatabase};
use crate::tenancy::{DatabaseError, SchemaName};

/// Between two tries at a connection.
const CONNECT_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];
/// Tenants that one connection works on: its backend remembers each table that it has seen.
const TENANTS_OF_A_CONNECTION: usize = 250;

/// After so long it is told that another session works on a tenant.
const LONG_WAIT: Duration = Duration::from_secs(5);

/// Tenants being worked on. Dropped, it cuts off what is under way, of which nothing stays then.
pub struct FleetRun {
    events: mpsc::Receiver<FleetEvent>,
    stop: watch::Sender<bool>,
    workers: JoinSet<Result<(), AdminError>>,
}

impl FleetRun {
    /// Begins to work on `tenants`.
    ///
    /// # Errors
    ///
    /// [`AdminError`] where the server does not tell how many connections it can spare.
    pub async fn start(
        database: &AdminDatabase,
        tenants: Vec<SchemaName>,
        options: FleetOptions,
    ) -> Result<Self, AdminError> {
        let jobs = match options.jobs {
            Some(jobs) => jobs.get(),
            None if tenants.is_empty() => 0,
            None => fitting_jobs(database).await?,
        };
        let (sender, events) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let jobs = jobs.min(tenants.len());
        let worker = Worker {
            database: database.clone(),
            tenants: tenants.into(),
            next: Arc::default(),
            options,
            events: sender,
            stopped,
        };
        let mut workers = JoinSet::new();
        for _ in 0..jobs {
            workers.spawn(worker.clone().work());
        }
        Ok(Self {
            events,
            stop,
            workers,
        })
    }

    /// What happens next; none when all is over. Dropped half-way it loses nothing.
    pub async fn next(&mut self) -> Option<FleetEvent> {
        self.events.recv().await
    }

    /// Lets no more tenants begin. Those under way are finished; nobody waits for locks any more.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Why tenants were left over, where they were and it was not stopped.
    ///
    /// # Errors
    ///
    /// [`AdminError`] where a connection was not to be had.
    pub async fn end(mut self) -> Result<(), AdminError> {
        self.events.close();
        let mut ended = Ok(());
        while let Some(worker) = self.workers.join_next().await {
            match worker {
                Ok(worked) => ended = ended.and(worked),
                Err(error) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        ended
    }
}

/// Twice the cores, if the server has connections to spare for so many.
async fn fitting_jobs(database: &AdminDatabase) -> Result<usize, AdminError> {
    let mut connection = database.connect().await?;
    let spare: i32 = sqlx::query_scalar(
        "SELECT pg_catalog.current_setting('max_connections')::int
              - pg_catalog.current_setting('superuser_reserved_connections')::int
              - (SELECT sum(numbackends)::int FROM pg_catalog.pg_stat_database)",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    Ok((2 * cores).min(usize::try_from(spare).unwrap_or(0)).max(1))
}

/// One of those who take turns at the tenants.
#[derive(Clone)]
struct Worker {
    database: AdminDatabase,
    tenants: Arc<[SchemaName]>,
    next: Arc<AtomicUsize>,
    options: FleetOptions,
    events: mpsc::Sender<FleetEvent>,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    /// Works on tenants while there are any. Where there is no connection to be had it leaves them to the
    /// other workers.
    async fn work(mut self) -> Result<(), AdminError> {
        while self.next.load(Ordering::Relaxed) < self.tenants.len() && !*self.stopped.borrow() {
            let mut connection = self.connect().await?;
            for _ in 0..TENANTS_OF_A_CONNECTION {
                let Some(tenant) = self.take() else { break };
                let Some(report) = self.turn(&mut connection, &tenant).await else {
                    return Ok(());
                };
                let failed = report.error.is_some();
                if self.events.send(FleetEvent::Done(report)).await.is_err() {
                    return Ok(());
                }
                if failed {
                    // Nobody knows what state it is in, and the tenant may still be locked.
                    break;
                }
            }
            let _ = connection.close().await;
        }
        Ok(())
    }

    /// A connection. One that was closed counts at the server until its process has ended, so where there is
    /// none it is asked again.
    async fn connect(&self) -> Result<PgConnection, AdminError> {
        for pause in CONNECT_PAUSES {
            match self.database.connect().await {
                Err(DatabaseError::Unavailable(_)) => sleep(pause).await,
                connected => return Ok(connected?),
            }
        }
        Ok(self.database.connect().await?)
    }

    /// The next tenant.
    fn take(&self) -> Option<SchemaName> {
        if *self.stopped.borrow() {
            return None;
        }
        self.tenants
            .get(self.next.fetch_add(1, Ordering::Relaxed))
            .cloned()
    }

    /// A tenant's turn. None where it was stopped before it was over.
    async fn turn(&mut self, connection: &mut PgConnection, tenant: &SchemaName) -> Option<TenantReport> {
        let begin = Instant::now();
        let mut progress = TenantProgress::default();
        let error = self.work_on(connection, tenant, &mut progress).await.err();
        if matches!(error, Some(AdminError::Stopped)) {
            return None;
        }
        Some(TenantReport {
            tenant: tenant.clone(),
            migrated: progress.migrated,
            adopted: progress.adopted,
            role_made: progress.role_made,
            node: progress.node,
            duration: begin.elapsed(),
            error,
        })
    }

    async fn work_on(
        &mut self,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        progress: &mut TenantProgress,
    ) -> Result<(), AdminError> {
        self.lock(connection, tenant).await?;
        let mut failed_attempts = 0;
        let patience = self.options.patience;
        while let Err(cause) = self.attempt(connection, tenant, progress).await {
            failed_attempts += 1;
            let Some(pause) = patience.pause(failed_attempts, &cause) else {
                return Err(cause);
            };
            self.tell(FleetEvent::Delayed {
                tenant: tenant.clone(),
                pause,
            })
            .await;
            self.unless_stopped(sleep(pause)).await?;
        }
        Ok(advisory_lock::unlock(connection, tenant.as_str()).await?)
    }

    /// Tries once to do what is to be done.
    async fn attempt(
        &self,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        progress: &mut TenantProgress,
    ) -> Result<(), AdminError> {
        let FleetOptions { patience, task, .. } = self.options;
        let FleetTask::Migrate { adopts } = task else {
            progress.node = distribution::attempt(connection, tenant, patience).await?;
            return Ok(());
        };
        migrate::attempt_tenant(connection, tenant, patience, adopts, progress).await?;
        let roles = self.database.roles();
        if roles.are_on() {
            progress.role_made = migrate::attempt_role(connection, tenant, patience, roles).await?;
        }
        Ok(())
    }

    /// Waits until no other session works on the tenant.
    async fn lock(&mut self, connection: &mut PgConnection, tenant: &SchemaName) -> Result<(), AdminError> {
        let mut locking = pin!(advisory_lock::lock(connection, tenant.as_str()));
        if let Ok(locked) = self.unless_stopped(timeout(LONG_WAIT, &mut locking)).await? {
            return Ok(locked?);
        }
        self.tell(FleetEvent::Waiting {
            tenant: tenant.clone(),
        })
        .await;
        Ok(self.unless_stopped(locking).await??)
    }

    async fn tell(&self, event: FleetEvent) {
        // Nobody listens any more where the run was dropped, which ends this too.
        let _ = self.events.send(event).await;
    }

    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, AdminError> {
        let stopped = async {
            let _ = self.stopped.wait_for(|stopped| *stopped).await;
        };
        tokio::select! {
            biased;
            () = stopped => Err(AdminError::Stopped),
            done = work => Ok(done),
        }
    }
}
