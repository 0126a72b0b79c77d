//! The lifecycle that all connections follow.

use std::future::Future;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

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
    /// Number of requests in flight. Its receivers are also notified if a stalled client reads again.
    pub(super) requests: watch::Sender<usize>,
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
        let _in_flight = InFlight::new(&self.requests);
        let mut response = response.await?;
        if *self.phase.borrow() != Phase::Serving {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// A request in flight, counted until this guard is dropped.
struct InFlight(watch::Sender<usize>);

impl InFlight {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
