//! The table of errors: every problem that a client may be told of, and what it says.

use std::fmt;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// What kind of failure a problem is. The end of its `type` (RFC 9457, section 3.1.1), in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ProblemType {
    BadRequest,
    Unauthorized,
    Forbidden,
    UserNotFound,
    NotFound,
    MethodNotAllowed,
    TenantOverloaded,
    TenantUnavailable,
    DatabaseUnavailable,
    Overloaded,
    Timeout,
    TenantDataInvalid,
    Internal,
}

/// What a problem says of itself.
pub(super) struct Row {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) detail: &'static str,
    /// Whether it makes sense to try again shortly.
    pub(super) retry: bool,
}

const fn row(status: StatusCode, title: &'static str, detail: &'static str) -> Row {
    Row {
        status,
        title,
        detail,
        retry: false,
    }
}

impl Row {
    const fn retry(mut self) -> Self {
        self.retry = true;
        self
    }
}

impl ProblemType {
    /// What it says. A problem that knows more says another detail.
    pub(super) const fn row(self) -> Row {
        match self {
            Self::BadRequest => row(
                StatusCode::BAD_REQUEST,
                "Bad request",
                "The parameter limit must be a whole number from 1 to 1000.",
            ),
            Self::Unauthorized => row(
                StatusCode::UNAUTHORIZED,
                "Unauthorized",
                "A valid bearer token is needed.",
            ),
            Self::Forbidden => row(
                StatusCode::FORBIDDEN,
                "Forbidden",
                "The token gives no access to this user's orders.",
            ),
            Self::UserNotFound => row(StatusCode::NOT_FOUND, "No such user", "No user has this id."),
            Self::NotFound => row(
                StatusCode::NOT_FOUND,
                "Not found",
                "There is nothing at this path.",
            ),
            Self::MethodNotAllowed => row(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                "This path does not answer this method; the Allow header names those it does.",
            ),
            Self::TenantOverloaded => row(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests of one organization at once",
                "The service is at work on as many requests of the user's organization as it takes. Try again shortly.",
            )
            .retry(),
            Self::TenantUnavailable => row(
                StatusCode::SERVICE_UNAVAILABLE,
                "Tenant unavailable",
                "The data of the user's organization is missing, incomplete or not readable.",
            ),
            Self::DatabaseUnavailable => row(
                StatusCode::SERVICE_UNAVAILABLE,
                "Database unavailable",
                "The database does not answer at the moment. Try again shortly.",
            )
            .retry(),
            Self::Overloaded => row(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many requests at once",
                "The service is at work on as many requests as it takes. Try again shortly.",
            )
            .retry(),
            Self::Timeout => row(
                StatusCode::GATEWAY_TIMEOUT,
                "Out of time",
                "The answer took longer than a request may take.",
            ),
            Self::TenantDataInvalid => row(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Invalid tenant data",
                "The data of the user's organization holds a value that cannot be represented exactly.",
            ),
            Self::Internal => row(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error",
                "Something unforeseen went wrong. The log has the cause under this request's id.",
            ),
        }
    }
}

impl fmt::Display for ProblemType {
    /// The name, such as `bad-request`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
