//! Waits with a time limit.

use std::time::{Duration, Instant};

/// Maximum time of every wait, long enough to create and start a cluster on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` is true. Panics with `description` after [`TIMEOUT`].
pub(crate) async fn wait_until(description: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(
            started.elapsed() < TIMEOUT,
            "timed out waiting until {description}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Blocks until `condition` is true. Panics with `description` after [`TIMEOUT`].
pub(crate) fn block_until(description: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < TIMEOUT,
            "timed out waiting until {description}"
        );
        std::thread::sleep(POLL_INTERVAL);
    }
}
