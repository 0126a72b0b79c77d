//! Authentication by bearer tokens (RFC 7519) and the keys that verify them.
//!
//! Rules, each against a known attack:
//!
//! - **The key determines the algorithm**, never the token: otherwise a token can select `none`, or have a
//!   public key used as an HMAC secret.
//! - **Keys come from the settings only.** References to keys in a token (`jku`, `x5u`, `jwk`) are ignored; its
//!   key id (`kid`) is only compared.
//! - **A token without an expiry is refused**, as is one that requires an extension (`crit`).
//! - **No cache**: the token of each request is verified, so none outlives its expiry or its key.

mod key;
mod key_file;
mod key_set;
mod signatures;
mod token;

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

pub use key::{InvalidKeyFile, UnusableKey};
pub use token::{Claims, InvalidToken, NewToken, READ_ANY_ORDERS};

use crate::config::AuthenticationSettings;
use key::Key;

/// The size of the hash (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// Tolerance for clocks that differ.
const LEEWAY_SECONDS: u64 = 60;

/// The configured keys are unusable.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeys {
    /// Two kinds of keys are configured, so the token would choose the algorithm.
    #[error("JWT_SECRET and JWT_PUBLIC_KEY_FILE are both set; set only the one that verifies the tokens")]
    Both,
    /// The secret can be guessed from any token.
    #[error("JWT_SECRET is shorter than {MIN_SECRET_BYTES} bytes; generate one with openssl rand -base64 32")]
    ShortSecret,
    /// The file of public keys cannot be read.
    #[error("failed to read JWT_PUBLIC_KEY_FILE {}", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The content of the file of public keys is unusable.
    #[error("JWT_PUBLIC_KEY_FILE {} is unusable", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        source: InvalidKeyFile,
    },
    /// A token cannot be signed.
    #[error("failed to sign the token")]
    Signing(#[source] jsonwebtoken::errors::Error),
}

/// Verifies tokens. Clones share their keys.
#[derive(Clone)]
pub struct Authenticator {
    keys: watch::Receiver<Vec<Verifier>>,
}

/// A key, and the requirements for tokens that it verifies.
struct Verifier {
    key: Key,
    validation: Validation,
}

impl Authenticator {
    /// Loads the configured keys. Returns `None` if no key is configured. A file of keys is watched in the
    /// background until the last clone is dropped, which requires a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`InvalidKeys`].
    pub async fn open(settings: &AuthenticationSettings) -> Result<Option<Self>, InvalidKeys> {
        signatures::install();
        match (&settings.jwt_secret, &settings.jwt_public_key_file) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(InvalidKeys::Both),
            (Some(secret), None) => {
                let key = Key::from_secret(expose_secret(secret)?.as_bytes());
                let (_, keys) = watch::channel(build_verifiers(vec![key], settings));
                Ok(Some(Self { keys }))
            }
            (None, Some(path)) => {
                let keys = key_file::watch(path.clone(), settings.clone()).await?;
                Ok(Some(Self { keys }))
            }
        }
    }

    /// Verifies a token and returns its claims.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`].
    pub fn verify(&self, token: &str) -> Result<Claims, InvalidToken> {
        let header = jsonwebtoken::decode_header(token)?;
        if header.crit.is_some() {
            return Err(InvalidToken::Critical);
        }
        let mut failure = InvalidToken::NoKey;
        for verifier in self.keys.borrow().iter() {
            if !verifier.key.is_candidate_for(&header) {
                continue;
            }
            match jsonwebtoken::decode(token, &verifier.key.material, &verifier.validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) => failure = error.into(),
            }
            // Another key can have made the signature; all other failures are the same for every key.
            if failure != InvalidToken::Signature {
                break;
            }
        }
        Err(failure)
    }
}

fn build_verifiers(keys: Vec<Key>, settings: &AuthenticationSettings) -> Vec<Verifier> {
    let verifier = |key: Key| {
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        if let Some(issuer) = &settings.jwt_issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if let Some(audience) = &settings.jwt_audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        Verifier { key, validation }
    };
    keys.into_iter().map(verifier).collect()
}

/// Signs a token for tests of the service (HS256).
///
/// # Errors
///
/// [`InvalidKeys`] if the secret is too short.
pub fn sign(token: &NewToken<'_>, secret: &SecretString) -> Result<String, InvalidKeys> {
    signatures::install();
    let key = EncodingKey::from_secret(expose_secret(secret)?.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), token, &key).map_err(InvalidKeys::Signing)
}

/// Returns the secret if it is long enough.
fn expose_secret(secret: &SecretString) -> Result<&str, InvalidKeys> {
    let secret = secret.expose_secret();
    if secret.len() < MIN_SECRET_BYTES {
        return Err(InvalidKeys::ShortSecret);
    }
    Ok(secret)
}
