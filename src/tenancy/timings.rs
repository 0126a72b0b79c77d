//! The database work of one request: its tenant, and the duration of each step.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Span, field};

use super::{DatabaseError, SchemaName};
use crate::config::TRACE_TARGET;

/// A step of a request's database work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waiting for a connection, which may have to be opened first.
    Acquire,
    /// A message that looks up the user's tenant and nothing else.
    Lookup,
    /// A message that reads a tenant's tables.
    Query,
}

impl Step {
    /// All steps, in the order in which a request takes them.
    pub const ALL: [Self; 3] = [Self::Acquire, Self::Lookup, Self::Query];

    /// The name in metrics and traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Lookup => "lookup",
            Self::Query => "query",
        }
    }

    const fn operation(self) -> Option<&'static str> {
        match self {
            Self::Acquire => None,
            Self::Lookup | Self::Query => Some("SELECT"),
        }
    }

    /// A span by the semantic conventions for PostgreSQL clients (OpenTelemetry, version 1.33).
    fn span(self, timings: &RequestTimings, database: &str) -> Span {
        tracing::info_span!(
            target: TRACE_TARGET,
            parent: &timings.span,
            "database",
            otel.name = self.name(),
            otel.kind = "client",
            otel.status_code = field::Empty,
            db.system.name = "postgresql",
            db.namespace = self.namespace(timings, database),
            db.operation.name = self.operation(),
            db.response.status_code = field::Empty,
            "error.type" = field::Empty,
        )
    }

    /// The database, and the schema if there is one.
    fn namespace(self, timings: &RequestTimings, database: &str) -> String {
        match timings.tenant() {
            Some(tenant) if self == Self::Query => format!("{database}|{}", tenant.as_str()),
            _ => database.to_owned(),
        }
    }
}

/// The database work of one request. It is written while the request runs, and can be read at any time.
#[derive(Debug)]
pub struct RequestTimings {
    span: Span,
    tenant: Mutex<Option<Arc<SchemaName>>>,
    /// Nanoseconds of each step, in the order of [`Step::ALL`]; 0 if the step was not taken.
    steps: [AtomicU64; Step::ALL.len()],
}

impl RequestTimings {
    /// Timings of a request whose span is `span`. Each step has a span under it.
    #[must_use]
    pub fn with_span(span: Span) -> Self {
        Self {
            span,
            tenant: Mutex::default(),
            steps: Default::default(),
        }
    }

    /// Timings that are not reported.
    #[must_use]
    pub fn disabled() -> Self {
        Self::with_span(Span::none())
    }

    /// The tenant whose schema the last message names.
    #[must_use]
    pub fn tenant(&self) -> Option<Arc<SchemaName>> {
        self.tenant.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The total duration of `step`, also if it failed or was cancelled; `None` if it was not taken.
    #[must_use]
    pub fn duration_of(&self, step: Step) -> Option<Duration> {
        let nanoseconds = self.nanoseconds(step).load(Ordering::Relaxed);
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }

    pub(crate) fn set_tenant(&self, tenant: &Arc<SchemaName>) {
        *self.tenant.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(tenant));
    }

    /// Runs `work` in `database` and records its duration as that of `step`.
    pub(super) async fn step<T, E: AsRef<DatabaseError>>(
        &self,
        step: Step,
        database: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let span = step.span(self, database);
        let _timer = StepTimer {
            nanoseconds: self.nanoseconds(step),
            started: Instant::now(),
        };
        let result = work.await;
        if let Err(error) = &result
            && !span.is_disabled()
        {
            let sqlstate = error.as_ref().sqlstate();
            span.record("otel.status_code", "ERROR");
            span.record("db.response.status_code", sqlstate.as_deref());
            span.record("error.type", sqlstate.as_deref().unwrap_or("_OTHER"));
        }
        result
    }

    fn nanoseconds(&self, step: Step) -> &AtomicU64 {
        let [acquire, lookup, query] = &self.steps;
        match step {
            Step::Acquire => acquire,
            Step::Lookup => lookup,
            Step::Query => query,
        }
    }
}

/// Records the time until it is dropped, so that a cancelled step counts too.
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
    async fn cancelled_steps_count_and_repeated_steps_add_up() {
        let timings = RequestTimings::disabled();
        let cancelled = timings.step::<(), DatabaseError>(Step::Query, "shop", std::future::pending());
        assert!(
            tokio::time::timeout(Duration::from_millis(2), cancelled)
                .await
                .is_err()
        );
        let first = timings.duration_of(Step::Query).unwrap();
        assert!(first >= Duration::from_millis(1));
        timings
            .step::<_, DatabaseError>(Step::Query, "shop", async { Ok(()) })
            .await
            .unwrap();
        assert!(timings.duration_of(Step::Query).unwrap() > first);
        assert_eq!(timings.duration_of(Step::Lookup), None);
    }
}
