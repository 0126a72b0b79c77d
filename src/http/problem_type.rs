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

impl ProblemType {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::UserNotFound | Self::OrderNotFound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TenantOverloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::TenantUnavailable
            | Self::DatabaseUnavailable
            | Self::AuthenticationUnavailable
            | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::TenantDataInvalid | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::UserNotFound => "User not found",
            Self::OrderNotFound => "Order not found",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::TenantOverloaded => "Too many concurrent requests of one organization",
            Self::TenantUnavailable => "Tenant unavailable",
            Self::DatabaseUnavailable => "Database unavailable",
            Self::AuthenticationUnavailable => "Authentication unavailable",
            Self::Overloaded => "Too many concurrent requests",
            Self::Timeout => "Timeout",
            Self::TenantDataInvalid => "Invalid tenant data",
            Self::Internal => "Internal error",
        }
    }

    /// Returns the detail of a problem that has no more specific one.
    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is malformed.",
            Self::Unauthorized => "The request requires a valid bearer token.",
            Self::Forbidden => "The token does not grant access to this user's orders.",
            Self::UserNotFound => "There is no user with this id.",
            Self::OrderNotFound => "The user has no order with this id.",
            Self::NotFound => "There is no resource at this path.",
            Self::MethodNotAllowed => {
                "This path does not support the method. The Allow header lists the supported methods."
            }
            Self::TenantOverloaded => {
                "The service is handling the maximum number of concurrent requests of the user's organization. \
                 Try again shortly."
            }
            Self::TenantUnavailable => {
                "The data of the user's organization is missing, incomplete or not readable."
            }
            Self::DatabaseUnavailable => "The database is not available. Try again shortly.",
            Self::AuthenticationUnavailable => {
                "The keys that verify tokens are not available yet. Try again shortly."
            }
            Self::Overloaded => {
                "The service is handling its maximum number of concurrent requests. Try again shortly."
            }
            Self::Timeout => "The request took longer than the service allows.",
            Self::TenantDataInvalid => {
                "The data of the user's organization contains a value that cannot be represented exactly."
            }
            Self::Internal => "An unexpected error occurred. The log has the cause under this request id.",
        }
    }

    /// Returns whether the response has `Retry-After`.
    pub(super) const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::TenantOverloaded
                | Self::DatabaseUnavailable
                | Self::AuthenticationUnavailable
                | Self::Overloaded
        )
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
