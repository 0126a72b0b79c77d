//! Errors of the configured keys, and of requests.

use std::path::PathBuf;

use super::key::InvalidKeyFile;
use super::token::InvalidToken;

/// The size of the hash (RFC 7518, section 3.2).
pub(super) const MIN_SECRET_BYTES: usize = 32;

/// The configured keys are unusable.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeys {
    /// Several sources of keys are configured, so the token would choose the algorithm.
    #[error("{} are set; set only the one that verifies the tokens", .0.join(" and "))]
    Several(Vec<&'static str>),
    /// The secret can be guessed from any token.
    #[error("JWT_SECRET is shorter than {MIN_SECRET_BYTES} bytes; generate one with openssl rand -base64 32")]
    ShortSecret,
    #[error("failed to read JWT_PUBLIC_KEY_FILE {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("JWT_PUBLIC_KEY_FILE {} is unusable", path.display())]
    File { path: PathBuf, source: InvalidKeyFile },
    #[error("JWT_JWKS_URL is invalid")]
    Url(#[from] InvalidKeySetUrl),
    #[error("failed to create the token")]
    Claims(#[from] serde_json::Error),
    #[error("failed to sign the token")]
    Signing(#[source] jsonwebtoken::errors::Error),
}

/// Reason for which `JWT_JWKS_URL` is invalid. No text contains the URL, which can contain a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeySetUrl {
    #[error("https://HOST/PATH is expected")]
    NotAUrl,
    /// Others on the network could replace the keys.
    #[error("https is required, except for hosts on this machine (localhost, 127.0.0.1, ::1)")]
    Unencrypted,
    #[error("a user name or password in the URL is not supported")]
    Credentials,
    /// The HTTP client cannot be set up, for example because there are no CA certificates.
    #[error("failed to set up TLS")]
    Client(#[source] reqwest::Error),
}

/// A request is not authenticated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    #[error("the keys that verify tokens have not been fetched yet")]
    NoKeysYet,
    #[error(transparent)]
    Token(#[from] InvalidToken),
}
