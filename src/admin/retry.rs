//! Retries of statements that wait for a lock.

use std::error::Error;
use std::iter::successors;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use super::AdminError;

/// Shortest delay before the second attempt; each further delay is twice as long. A random jitter of up to
/// the delay itself is added, so that sessions that met at a lock do not meet again.
const INITIAL_BACKOFF: Duration = Duration::from_millis(125);
/// Limit of the delay between two attempts, without the jitter.
const MAX_BACKOFF: Duration = Duration::from_secs(4);

/// Limits for work on tables that other sessions use.
///
/// While a statement waits for a lock, every later statement on the table waits behind it. Therefore each
/// attempt waits for a short time only, and the next one follows after a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    /// Maximum time that a statement waits for a lock (PostgreSQL manual, section 20.11.1, `lock_timeout`).
    pub(crate) lock_timeout: Duration,
    /// Maximum number of attempts after the first one.
    pub(crate) retries: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_secs(2),
            retries: 7,
        }
    }
}

impl RetryPolicy {
    /// Returns the delays between the attempts at one piece of work.
    pub(super) fn backoff(self) -> Backoff {
        let delays = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(INITIAL_BACKOFF)
            .with_max_delay(MAX_BACKOFF)
            .with_max_times(self.retries.try_into().unwrap_or(usize::MAX))
            .build();
        Backoff(Box::new(delays))
    }

    /// Runs `attempt` until it succeeds, fails for another reason than a lock, or has used up the retries. Returns the
    /// result of the last attempt.
    pub(super) async fn run<T>(
        self,
        mut attempt: impl AsyncFnMut() -> Result<T, AdminError>,
    ) -> Result<T, AdminError> {
        let mut backoff = self.backoff();
        loop {
            let result = attempt().await;
            let delay = result.as_ref().err().and_then(|error| backoff.next_delay(error));
            match delay {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return result,
            }
        }
    }
}

/// Delays between the attempts at one piece of work.
pub(super) struct Backoff(Box<dyn Iterator<Item = Duration> + Send>);

impl Backoff {
    /// Returns the delay before the next attempt, or `None` if another attempt does not help or the retries
    /// are used up.
    pub(super) fn next_delay(&mut self, error: &AdminError) -> Option<Duration> {
        if is_lock_failure(error) {
            self.0.next()
        } else {
            None
        }
    }
}

/// Returns whether a lock was not granted in time, or was lost in a deadlock.
fn is_lock_failure(error: &AdminError) -> bool {
    let mut causes = successors(Some(error as &(dyn Error + 'static)), |&cause| cause.source());
    let code = causes.find_map(|cause| match cause.downcast_ref() {
        Some(sqlx::Error::Database(error)) => error.code(),
        _ => None,
    });
    // lock_not_available, deadlock_detected, serialization_failure
    matches!(code.as_deref(), Some("55P03" | "40P01" | "40001"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let policy = RetryPolicy {
            retries: 9,
            ..RetryPolicy::default()
        };
        let delays: Vec<_> = policy.backoff().0.collect();
        assert_eq!(delays.len(), 9);
        let mut base = INITIAL_BACKOFF;
        for delay in delays {
            assert!((base..=base * 2).contains(&delay), "{delay:?}");
            base = MAX_BACKOFF.min(base * 2);
        }
    }

    #[test]
    fn only_lock_failures_are_retried() {
        let mut backoff = RetryPolicy::default().backoff();
        assert_eq!(backoff.next_delay(&AdminError::NoSuchSchema), None);
    }
}
