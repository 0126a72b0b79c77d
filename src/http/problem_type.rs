//! The table of problem types: status, title and default detail of each.

use std::fmt;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// The kind of a failure. Its name in kebab case ends the `type` of a problem (RFC 9457, section 3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ProblemType {
    BadRequest,
    Unauthorized,
    Forbidden,
    UserNotFound,
    OrderNotFound,
    NotFound,
    MethodNotAllowed,
    TenantOverloaded,
    TenantUnavailable,
    DatabaseUnavailable,
    AuthenticationUnavailable,
    Overloaded,
    Timeout,
    TenantDataInvalid,
    Internal,
}

/// The properties that all problems of a type share.
pub(super) struct Definition {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    /// The detail of a problem that has no more specific one.
    pub(super) detail: &'static str,
    /// The response has `Retry-After`.
    pub(super) is_retryable: bool,
}

const fn define(status: StatusCode, title: &'static str, detail: &'static str) -> Definition {
    Definition {
        status,
        title,
        detail,
        is_retryable: false,
    }
}

impl Definition {
    const fn with_retry_after(mut self) -> Self {
        self.is_retryable = true;
        self
    }
}

impl ProblemType {
    pub(super) const fn definition(self) -> Definition {
        match self {
            Self::BadRequest => define(
                StatusCode::BAD_REQUEST,
                "Bad request",
                "The request is malformed.",
            ),
            Self::Unauthorized => define(
                StatusCode::UNAUTHORIZED,
                "Unauthorized",
                "The request requires a valid bearer token.",
            ),
            Self::Forbidden => define(
                StatusCode::FORBIDDEN,
                "Forbidden",
                "The token does not grant access to this user's orders.",
            ),
            Self::UserNotFound => define(
                StatusCode::NOT_FOUND,
                "User not found",
                "There is no user with this id.",
            ),
            Self::OrderNotFound => define(
                StatusCode::NOT_FOUND,
                "Order not found",
                "The user has no order with this id.",
            ),
            Self::NotFound => define(
                StatusCode::NOT_FOUND,
                "Not found",
                "There is no resource at this path.",
            ),
            Self::MethodNotAllowed => define(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                "This path does not support the method. The Allow header lists the supported methods.",
            ),
            Self::TenantOverloaded => define(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many concurrent requests of one organization",
                "The service is handling the maximum number of concurrent requests of the user's \
                 organization. Try again shortly.",
            )
            .with_retry_after(),
            Self::TenantUnavailable => define(
                StatusCode::SERVICE_UNAVAILABLE,
                "Tenant unavailable",
                "The data of the user's organization is missing, incomplete or not readable.",
            ),
            Self::DatabaseUnavailable => define(
                StatusCode::SERVICE_UNAVAILABLE,
                "Database unavailable",
                "The database is not available. Try again shortly.",
            )
            .with_retry_after(),
            Self::AuthenticationUnavailable => define(
                StatusCode::SERVICE_UNAVAILABLE,
                "Authentication unavailable",
                "The keys that verify tokens are not available yet. Try again shortly.",
            )
            .with_retry_after(),
            Self::Overloaded => define(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many concurrent requests",
                "The service is handling its maximum number of concurrent requests. Try again shortly.",
            )
            .with_retry_after(),
            Self::Timeout => define(
                StatusCode::GATEWAY_TIMEOUT,
                "Timeout",
                "The request took longer than the service allows.",
            ),
            Self::TenantDataInvalid => define(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Invalid tenant data",
                "The data of the user's organization contains a value that cannot be represented exactly.",
            ),
            Self::Internal => define(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error",
                "An unexpected error occurred. The log has the cause under this request id.",
            ),
        }
    }

    /// Returns whether the request was refused to protect the service from overload.
    pub(super) const fn is_overload(self) -> bool {
        matches!(self, Self::Overloaded | Self::TenantOverloaded)
    }

    /// Returns the `type` of a problem: a relative URI.
    pub(super) fn uri(self) -> String {
        format!("/problems/{self}")
    }

    /// Returns the schema of the `type` of a problem: an enumeration of all types.
    pub(super) fn uri_schema() -> Schema {
        let RefOr::T(Schema::Object(names)) = Self::schema() else {
            return Schema::default();
        };
        let uris = names
            .enum_values
            .unwrap_or_default()
            .into_iter()
            .filter_map(|name| name.as_str().map(|name| format!("/problems/{name}")));
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("uri-reference".to_owned())))
            .description(Some("The kind of failure. It is an identifier, not a link."))
            .enum_values(Some(uris))
            .into()
    }
}

impl fmt::Display for ProblemType {
    /// Writes the name, such as `bad-request`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
