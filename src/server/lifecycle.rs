//! The lifecycle that all connections follow.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Interval at which a shutdown looks for activity.
const ACTIVITY_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Phase of the service's lifecycle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Requests are served.
    Serving,
    /// Requests are served, and clients are asked to close their connections.
    Draining,
    /// Requests in flight are finished; new connections are refused.
    Closing,
}

/// State that the connections share with [`run`](super::run).
#[derive(Clone)]
pub(super) struct Lifecycle {
    pub(super) phase: watch::Receiver<Phase>,
    /// [`super::DRAIN_TIMEOUT`], or less if `SHUTDOWN_TIMEOUT` is short.
    pub(super) drain_timeout: Duration,
    /// Tasks of the open connections.
    pub(super) connections: TaskTracker,
    pub(super) activity: Arc<Activity>,
}

impl Lifecycle {
    /// Waits until an idle connection accepted now may be closed: in [`Phase::Closing`], but not before
    /// the client had the drain timeout for its first request.
    pub(super) async fn wait_until_closing(mut self) {
        let accepted_at = Instant::now();
        // An error means that `run` was dropped.
        let _ = self.phase.wait_for(|phase| *phase == Phase::Closing).await;
        tokio::time::sleep_until(accepted_at + self.drain_timeout).await;
    }

    /// Counts a request as in flight until `response` is ready or dropped. During shutdown it asks the client
    /// to close the connection.
    pub(super) async fn track_request<E>(
        self,
        response: impl Future<Output = Result<Response, E>>,
    ) -> Result<Response, E> {
        let _in_flight = InFlight::new(self.activity);
        let mut response = response.await?;
        if *self.phase.borrow() != Phase::Serving {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// The work for clients, as far as a shutdown waits for it.
#[derive(Debug, Default)]
pub(super) struct Activity {
    in_flight: AtomicUsize,
    /// Requests that have begun or ended, and reads of stalled clients.
    events: AtomicUsize,
}

impl Activity {
    /// Records that a stalled client reads again.
    pub(super) fn record_progress(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until, for `duration`, no request is in flight or begins, and no stalled client reads.
    pub(super) async fn wait_until_quiet(&self, duration: Duration) {
        let mut last_event = (0, Instant::now());
        while last_event.1.elapsed() < duration {
            let events = self.events.load(Ordering::Relaxed);
            if events != last_event.0 || self.in_flight.load(Ordering::Relaxed) > 0 {
                last_event = (events, Instant::now());
            }
            tokio::time::sleep(ACTIVITY_CHECK_INTERVAL).await;
        }
    }
}

/// A request in flight, counted until this guard is dropped.
struct InFlight(Arc<Activity>);

impl InFlight {
    fn new(activity: Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        activity.record_progress();
        Self(activity)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.record_progress();
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
