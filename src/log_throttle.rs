//! What happens too often to be told of each time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A count is told of so often at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Counts what is told of in a line now and then: one for each would flood the log just when there is
/// most to do.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: u64,
    told: Option<Instant>,
}

impl LogThrottle {
    /// One more. Now and then this gives how many there were since it last did.
    pub(crate) fn hit(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.count += 1;
        let now = Instant::now();
        if state.told.is_some_and(|told| now - told < TELL_EVERY) {
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.count))
    }
}
