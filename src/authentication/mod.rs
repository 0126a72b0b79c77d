//! Who asks: bearer tokens (RFC 7519), and the keys that vouch for them.
//!
//! Rules, each against an attack that has worked somewhere:
//!
//! - **The key decides about the algorithm**, never the token: else a token names `none`, or has a public
//!   key, which all know, taken for a secret.
//! - **Keys come out of the settings alone.** What a token says about where its key is (`jku`, `x5u`, `jwk`)
//!   is not read; its key id (`kid`) is compared and nothing else.
//! - **A token that never expires is refused**, as is one that demands an extension (`crit`).
//! - **Nothing is remembered**: each request's token is verified, so none outlives its time or its key.

mod key;
mod key_file;
mod signatures;
mod token;

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

pub use key::InvalidKeyFile;
pub use token::{Claims, InvalidToken, NewToken, READ_ANY_ORDERS};

use crate::config::AuthenticationSettings;
use key::Key;

/// RFC 7518, section 3.2: as long as the hash.
const MIN_SECRET_BYTES: usize = 32;
/// Clocks differ. Seconds.
const LEEWAY: u64 = 60;

/// The keys that the settings name cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeys {
    /// The algorithm would be the token's choice.
    #[error("JWT_SECRET and JWT_PUBLIC_KEY_FILE are both set: set the one that tokens are signed by")]
    Both,
    /// A short secret can be found out from any token.
    #[error(
        "JWT_SECRET is shorter than {MIN_SECRET_BYTES} bytes, and so can be guessed: \
         take one that openssl rand -base64 32 makes"
    )]
    ShortSecret,
    /// The file with the public keys cannot be read.
    #[error("cannot read JWT_PUBLIC_KEY_FILE {}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file with the public keys is not as it should be.
    #[error("cannot use JWT_PUBLIC_KEY_FILE {}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: InvalidKeyFile,
    },
    /// No token can be signed.
    #[error("cannot sign a token")]
    Signing(#[source] jsonwebtoken::errors::Error),
}

/// Tells who bears a token. Clones share their keys.
#[derive(Clone)]
pub struct Authenticator {
    keys: watch::Receiver<Vec<Verifier>>,
}

/// A key, and what a token must say that it verifies.
struct Verifier {
    key: Key,
    validation: Validation,
}

impl Authenticator {
    /// Takes the keys that the settings name; none where they name none. A file of keys is read again
    /// in the background for as long as there is a clone: this needs a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`InvalidKeys`].
    pub async fn open(settings: &AuthenticationSettings) -> Result<Option<Self>, InvalidKeys> {
        signatures::install();
        match (settings.secret(), settings.public_key_file()) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(InvalidKeys::Both),
            (Some(secret), None) => {
                let key = Key::of_secret(checked(secret)?.as_bytes());
                let (_, keys) = watch::channel(verifiers(vec![key], settings));
                Ok(Some(Self { keys }))
            }
            (None, Some(path)) => {
                let keys = key_file::follow(path.to_owned(), settings.clone()).await?;
                Ok(Some(Self { keys }))
            }
        }
    }

    /// Verifies a token: what it says about who bears it.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`].
    pub fn verify(&self, token: &str) -> Result<Claims, InvalidToken> {
        let header = jsonwebtoken::decode_header(token)?;
        if header.crit.is_some() {
            return Err(InvalidToken::Critical);
        }
        let mut refused = InvalidToken::NoKey;
        for verifier in self.keys.borrow().iter() {
            if !verifier.key.suits(&header) {
                continue;
            }
            match jsonwebtoken::decode(token, &verifier.key.material, &verifier.validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) => refused = error.into(),
            }
            // Another key may have signed it, but what it says is the same for all.
            if refused != InvalidToken::Signature {
                break;
            }
        }
        Err(refused)
    }
}

fn verifiers(keys: Vec<Key>, settings: &AuthenticationSettings) -> Vec<Verifier> {
    let verifier = |key: Key| {
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        if let Some(issuer) = settings.issuer() {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if let Some(audience) = settings.audience() {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        Verifier { key, validation }
    };
    keys.into_iter().map(verifier).collect()
}

/// Signs a token for trying the service (HS256).
///
/// # Errors
///
/// [`InvalidKeys`] where the secret could be guessed.
pub fn sign(token: &NewToken<'_>, secret: &SecretString) -> Result<String, InvalidKeys> {
    signatures::install();
    let key = EncodingKey::from_secret(checked(secret)?.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), token, &key).map_err(InvalidKeys::Signing)
}

fn checked(secret: &SecretString) -> Result<&str, InvalidKeys> {
    let secret = secret.expose_secret();
    if secret.len() < MIN_SECRET_BYTES {
        return Err(InvalidKeys::ShortSecret);
    }
    Ok(secret)
}
