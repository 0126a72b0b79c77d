//! Runs of a job over many tenants, by concurrent workers with one connection each.

mod event;
mod worker;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::available_parallelism;

use sqlx::Connection;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::database::AdminDatabase;
use super::error::AdminError;
use super::retry::RetryPolicy;
use crate::tenancy::SchemaName;
use worker::{Work, Worker};

pub(crate) use event::{RunEvent, TenantReport};
pub(crate) use worker::TenantJob;

/// Options of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RunOptions {
    /// Number of concurrent workers; `None`: as many as the machine and the server have room for.
    pub(crate) jobs: Option<NonZeroUsize>,
    pub(crate) retry: RetryPolicy,
    /// Number of failed tenants after which no tenant is started; `None`: no limit.
    pub(crate) max_failures: Option<NonZeroUsize>,
}

/// A run in progress. Dropping it cancels the work in progress, which is rolled back.
pub(crate) struct TenantRun<O> {
    events: mpsc::Receiver<RunEvent<O>>,
    stop: watch::Sender<bool>,
    workers: JoinSet<Result<(), AdminError>>,
}

impl<O: Send + 'static> TenantRun<O> {
    /// Starts `job` for each of `tenants`, in their order.
    pub(crate) async fn start(
        database: &AdminDatabase,
        tenants: Vec<SchemaName>,
        job: impl TenantJob<Outcome = O>,
        options: RunOptions,
    ) -> Result<Self, AdminError> {
        let jobs = match options.jobs {
            Some(jobs) => jobs.get(),
            None if tenants.is_empty() => 0,
            None => default_jobs(database).await?,
        };
        let jobs = jobs.min(tenants.len());
        let (sender, events) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let work = Arc::new(Work {
            database: database.clone(),
            tenants,
            next: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
            job,
            retry: options.retry,
            max_failures: options.max_failures,
        });
        let mut workers = JoinSet::new();
        for _ in 0..jobs {
            let worker = Worker {
                work: Arc::clone(&work),
                events: sender.clone(),
                stopped: stopped.clone(),
            };
            workers.spawn(worker.run());
        }
        Ok(Self {
            events,
            stop,
            workers,
        })
    }

    /// Returns the next event, or `None` after the last one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<RunEvent<O>> {
        self.events.recv().await
    }

    /// Starts no more tenants and stops waiting for locks. Attempts in progress are finished.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the workers. Fails if a worker failed to connect, which can leave tenants without a report.
    pub(crate) async fn end(mut self) -> Result<(), AdminError> {
        self.events.close();
        let mut result = Ok(());
        while let Some(joined) = self.workers.join_next().await {
            match joined {
                Ok(worker) => result = result.and(worker),
                Err(error) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        result
    }
}

/// Returns twice the number of cores, limited to the server's free connections.
async fn default_jobs(database: &AdminDatabase) -> Result<usize, AdminError> {
    let mut connection = database.connect().await?;
    let free: i32 = sqlx::query_scalar(
        "SELECT pg_catalog.current_setting('max_connections')::int
              - pg_catalog.current_setting('superuser_reserved_connections')::int
              - (SELECT sum(numbackends)::int FROM pg_catalog.pg_stat_database)",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    Ok((2 * cores).min(usize::try_from(free).unwrap_or(0)).max(1))
}
