//! Failures as problem details (RFC 9457): which error is which problem, and the one place where a
//! failure is logged.

use std::error::Error;
use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tower_http::request_id::RequestId;
use utoipa::ToSchema;

use super::problem_type::ProblemType;
use super::request_id;
use crate::error_chain;
use crate::orders::OrdersError;
use crate::tenancy::DatabaseError;
use crate::users::UserError;

/// Seconds after which it makes sense to try again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// A failure as the client is told of it. Its cause goes to the log alone.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    kind: ProblemType,
    detail: &'static str,
    /// How to ask with more success (RFC 6750, section 3).
    challenge: Option<&'static str>,
    /// There are too many of them: whoever sheds them sums them up in the log.
    is_shed: bool,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl Problem {
    const fn new(kind: ProblemType) -> Self {
        Self {
            kind,
            detail: kind.row().detail,
            challenge: None,
            is_shed: false,
            cause: None,
        }
    }

    const fn detailed(kind: ProblemType, detail: &'static str) -> Self {
        let mut problem = Self::new(kind);
        problem.detail = detail;
        problem
    }

    fn because(kind: ProblemType, cause: impl Error + Send + Sync + 'static) -> Self {
        let mut problem = Self::new(kind);
        problem.cause = Some(Arc::new(cause));
        problem
    }

    const fn status(&self) -> StatusCode {
        self.kind.row().status
    }

    pub(super) const fn bad_request(detail: &'static str) -> Self {
        Self::detailed(ProblemType::BadRequest, detail)
    }

    pub(super) const fn bad_cursor() -> Self {
        Self::bad_request("The parameter cursor must be the next_cursor of an earlier answer.")
    }

    /// The request does not tell who asks, or not well.
    pub(super) const fn unauthorized(detail: &'static str) -> Self {
        Self::detailed(ProblemType::Unauthorized, detail)
    }

    /// It is clear who asks, and that they may not.
    pub(super) const fn forbidden(detail: &'static str) -> Self {
        Self::detailed(ProblemType::Forbidden, detail)
    }

    pub(super) const fn challenging(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    pub(super) const fn not_found() -> Self {
        Self::new(ProblemType::NotFound)
    }

    pub(super) const fn method_not_allowed() -> Self {
        Self::new(ProblemType::MethodNotAllowed)
    }

    pub(super) const fn overloaded() -> Self {
        let mut problem = Self::new(ProblemType::Overloaded);
        problem.is_shed = true;
        problem
    }

    const fn tenant_overloaded() -> Self {
        let mut problem = Self::new(ProblemType::TenantOverloaded);
        problem.is_shed = true;
        problem
    }

    pub(super) const fn too_many_connections() -> Self {
        let mut problem = Self::overloaded();
        problem.detail = "The service has as many connections as it takes. Try again shortly.";
        problem
    }

    pub(super) fn timeout(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::because(ProblemType::Timeout, cause)
    }

    pub(super) fn internal(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::because(ProblemType::Internal, cause)
    }

    pub(super) fn database_unavailable(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::because(ProblemType::DatabaseUnavailable, cause)
    }

    /// Writes the one log line of a failure, with all its causes. What is the client's mistake is
    /// no failure.
    fn log(&self, request_id: Option<&RequestId>) {
        if self.is_shed || !self.status().is_server_error() {
            return;
        }
        let cause = self
            .cause
            .as_ref()
            .map(|cause| error_chain::messages(cause.as_ref()).join(": "));
        let request_id = request_id::without_span(request_id);
        if self.status() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(problem = %self.kind, cause, request_id, "request failed");
        } else {
            tracing::warn!(problem = %self.kind, cause, request_id, "request failed");
        }
    }
}

impl From<OrdersError> for Problem {
    fn from(error: OrdersError) -> Self {
        let kind = match &error {
            OrdersError::User(UserError::NotFound) => return Self::new(ProblemType::UserNotFound),
            OrdersError::User(UserError::OutsideOrganization) => {
                return Self::forbidden("The token is for one organization, which has no such user.");
            }
            OrdersError::User(UserError::Tenant {
                source: DatabaseError::TenantLimit,
                ..
            }) => return Self::tenant_overloaded(),
            OrdersError::Cursor(_) => return Self::bad_cursor(),
            OrdersError::User(error) => problem_type(error),
            OrdersError::Data { .. } => ProblemType::TenantDataInvalid,
        };
        Self::because(kind, error)
    }
}

/// The problem that a failure to read a user's tenant is.
fn problem_type(error: &UserError) -> ProblemType {
    use DatabaseError::{
        AcquireTimeout, InvalidData, MissingRole, NotIsolated, SchemaMismatch, TimedOut, Unavailable,
    };
    match error {
        UserError::Lookup(source) | UserError::Tenant { source, .. } => match source {
            Unavailable(_) | AcquireTimeout { .. } | NotIsolated(_) => ProblemType::DatabaseUnavailable,
            TimedOut(_) => ProblemType::Timeout,
            // Without the table of users no request can be answered: the database is not ready yet.
            SchemaMismatch(_) if matches!(error, UserError::Lookup(_)) => ProblemType::DatabaseUnavailable,
            SchemaMismatch(_) | MissingRole(_) => ProblemType::TenantUnavailable,
            InvalidData(_) | DatabaseError::Unencodable(_) => ProblemType::TenantDataInvalid,
            _ => ProblemType::Internal,
        },
        UserError::TenantChanged => ProblemType::DatabaseUnavailable,
        UserError::InvalidTenantName(_) => ProblemType::TenantUnavailable,
        UserError::SeveralOrganizations => ProblemType::TenantDataInvalid,
        UserError::NotFound | UserError::OutsideOrganization => ProblemType::Internal,
    }
}

impl IntoResponse for Problem {
    /// Only marks the answer: [`Occurrence::complete`] writes it, since it knows the request.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// What went wrong (RFC 9457). More types may come: go by `status` where one is unknown.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body<'a> {
    /// What kind of failure it is. It is a name, and there is nothing to be fetched there.
    #[schema(schema_with = super::openapi::problem_type)]
    pub(super) r#type: String,
    /// The same for every problem of this type.
    pub(super) title: &'a str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    pub(super) status: u16,
    /// What went wrong this time, for people.
    pub(super) detail: &'a str,
    /// The path that was asked for.
    #[schema(format = "uri-reference")]
    pub(super) instance: &'a str,
    /// The id under which the log has the cause, as in the header `x-request-id`.
    pub(super) request_id: &'a str,
}

impl<'a> Body<'a> {
    pub(super) fn new(kind: ProblemType, detail: &'a str, instance: &'a str, request_id: &'a str) -> Self {
        let row = kind.row();
        Self {
            r#type: format!("/problems/{kind}"),
            title: row.title,
            status: row.status.as_u16(),
            detail,
            instance,
            request_id,
        }
    }
}

/// The request whose answer may be a problem.
pub(super) struct Occurrence {
    uri: Uri,
    request_id: Option<RequestId>,
}

impl Occurrence {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            uri: request.uri().clone(),
            request_id: request.extensions().get().cloned(),
        }
    }

    pub(super) fn request_id(&self) -> Option<&RequestId> {
        self.request_id.as_ref()
    }

    /// Writes the body of an answer that is a problem, and logs it.
    pub(super) fn complete(&self, mut response: Response) -> Response {
        let Some(problem) = response.extensions_mut().remove::<Problem>() else {
            return response;
        };
        problem.log(self.request_id());
        let body = Json(Body::new(
            problem.kind,
            problem.detail,
            self.uri.path(),
            request_id::text(self.request_id()),
        ));
        // Of the answer so far only its headers stay, such as Allow.
        let mut completed = (problem.status(), body).into_response();
        for (name, value) in response.headers() {
            completed
                .headers_mut()
                .entry(name)
                .or_insert_with(|| value.clone());
        }
        let headers = completed.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if problem.kind.row().retry {
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
}

/// Marks an answer that says that there is too much to do.
#[derive(Clone, Copy)]
struct Shed;

/// Whether the answer says that there is too much to do.
pub(super) fn is_shed(response: &Response) -> bool {
    response.extensions().get::<Shed>().is_some()
}
