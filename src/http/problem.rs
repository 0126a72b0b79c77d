//! Failures as problem details (RFC 9457): the one table of error to status, and the one place
//! where a failure is logged.

use std::error::Error;
use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tower_http::request_id::RequestId;

use crate::causes;
use crate::orders::ListError;
use crate::tenancy::DatabaseError;

/// Seconds after which it makes sense to try again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// A failure as the client is told of it. Its cause goes to the log alone.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: &'static str,
    retry: bool,
    /// How to ask with more success (RFC 6750, section 3).
    challenge: Option<&'static str>,
    /// There are too many of them: whoever sheds them sums them up in the log.
    is_shed: bool,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl Problem {
    const fn new(status: StatusCode, name: &'static str, title: &'static str, detail: &'static str) -> Self {
        Self {
            status,
            name,
            title,
            detail,
            retry: false,
            challenge: None,
            is_shed: false,
            cause: None,
        }
    }

    fn because(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    const fn retry(mut self) -> Self {
        self.retry = true;
        self
    }

    pub(super) const fn bad_request(detail: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request", detail)
    }

    pub(super) const fn bad_cursor() -> Self {
        Self::bad_request("The parameter cursor must be the next_cursor of an earlier answer.")
    }

    /// The request does not tell who asks, or not well.
    pub(super) const fn unauthorized(detail: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized", detail)
    }

    /// It is clear who asks, and that they may not.
    pub(super) const fn forbidden(detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
    }

    pub(super) const fn challenging(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    pub(super) const fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "Not found",
            "There is nothing at this path.",
        )
    }

    pub(super) const fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Method not allowed",
            "This path does not answer this method; the Allow header names those it does.",
        )
    }

    pub(super) const fn overloaded() -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many requests at once",
            "The service is at work on as many requests as it takes. Try again shortly.",
        );
        problem.is_shed = true;
        problem.retry()
    }

    const fn tenant_overloaded() -> Self {
        let mut problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "tenant-overloaded",
            "Too many requests of one organization at once",
            "The service is at work on as many requests of the user's organization as it takes. Try again shortly.",
        );
        problem.is_shed = true;
        problem.retry()
    }

    pub(super) const fn too_many_connections() -> Self {
        let mut problem = Self::overloaded();
        problem.detail = "The service has as many connections as it takes. Try again shortly.";
        problem
    }

    pub(super) fn timeout(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "Out of time",
            "The answer took longer than a request may take.",
        )
        .because(cause)
    }

    pub(super) fn internal(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            "Something unforeseen went wrong. The log has the cause under this request's id.",
        )
        .because(cause)
    }

    pub(super) fn database_unavailable(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database-unavailable",
            "Database unavailable",
            "The database does not answer at the moment. Try again shortly.",
        )
        .retry()
        .because(cause)
    }

    fn user_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "user-not-found",
            "No such user",
            "No user has this id.",
        )
    }

    fn tenant_unavailable(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "tenant-unavailable",
            "Tenant unavailable",
            "The data of the user's organization is missing, incomplete or not readable.",
        )
        .because(cause)
    }

    fn tenant_data_invalid(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "tenant-data-invalid",
            "Invalid tenant data",
            "The data of the user's organization holds a value that cannot be represented exactly.",
        )
        .because(cause)
    }

    /// Writes the one log line of a failure, with all its causes. What is the client's mistake is
    /// no failure.
    fn log(&self) {
        if self.is_shed || !self.status.is_server_error() {
            return;
        }
        let cause = self
            .cause
            .as_ref()
            .map(|cause| causes::texts(cause.as_ref()).join(": "));
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(problem = self.name, cause, "request failed");
        } else {
            tracing::warn!(problem = self.name, cause, "request failed");
        }
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        use DatabaseError::{
            InvalidData, NoConnection, NoRole, NotIsolated, TenantBusy, TimedOut, Unavailable, Unencodable,
            Unexpected, Unreadable,
        };
        use ListError::{Data, ForeignUser, Lookup, Moving, NoTenant, Tenant, UserNotFound};
        let problem: fn(ListError) -> Self = match &error {
            ForeignUser => {
                return Self::forbidden("The token is for one organization, which has no such user.");
            }
            UserNotFound => return Self::user_not_found(),
            Tenant {
                source: TenantBusy, ..
            } => return Self::tenant_overloaded(),
            // The user's id was found, so it is the cursor's.
            Tenant {
                source: Unencodable(_),
                ..
            } => return Self::bad_cursor(),
            // Without the shared table nobody can be looked up: the database is not ready yet.
            Moving
            | Lookup(Unavailable(_) | NoConnection { .. } | NotIsolated(_) | Unreadable(_))
            | Tenant {
                source: Unavailable(_) | NoConnection { .. } | NotIsolated(_),
                ..
            } => Self::database_unavailable,
            Lookup(TimedOut(_))
            | Tenant {
                source: TimedOut(_), ..
            } => Self::timeout,
            NoTenant(_)
            | Tenant {
                source: Unreadable(_) | NoRole(_),
                ..
            } => Self::tenant_unavailable,
            Data { .. }
            | Tenant {
                source: InvalidData(_),
                ..
            } => Self::tenant_data_invalid,
            Lookup(InvalidData(_) | NoRole(_) | TenantBusy | Unencodable(_) | Unexpected(_))
            | Tenant {
                source: Unexpected(_),
                ..
            } => Self::internal,
        };
        problem(error)
    }
}

impl IntoResponse for Problem {
    /// Only marks the answer: [`complete`] writes it, since it knows the request.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    request_id: &'a str,
}

/// Writes the body of an answer that is a problem, and logs it.
pub(super) async fn complete(request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let request_id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    problem.log();
    let body = Json(Body {
        r#type: format!("/problems/{}", problem.name),
        title: problem.title,
        status: problem.status.as_u16(),
        detail: problem.detail,
        instance: uri.path(),
        request_id: request_id
            .as_ref()
            .and_then(|id| id.header_value().to_str().ok())
            .unwrap_or_default(),
    });
    // Of the answer so far only its headers stay, such as Allow.
    let mut completed = (problem.status, body).into_response();
    for (name, value) in response.headers() {
        completed
            .headers_mut()
            .entry(name)
            .or_insert_with(|| value.clone());
    }
    let headers = completed.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if problem.retry {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    if let Some(challenge) = problem.challenge {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if problem.is_shed {
        completed.extensions_mut().insert(Shed);
    }
    completed
}

/// Marks an answer that says that there is too much to do.
#[derive(Clone, Copy)]
struct Shed;

/// Whether the answer says that there is too much to do.
pub(super) fn is_shed(response: &Response) -> bool {
    response.extensions().get::<Shed>().is_some()
}
