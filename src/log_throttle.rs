//! Rate limiting for repetitive log lines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Minimum time between two log lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts events and limits their log lines to one in each [`INTERVAL`]: one line for each event would
/// flood the log when the load is highest.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<ThrottleState>);

#[derive(Debug, Default)]
struct ThrottleState {
    count: u64,
    logged_at: Option<Instant>,
}

impl LogThrottle {
    /// Counts an event. Returns the number of events since the last log line if a new line is due.
    pub(crate) fn hit(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.count += 1;
        if state
            .logged_at
            .is_some_and(|logged_at| logged_at.elapsed() < INTERVAL)
        {
            return None;
        }
        state.logged_at = Some(Instant::now());
        Some(std::mem::take(&mut state.count))
    }
}
