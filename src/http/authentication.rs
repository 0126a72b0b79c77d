//! Authentication of requests by bearer tokens (RFC 6750).

use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;

use super::extract::{PathParameters, UserPath};
use super::problem::Problem;
use super::problem_type::ProblemType;
use crate::authentication::{AuthenticationError, Authenticator};

const TOKEN_REQUIRED: &str = r#"Bearer realm="tenant-orders""#;
const INVALID_REQUEST: &str = r#"Bearer realm="tenant-orders", error="invalid_request""#;
const INVALID_TOKEN: &str = r#"Bearer realm="tenant-orders", error="invalid_token""#;
const INSUFFICIENT_SCOPE: &str =
    r#"Bearer realm="tenant-orders", error="insufficient_scope", scope="orders:read:any""#;

/// The organization that the token is restricted to.
#[derive(Clone)]
pub(super) struct TokenOrganization(pub(super) String);

/// Refuses a request unless its token grants access to the user in the path. Waits at most the request's time
/// for keys. The refusal involves no lookup, so the response does not reveal whether the user exists.
pub(super) async fn authenticate(
    State((authenticator, timeout)): State<(Authenticator, Duration)>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let verify = authenticator.verify(bearer_token(&parts)?);
    let claims = tokio::time::timeout(timeout, verify)
        .await
        .map_err(|elapsed| Problem::from_cause(ProblemType::Timeout, elapsed))??;
    let PathParameters(UserPath { id }) = PathParameters::from_request_parts(&mut parts, &()).await?;
    if !claims.has_access_to(&id) {
        return Err(Problem::new(ProblemType::Forbidden)
            .with_detail("The token belongs to another user and lacks the scope orders:read:any.")
            .with_challenge(INSUFFICIENT_SCOPE));
    }
    if let Some(organization) = claims.organization {
        parts.extensions.insert(TokenOrganization(organization));
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Returns the token of the header `Authorization`. A token in the query is refused because it would appear
/// in logs.
fn bearer_token(parts: &Parts) -> Result<&str, Problem> {
    let token_required = || {
        Problem::new(ProblemType::Unauthorized)
            .with_detail("A bearer token is required: send the header Authorization: Bearer TOKEN.")
            .with_challenge(TOKEN_REQUIRED)
    };
    let malformed = |detail| Problem::bad_request(detail).with_challenge(INVALID_REQUEST);
    let malformed_header =
        || malformed("The header Authorization must consist of Bearer, a space and a token.");
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let header = match (headers.next(), headers.next()) {
        (None, _) => return Err(token_required()),
        (Some(header), None) => header.to_str().map_err(|_| malformed_header())?,
        (Some(_), Some(_)) => return Err(malformed("The header Authorization must not be repeated.")),
    };
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(token_required());
    }
    let token = token.trim_matches(' ');
    if token.is_empty() || !token.bytes().all(is_token_byte) {
        return Err(malformed_header());
    }
    let query = parts.uri.query().unwrap_or_default();
    if query
        .split('&')
        .any(|parameter| parameter.starts_with("access_token="))
    {
        return Err(malformed(
            "The token must be in the header Authorization only, not also in the query.",
        ));
    }
    Ok(token)
}

/// Returns whether the byte is allowed in `b64token` (RFC 6750, section 2.1).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

impl From<AuthenticationError> for Problem {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::NoKeysYet => Self::from_cause(ProblemType::AuthenticationUnavailable, error),
            AuthenticationError::Token(reason) => Self::new(ProblemType::Unauthorized)
                .with_detail(format!("Invalid token: {reason}."))
                .with_challenge(INVALID_TOKEN),
        }
    }
}
