//! Bearer tokens in requests (RFC 6750): who does not bear the right one goes no further.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;

use super::extract::UserId;
use super::problem::Problem;
use crate::authentication::{Authenticator, InvalidToken};

const ASK_FOR_TOKEN: &str = r#"Bearer realm="tenant-orders""#;
const INVALID_REQUEST: &str = r#"Bearer realm="tenant-orders", error="invalid_request""#;
const INVALID_TOKEN: &str = r#"Bearer realm="tenant-orders", error="invalid_token""#;
const INSUFFICIENT_SCOPE: &str =
    r#"Bearer realm="tenant-orders", error="insufficient_scope", scope="orders:read:any""#;

/// The only organization whose users the caller may ask for, where there is one alone.
#[derive(Clone)]
pub(super) struct CallersOrganization(pub(super) String);

/// Lets through whose token covers the user in the path. Nothing is looked up for the others, so that
/// what they are answered does not tell which users there are.
pub(super) async fn authenticated(
    State(authenticator): State<Authenticator>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let claims = authenticator.verify(bearer_token(&parts)?)?;
    let UserId(user_id) = UserId::from_request_parts(&mut parts, &()).await?;
    if !claims.cover(&user_id) {
        return Err(Problem::forbidden(
            "The token is another user's, and has not the scope orders:read:any.",
        )
        .challenging(INSUFFICIENT_SCOPE));
    }
    if let Some(organization) = claims.into_organization() {
        parts.extensions.insert(CallersOrganization(organization));
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// The token of the header `Authorization`. One in the query is none: it would end up in logs.
fn bearer_token(parts: &Parts) -> Result<&str, Problem> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let header = match (headers.next(), headers.next()) {
        (None, _) => return Err(Problem::no_token()),
        (Some(header), None) => header.to_str(),
        (Some(_), Some(_)) => {
            return Err(Problem::malformed_token(
                "The header Authorization may be given once.",
            ));
        }
    };
    let malformed =
        || Problem::malformed_token("The header Authorization must be: Bearer, a space, a token.");
    let header = header.map_err(|_| malformed())?;
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Problem::no_token());
    }
    let token = token.trim_matches(' ');
    if token.is_empty() || !token.bytes().all(is_of_a_token) {
        return Err(malformed());
    }
    let query = parts.uri.query().unwrap_or_default();
    if query
        .split('&')
        .any(|parameter| parameter.starts_with("access_token="))
    {
        return Err(Problem::malformed_token(
            "The token may be given once: in the header Authorization, not in the query.",
        ));
    }
    Ok(token)
}

/// `b64token` of RFC 6750, section 2.1.
fn is_of_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

impl Problem {
    const fn no_token() -> Self {
        Self::unauthorized("This needs a token: send the header Authorization: Bearer TOKEN.")
            .challenging(ASK_FOR_TOKEN)
    }

    const fn malformed_token(detail: &'static str) -> Self {
        Self::bad_request(detail).challenging(INVALID_REQUEST)
    }
}

impl From<InvalidToken> for Problem {
    fn from(invalid: InvalidToken) -> Self {
        let detail = match invalid {
            InvalidToken::Malformed => "The token is no signed JSON Web Token that can be read.",
            InvalidToken::Critical => "The token demands an extension (crit) that is not known here.",
            InvalidToken::NoKey => "No key that is trusted here goes with the token's algorithm and key id.",
            InvalidToken::Signature => "No key that is trusted here has signed the token.",
            InvalidToken::LacksClaim => {
                "The token does not say until when it holds, who made it, or for whom."
            }
            InvalidToken::Expired => "The token has expired.",
            InvalidToken::NotYetValid => "The token is not valid yet.",
            InvalidToken::Issuer => "The token comes from an issuer that is not trusted here.",
            InvalidToken::Audience => "The token is for another audience.",
        };
        Self::unauthorized(detail).challenging(INVALID_TOKEN)
    }
}
