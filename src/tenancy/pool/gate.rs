//! Connecting, with one backoff for the whole pool.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;

use crate::connect::Connector;
use crate::tenancy::error::{DatabaseError, IsolationError, is_pooler_refusal};

/// Delay before the attempt after the first one that failed.
const INITIAL_BACKOFF: Duration = Duration::from_millis(50);
/// Maximum delay between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Connects to the database. After a failed attempt, one request at a time tries again, after a delay that
/// doubles with each failure: a server that refuses connections is asked a few times per second in total,
/// not by each request.
pub(super) struct ConnectGate {
    connector: Connector,
    timeout: Duration,
    is_failing: AtomicBool,
    backoff: tokio::sync::Mutex<Backoff>,
    last_error: Mutex<Option<Arc<sqlx::Error>>>,
}

struct Backoff {
    next_attempt: Instant,
    delay: Duration,
}

impl ConnectGate {
    /// `timeout` limits each attempt.
    pub(super) fn new(connector: Connector, timeout: Duration) -> Self {
        Self {
            connector,
            timeout,
            is_failing: AtomicBool::new(false),
            backoff: tokio::sync::Mutex::new(Backoff {
                next_attempt: Instant::now(),
                delay: INITIAL_BACKOFF,
            }),
            last_error: Mutex::new(None),
        }
    }

    /// Connects, however long that takes. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NotIsolated`] if a pooler refuses the connection's parameters.
    pub(super) async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        loop {
            if !self.is_failing.load(Ordering::Acquire)
                && let Some(connection) = self.attempt().await?
            {
                return Ok(connection);
            }
            let mut backoff = self.backoff.lock().await;
            if !self.is_failing.load(Ordering::Acquire) {
                continue; // another request has connected meanwhile
            }
            tokio::time::sleep_until(backoff.next_attempt).await;
            // Set before the attempt, which may be cancelled.
            backoff.next_attempt = Instant::now() + backoff.delay;
            backoff.delay = MAX_BACKOFF.min(backoff.delay * 2);
            if let Some(connection) = self.attempt().await? {
                *backoff = Backoff {
                    next_attempt: Instant::now(),
                    delay: INITIAL_BACKOFF,
                };
                self.is_failing.store(false, Ordering::Release);
                return Ok(connection);
            }
        }
    }

    /// The error of the last attempt, if it failed.
    pub(super) fn last_error(&self) -> Option<Arc<sqlx::Error>> {
        self.error().clone()
    }

    /// Connects once. Returns `None` after an error that may pass.
    async fn attempt(&self) -> Result<Option<PgConnection>, DatabaseError> {
        let error = match self.connector.connect(self.timeout).await {
            Ok(connection) => {
                *self.error() = None;
                return Ok(Some(connection));
            }
            Err(error) => error,
        };
        self.is_failing.store(true, Ordering::Release);
        if is_pooler_refusal(&error) {
            return Err(IsolationError::UnexpectedPooler.into());
        }
        *self.error() = Some(Arc::new(error));
        Ok(None)
    }

    fn error(&self) -> std::sync::MutexGuard<'_, Option<Arc<sqlx::Error>>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
