//! The claims of a token.

use serde::{Deserialize, Serialize};

/// The scope that grants access to the orders of every user.
pub const READ_ANY_ORDERS: &str = "orders:read:any";

/// The claims of a verified token (RFC 7519).
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Claims {
    sub: Option<String>,
    organization_id: Option<String>,
    scope: Option<Scopes>,
    /// The name of `scope` at some issuers.
    scp: Option<Scopes>,
}

/// Scopes separated by spaces (RFC 8693, section 4.2), or in a list, as some issuers write them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Scopes {
    Text(String),
    List(Vec<String>),
}

impl Scopes {
    fn contains(&self, scope: &str) -> bool {
        match self {
            Self::Text(text) => text.split(' ').any(|item| item == scope),
            Self::List(list) => list.iter().any(|item| item == scope),
        }
    }
}

impl Claims {
    /// Returns whether the token grants access to the orders of this user, in any organization.
    #[must_use]
    pub fn has_access_to(&self, user_id: &str) -> bool {
        let scopes = [&self.scope, &self.scp];
        self.sub.as_deref() == Some(user_id)
            || scopes
                .into_iter()
                .flatten()
                .any(|scopes| scopes.contains(READ_ANY_ORDERS))
    }

    /// Returns the organization that the token is restricted to, if any.
    #[must_use]
    pub fn into_organization(self) -> Option<String> {
        self.organization_id
    }
}

/// The reason for which a token is refused. Its text is part of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It is not a signed JSON Web Token, or contains an invalid value.
    #[error("it is not a well-formed, signed JSON Web Token")]
    Malformed,
    /// It requires an extension (`crit`).
    #[error("it requires an extension (crit), and none is supported")]
    Critical,
    /// No key matches its algorithm and key id.
    #[error("no trusted key matches its algorithm and key id")]
    NoKey,
    /// No key verifies its signature.
    #[error("no trusted key verifies its signature")]
    Signature,
    /// It lacks `exp`, or a required `iss` or `aud`.
    #[error("it lacks a required claim (exp, iss or aud)")]
    LacksClaim,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// Its `nbf` is in the future.
    #[error("it is not valid yet")]
    NotYetValid,
    /// Its issuer is not the required one.
    #[error("its issuer is not trusted")]
    Issuer,
    /// Its audience is not the required one.
    #[error("it is intended for another audience")]
    Audience,
}

impl From<jsonwebtoken::errors::Error> for InvalidToken {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        use jsonwebtoken::errors::ErrorKind;
        match error.kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::MissingRequiredClaim(_) => Self::LacksClaim,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYetValid,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            _ => Self::Malformed,
        }
    }
}

/// The claims of a new token.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewToken<'a> {
    /// User id.
    pub sub: &'a str,
    /// Time of issue, in seconds since 1970.
    pub iat: u64,
    /// Expiry, in seconds since 1970.
    pub exp: u64,
    /// Issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<&'a str>,
    /// Audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<&'a str>,
    /// Scopes, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// The organization that the token is restricted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<&'a str>,
}
