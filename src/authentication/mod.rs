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

mod error;
mod key;
mod key_file;
mod key_set;
mod key_set_url;
mod signatures;
mod token;
mod unique_json;

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use error::MIN_SECRET_BYTES;
pub(crate) use error::{AuthenticationError, InvalidKeys};
pub(crate) use token::NewToken;

use crate::config::AuthenticationSettings;
use crate::log_throttle::LogThrottle;
use crate::request_context::current_request_id;
use key::{Key, build_validations};
use key_set_url::KeySetUrl;
use token::{Claims, InvalidToken};
use unique_json::UniqueJson;

/// Verifies tokens. Clones share their keys.
#[derive(Clone)]
pub struct Authenticator {
    keys: watch::Receiver<Vec<Key>>,
    shared: Arc<Shared>,
}

struct Shared {
    settings: AuthenticationSettings,
    validations: HashMap<Algorithm, Validation>,
    key_set_url: Option<Arc<KeySetUrl>>,
    refused: LogThrottle,
}

impl Authenticator {
    /// Loads the configured keys. Returns `None` if no key is configured. A file or URL of keys is watched in
    /// the background until the last clone is dropped, which requires a Tokio runtime. An unreachable URL is
    /// not an error.
    ///
    /// # Errors
    ///
    /// Returns an error if the configured keys are unusable.
    pub async fn open(settings: &AuthenticationSettings) -> Result<Option<Self>, InvalidKeys> {
        signatures::install();
        let (secret, file, url) = (
            &settings.jwt_secret,
            &settings.jwt_public_key_file,
            &settings.jwt_jwks_url,
        );
        let (key_set_url, keys) = match (secret, file, url) {
            (None, None, None) => return Ok(None),
            (Some(secret), None, None) => {
                let key = Key::from_secret(expose_secret(secret)?.as_bytes());
                (None, watch::channel(vec![key]).1)
            }
            (None, Some(path), None) => (None, key_file::watch(path.clone()).await?),
            (None, None, Some(url)) => {
                let (key_set_url, keys) = key_set_url::watch(url).await?;
                (Some(key_set_url), keys)
            }
            _ => {
                let names = [
                    secret.as_ref().map(|_| "JWT_SECRET"),
                    file.as_ref().map(|_| "JWT_PUBLIC_KEY_FILE"),
                    url.as_ref().map(|_| "JWT_JWKS_URL"),
                ];
                return Err(InvalidKeys::Several(names.into_iter().flatten().collect()));
            }
        };
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            validations: build_validations(settings),
            key_set_url,
            refused: LogThrottle::default(),
        });
        Ok(Some(Self { keys, shared }))
    }

    /// Returns whether there are keys. Only a URL may have none yet.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.borrow().is_empty()
    }

    /// Verifies a token and returns its claims. Logs the reason of a refusal. If the token's key id is unknown,
    /// this can fetch the keys, which takes a few seconds at most.
    ///
    /// # Errors
    ///
    /// Returns an error if the token is invalid, or while there are no keys.
    pub async fn verify(&self, token: &str) -> Result<Claims, AuthenticationError> {
        if !self.has_keys() {
            return Err(AuthenticationError::NoKeysYet);
        }
        let mut verified = self.verify_with_current_keys(token);
        if let (Err(InvalidToken::NoKey | InvalidToken::Signature), Some(url)) =
            (&verified, &self.shared.key_set_url)
            && self.has_unknown_key_id(token)
        {
            url.fetch_unknown_key().await;
            verified = self.verify_with_current_keys(token);
        }
        if let Err(reason) = &verified
            && let Some(refused) = self.shared.refused.hit()
        {
            let (kid, iss) = token::claimed_origin(token);
            let request_id = current_request_id();
            tracing::info!(refused, %reason, kid, iss, request_id, "refused a token");
        }
        Ok(verified?)
    }

    fn verify_with_current_keys(&self, token: &str) -> Result<Claims, InvalidToken> {
        let header = jsonwebtoken::decode_header(token)?;
        if header.crit.is_some() {
            return Err(InvalidToken::Critical);
        }
        let mut failure = InvalidToken::NoKey;
        for key in self.keys.borrow().iter() {
            if !key.is_candidate_for(&header) {
                continue;
            }
            let validation = self.shared.validations.get(&key.algorithm);
            let validation = validation.ok_or(InvalidToken::NoKey)?;
            match jsonwebtoken::decode::<UniqueJson>(token, &key.material, validation) {
                Ok(token) => return Claims::from_json(&token.claims, &self.shared.settings),
                Err(error) => failure = error.into(),
            }
            // Another key can have made the signature; all other failures are the same for every key.
            if failure != InvalidToken::Signature {
                break;
            }
        }
        Err(failure)
    }

    /// Returns whether the token has a key id that no key has.
    fn has_unknown_key_id(&self, token: &str) -> bool {
        let id = jsonwebtoken::decode_header(token)
            .ok()
            .and_then(|header| header.kid);
        id.is_some() && self.keys.borrow().iter().all(|key| key.id != id)
    }
}

/// Signs a token for tests of the service (HS256).
pub(crate) fn sign(
    token: &NewToken<'_>,
    secret: &SecretString,
    settings: &AuthenticationSettings,
) -> Result<String, InvalidKeys> {
    signatures::install();
    let key = EncodingKey::from_secret(expose_secret(secret)?.as_bytes());
    let claims = token.to_claims(settings)?;
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(InvalidKeys::Signing)
}

/// Returns the secret if it is long enough.
fn expose_secret(secret: &SecretString) -> Result<&str, InvalidKeys> {
    let secret = secret.expose_secret();
    if secret.len() < MIN_SECRET_BYTES {
        return Err(InvalidKeys::ShortSecret);
    }
    Ok(secret)
}
