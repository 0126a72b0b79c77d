//! The limits of requests: how many run at a time, and for how long.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::problem_type::ProblemType;
use super::service::HttpService;
use super::uncancellable::Uncancellable;
use crate::log_throttle::LogThrottle;

/// Limits the number of concurrent requests, and the time of each.
pub(super) struct ConcurrencyLimit {
    max_requests: usize,
    requests: AtomicUsize,
    refused: LogThrottle,
    timeout: Duration,
}

/// A request within the limit, counted until this guard is dropped.
struct ConcurrencyPermit(Arc<ConcurrencyLimit>);

impl ConcurrencyLimit {
    /// `timeout` limits the time of each request.
    pub(super) fn new(max_requests: usize, timeout: Duration) -> Self {
        Self {
            max_requests,
            requests: AtomicUsize::new(0),
            refused: LogThrottle::default(),
            timeout,
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn acquire(self: &Arc<Self>) -> Option<ConcurrencyPermit> {
        let others = self.requests.fetch_add(1, Ordering::Relaxed);
        let permit = ConcurrencyPermit(Arc::clone(self));
        (others < self.max_requests).then_some(permit)
    }

    /// Handles a request, or refuses it immediately if it is beyond the limit. The log has the number of refused
    /// requests instead of a line for each.
    pub(super) async fn respond(
        self: Arc<Self>,
        service: impl HttpService,
        request: Request,
    ) -> Result<Response, Infallible> {
        if let Some(permit) = self.acquire() {
            return respond_in_time(self.timeout, permit, service, request).await;
        }
        if let Some(refused) = self.refused.hit() {
            tracing::warn!(refused, "refused requests beyond MAX_CONCURRENT_REQUESTS");
        }
        Ok(Problem::new(ProblemType::Overloaded).into_response())
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Handles a request, and cancels it after `timeout`. Holds the `permit` until then.
pub(super) async fn respond_in_time(
    timeout: Duration,
    permit: impl Send + 'static,
    mut service: impl HttpService,
    request: Request,
) -> Result<Response, Infallible> {
    let work = async move {
        let in_time = tokio::time::timeout(timeout, service.call(request)).await;
        drop(permit);
        match in_time {
            Ok(response) => response.map(IntoResponse::into_response),
            Err(elapsed) => Ok(Problem::from_cause(ProblemType::Timeout, elapsed).into_response()),
        }
    };
    let finished = Uncancellable::new(work).await;
    finished.unwrap_or_else(|panic| Ok(Problem::from_cause(ProblemType::Internal, panic).into_response()))
}
