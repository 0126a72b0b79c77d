//! What one request does at the database: in whose tenant, and how long each step takes.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Span, field};

use super::{DatabaseError, SchemaName};
use crate::config::TRACE_TARGET;

/// A step of a request at the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waiting for a connection, which may have to be made first.
    Acquire,
    /// Finding out whose tenant the user belongs to.
    Lookup,
    /// Opening the transaction in the tenant's schema.
    Begin,
    /// Reading the orders.
    Query,
}

impl Step {
    /// All of them, in the order in which a request takes them.
    pub const ALL: [Self; 4] = [Self::Acquire, Self::Lookup, Self::Begin, Self::Query];

    /// What it is called in metrics and traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Lookup => "lookup",
            Self::Begin => "begin",
            Self::Query => "query",
        }
    }

    /// What the server is asked to do.
    const fn operation(self) -> Option<&'static str> {
        match self {
            Self::Acquire => None,
            Self::Begin => Some("BEGIN"),
            Self::Lookup | Self::Query => Some("SELECT"),
        }
    }

    /// A span by the semantic conventions for database clients (OpenTelemetry, version 1.33).
    fn span(self, parent: &Span) -> Span {
        tracing::info_span!(
            target: TRACE_TARGET,
            parent: parent,
            "database",
            otel.name = self.name(),
            otel.kind = "client",
            otel.status_code = field::Empty,
            db.system.name = "postgresql",
            db.operation.name = self.operation(),
            "error.type" = field::Empty,
        )
    }
}

/// What one request does at the database. It is written while the request goes on, and may be read at
/// any time.
#[derive(Debug)]
pub struct RequestTimings {
    span: Span,
    tenant: Mutex<Option<Arc<SchemaName>>>,
    /// Nanoseconds, here and below; 0 where the step was not taken.
    acquire: AtomicU64,
    lookup: AtomicU64,
    begin: AtomicU64,
    query: AtomicU64,
}

impl RequestTimings {
    /// Of a request whose span is `span`: each step has a span under it.
    #[must_use]
    pub fn with_span(span: Span) -> Self {
        Self {
            span,
            tenant: Mutex::default(),
            acquire: AtomicU64::default(),
            lookup: AtomicU64::default(),
            begin: AtomicU64::default(),
            query: AtomicU64::default(),
        }
    }

    /// Of what nobody asks about.
    #[must_use]
    pub fn disabled() -> Self {
        Self::with_span(Span::none())
    }

    /// The tenant that was entered last.
    #[must_use]
    pub fn tenant(&self) -> Option<Arc<SchemaName>> {
        self.tenant.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long `step` took, all in all where it was taken more than once, also where it failed or was
    /// cut off. None where it was not taken, or is not over.
    #[must_use]
    pub fn duration_of(&self, step: Step) -> Option<Duration> {
        let nanoseconds = self.nanoseconds(step).load(Ordering::Relaxed);
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }

    pub(crate) fn set_tenant(&self, tenant: &Arc<SchemaName>) {
        *self.tenant.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(tenant));
    }

    /// Does the `work` that `step` is made of, and notes how long that takes.
    pub(crate) async fn step<T>(
        &self,
        step: Step,
        work: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        let span = step.span(&self.span);
        let _stopwatch = StepTimer {
            nanoseconds: self.nanoseconds(step),
            started: Instant::now(),
        };
        let done = work.await;
        if let Err(error) = &done
            && !span.is_disabled()
        {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", error.sqlstate().as_deref().unwrap_or("_OTHER"));
        }
        done
    }

    fn nanoseconds(&self, step: Step) -> &AtomicU64 {
        match step {
            Step::Acquire => &self.acquire,
            Step::Lookup => &self.lookup,
            Step::Begin => &self.begin,
            Step::Query => &self.query,
        }
    }
}

/// Adds up the time until it is dropped, so that what is cut off counts too.
struct StepTimer<'t> {
    nanoseconds: &'t AtomicU64,
    started: Instant,
}

impl Drop for StepTimer<'_> {
    fn drop(&mut self) {
        let nanoseconds = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_counts_though_it_was_cut_off_and_adds_up_where_it_is_taken_again() {
        let trace = RequestTimings::disabled();
        let cut_off = trace.step::<()>(Step::Query, std::future::pending());
        assert!(
            tokio::time::timeout(Duration::from_millis(2), cut_off)
                .await
                .is_err()
        );
        let first = trace.duration_of(Step::Query).unwrap();
        assert!(first >= Duration::from_millis(1));
        trace.step(Step::Query, async { Ok(()) }).await.unwrap();
        assert!(trace.duration_of(Step::Query).unwrap() > first);
        assert_eq!(trace.duration_of(Step::Begin), None);
    }
}
