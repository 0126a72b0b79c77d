//! Problem details (RFC 9457): the error responses, and the only place that logs a failure.

use std::borrow::Cow;
use std::error::Error;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem_type::ProblemType;
use crate::error_chain;
use crate::orders::OrdersError;
use crate::request_context::RequestContext;
use crate::tenancy::DatabaseError;
use crate::users::UserError;

const RETRY_AFTER_SECONDS: u32 = 1;

/// A failure of a request. Its cause is logged and never sent to the client.
#[derive(Debug)]
pub(super) struct Problem {
    kind: ProblemType,
    detail: Cow<'static, str>,
    /// Value of `WWW-Authenticate` (RFC 6750, section 3).
    challenge: Option<&'static str>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    pub(super) fn new(kind: ProblemType) -> Self {
        Self {
            kind,
            detail: Cow::Borrowed(kind.detail()),
            challenge: None,
            cause: None,
        }
    }

    /// Replaces the default detail of the type.
    pub(super) fn with_detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            detail: detail.into(),
            ..self
        }
    }

    pub(super) fn from_cause(kind: ProblemType, cause: impl Error + Send + Sync + 'static) -> Self {
        Self {
            cause: Some(Box::new(cause)),
            ..Self::new(kind)
        }
    }

    pub(super) fn with_challenge(self, challenge: &'static str) -> Self {
        Self {
            challenge: Some(challenge),
            ..self
        }
    }

    pub(super) fn bad_request(detail: &'static str) -> Self {
        Self::new(ProblemType::BadRequest).with_detail(detail)
    }

    pub(super) fn bad_cursor() -> Self {
        Self::bad_request("The parameter cursor must be the next_cursor of an earlier response.")
    }

    /// Logs the failure with all its causes. Client errors are not failures, and overload is summed up
    /// by the limit that detects it.
    fn log(&self, context: Option<&RequestContext>) {
        let status = self.kind.status();
        if self.kind.is_overload() || !status.is_server_error() {
            return;
        }
        let cause = self
            .cause
            .as_ref()
            .map(|cause| error_chain::messages(cause.as_ref()).join(": "));
        let request_id = context.map(|context| context.request_id.as_str());
        let trace_id = context.and_then(|context| context.trace_id.as_deref());
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(problem = %self.kind, cause, request_id, trace_id, "request failed");
        } else {
            tracing::warn!(problem = %self.kind, cause, request_id, trace_id, "request failed");
        }
    }
}

impl From<OrdersError> for Problem {
    fn from(error: OrdersError) -> Self {
        let kind = match &error {
            OrdersError::User(UserError::OutsideOrganization) => {
                return Self::new(ProblemType::Forbidden)
                    .with_detail("The token is restricted to an organization that does not have this user.");
            }
            OrdersError::User(error) => user_problem_type(error),
            OrdersError::OrderNotFound => ProblemType::OrderNotFound,
            OrdersError::Cursor(_) => return Self::bad_cursor(),
            OrdersError::Data { .. } => ProblemType::TenantDataInvalid,
        };
        Self::from_cause(kind, error)
    }
}

/// Returns the problem type for a failure to read a user's tenant.
fn user_problem_type(error: &UserError) -> ProblemType {
    use DatabaseError::{
        AcquireTimeout, InvalidData, MissingRole, NotIsolated, SchemaMismatch, TenantLimit, TimedOut,
        Unavailable, Unencodable,
    };
    match error {
        UserError::NotFound => ProblemType::UserNotFound,
        UserError::OutsideOrganization => ProblemType::Forbidden,
        UserError::SeveralOrganizations => ProblemType::TenantDataInvalid,
        UserError::InvalidTenantName(_) | UserError::InvalidOrganization(_) => ProblemType::TenantUnavailable,
        // Without the table of users no request can be answered: the database is not ready yet.
        UserError::TenantChanged | UserError::Lookup(SchemaMismatch(_)) => ProblemType::DatabaseUnavailable,
        UserError::Lookup(source) | UserError::Tenant { source, .. } => match source {
            Unavailable(_) | AcquireTimeout { .. } | NotIsolated(_) => ProblemType::DatabaseUnavailable,
            TenantLimit => ProblemType::TenantOverloaded,
            TimedOut(_) => ProblemType::Timeout,
            SchemaMismatch(_) | MissingRole(_) => ProblemType::TenantUnavailable,
            InvalidData(_) | Unencodable(_) => ProblemType::TenantDataInvalid,
            DatabaseError::Unexpected(_) => ProblemType::Internal,
        },
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let context = RequestContext::current();
        self.log(context.as_ref());
        let body = ProblemBody::new(
            self.kind,
            &self.detail,
            context.as_ref().map_or("", |context| context.uri.path()),
            context.as_ref().map_or("", |context| context.request_id.as_str()),
        );
        let mut response = (self.kind.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.kind.is_retryable() {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response.extensions_mut().insert(self.kind); // for the request log
        response
    }
}

/// A failure (RFC 9457). Types may be added: for an unknown `type`, use `status`.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// The kind of failure. It is an identifier, not a link.
    #[schema(schema_with = ProblemType::uri_schema)]
    r#type: String,
    /// A summary, the same for every problem of this type.
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// An explanation of this failure for humans.
    detail: &'a str,
    /// The path of the request.
    #[schema(format = "uri-reference")]
    instance: &'a str,
    /// The request id, as in the header `x-request-id`. The log has the cause under it.
    request_id: &'a str,
}

impl<'a> ProblemBody<'a> {
    pub(super) fn new(kind: ProblemType, detail: &'a str, instance: &'a str, request_id: &'a str) -> Self {
        Self {
            r#type: kind.uri(),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail,
            instance,
            request_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn problem_is_a_whole_response_without_a_context() {
        let response = Problem::new(ProblemType::Overloaded).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        insta::assert_snapshot!(String::from_utf8_lossy(&body), @r#"{"type":"/problems/overloaded","title":"Too many concurrent requests","status":503,"detail":"The service is handling its maximum number of concurrent requests. Try again shortly.","instance":"","request_id":""}"#);
    }
}
