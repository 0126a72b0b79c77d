//! What a token says.

use serde::{Deserialize, Serialize};

/// The scope that lets a token ask for the orders of every user.
pub const READ_ANY_ORDERS: &str = "orders:read:any";

/// What a token says about who bears it (RFC 7519), once it is verified.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Claims {
    sub: Option<String>,
    organization_id: Option<String>,
    scope: Option<Scopes>,
    /// Some issuers call it so.
    scp: Option<Scopes>,
}

/// Scopes with spaces in between (RFC 8693, section 4.2), or, as some issuers write them, in a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Scopes {
    Text(String),
    List(Vec<String>),
}

impl Scopes {
    fn contain(&self, scope: &str) -> bool {
        match self {
            Self::Text(text) => text.split(' ').any(|one| one == scope),
            Self::List(list) => list.iter().any(|one| one == scope),
        }
    }
}

impl Claims {
    /// Whether the token may ask for the orders of this user at all.
    #[must_use]
    pub fn cover(&self, user_id: &str) -> bool {
        let scopes = [&self.scope, &self.scp];
        self.sub.as_deref() == Some(user_id)
            || scopes
                .into_iter()
                .flatten()
                .any(|scopes| scopes.contain(READ_ANY_ORDERS))
    }

    /// The only organization whose users the token may ask for, where it names one.
    #[must_use]
    pub fn into_organization(self) -> Option<String> {
        self.organization_id
    }
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It is no signed JSON Web Token, or says what cannot be.
    #[error("not a signed JSON Web Token")]
    Malformed,
    /// It demands an extension to be understood (`crit`).
    #[error("demands an extension that is not known")]
    Critical,
    /// No key goes with the algorithm and the key id that it names.
    #[error("no key for its algorithm and key id")]
    NoKey,
    /// No key has made its signature.
    #[error("wrong signature")]
    Signature,
    /// It lacks `exp`, or `iss` or `aud` where they are asked for.
    #[error("lacks a claim")]
    LacksClaim,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Its time has not come.
    #[error("not valid yet")]
    NotYetValid,
    /// It comes from somebody else.
    #[error("another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("another audience")]
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

/// What a new token is to say.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewToken<'a> {
    /// Who bears it.
    pub sub: &'a str,
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// Until when it holds, in seconds since 1970.
    pub exp: u64,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<&'a str>,
    /// For whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<&'a str>,
    /// Scopes, with spaces in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// The organization whose users alone it may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<&'a str>,
}
