//! A JSON Web Key Set that its issuer publishes at a URL.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::header::ACCEPT;
use reqwest::{Client, Url, redirect};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::error::InvalidKeySetUrl;
use super::key::{InvalidKeyFile, Key};
use super::key_set;
use crate::error_chain;

/// Maximum duration of a fetch, so that a request that waits for it can still be handled.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_KEY_SET_BYTES: usize = 1024 * 1024;
const MAX_REDIRECTS: usize = 5;
/// Time after which keys that the issuer has removed are no longer trusted.
const REFRESH_INTERVAL: Duration = Duration::from_mins(5);
/// Minimum time between two fetches for unknown key ids, which any client can send.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_mins(1);
/// Delay after a failed fetch.
const INITIAL_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// A URL from which keys are fetched.
pub(super) struct KeySetUrl {
    url: Url,
    client: Client,
    keys: watch::Sender<Vec<Key>>,
    /// Held during a fetch, so that there is one at a time.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last usable response.
    content: Vec<u8>,
    /// Start of the last fetch for an unknown key id.
    unknown_key_fetch: Option<Instant>,
}

/// Error of a fetch.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    #[error("the response is larger than {MAX_KEY_SET_BYTES} bytes")]
    TooLarge,
    #[error("the response is unusable")]
    Content(#[from] InvalidKeyFile),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Request(error.without_url())
    }
}

/// Fetches the keys and keeps them up to date until the receiver is dropped. If the first fetch fails, there
/// are no keys until a later one succeeds. Requires a Tokio runtime.
pub(super) async fn watch(
    url: &str,
) -> Result<(Arc<KeySetUrl>, watch::Receiver<Vec<Key>>), InvalidKeySetUrl> {
    let url = parse(url)?;
    let (keys, receiver) = watch::channel(Vec::new());
    let source = Arc::new(KeySetUrl {
        client: build_client(&url).map_err(InvalidKeySetUrl::Client)?,
        url,
        keys,
        state: Mutex::default(),
    });
    if let Err(error) = source.fetch().await {
        source.log_failure(&error);
    }
    let background = Arc::clone(&source);
    tokio::spawn(async move {
        tokio::select! {
            () = background.keys.closed() => {}
            () = background.refresh() => {}
        }
    });
    Ok((source, receiver))
}

fn parse(text: &str) -> Result<Url, InvalidKeySetUrl> {
    let url = Url::parse(text).map_err(|_| InvalidKeySetUrl::NotAUrl)?;
    let host = url.host_str().ok_or(InvalidKeySetUrl::NotAUrl)?;
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidKeySetUrl::Credentials);
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_local => Ok(url),
        "http" => Err(InvalidKeySetUrl::Unencrypted),
        _ => Err(InvalidKeySetUrl::NotAUrl),
    }
}

fn build_client(url: &Url) -> reqwest::Result<Client> {
    // The client uses the process's default provider. An error means that one is set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let same_origin = redirect::Policy::custom(|attempt| {
        let origin = attempt.previous().first().map(Url::origin);
        if origin != Some(attempt.url().origin()) {
            attempt.error("it redirects to another host, port or scheme; set JWT_JWKS_URL to the final URL")
        } else if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else {
            attempt.follow()
        }
    });
    let client = Client::builder().redirect(same_origin).timeout(FETCH_TIMEOUT);
    if url.scheme() == "https" {
        client.build()
    } else {
        // This machine: neither a proxy nor CA certificates are needed.
        client.no_proxy().tls_certs_only([]).build()
    }
}

impl KeySetUrl {
    /// Fetches the keys for a token with an unknown key id, unless this was done recently. Waits for a running
    /// fetch.
    pub(super) async fn fetch_unknown_key(self: &Arc<Self>) {
        let source = Arc::clone(self);
        // A task of its own: a client that disconnects does not cancel the fetch of the others.
        let fetched = tokio::spawn(async move {
            let mut state = source.state.lock().await;
            let is_recent = |at: Instant| at.elapsed() < UNKNOWN_KEY_INTERVAL;
            if state.unknown_key_fetch.is_some_and(is_recent) {
                return;
            }
            state.unknown_key_fetch = Some(Instant::now());
            if let Err(error) = source.fetch_locked(&mut state).await {
                source.log_failure(&error);
            }
        });
        let _ = fetched.await;
    }

    /// Fetches the keys again and again. During an outage, the last keys stay in use.
    async fn refresh(&self) {
        loop {
            let has_keys = !self.keys.borrow().is_empty();
            tokio::time::sleep(if has_keys {
                REFRESH_INTERVAL
            } else {
                INITIAL_BACKOFF
            })
            .await;
            let backoff = ExponentialBuilder::default()
                .with_min_delay(INITIAL_BACKOFF)
                .with_max_delay(MAX_BACKOFF)
                .without_max_times();
            let _ = (|| self.fetch())
                .retry(backoff)
                .notify(|error, _| self.log_failure(error))
                .await;
        }
    }

    async fn fetch(&self) -> Result<(), FetchError> {
        self.fetch_locked(&mut *self.state.lock().await).await
    }

    async fn fetch_locked(&self, state: &mut State) -> Result<(), FetchError> {
        let content = self.download().await?;
        if content == state.content {
            return Ok(());
        }
        let keys = key_set::parse("JWT_JWKS_URL", &content)?;
        tracing::info!(keys = keys.len(), url = %self.url, "fetched JWT_JWKS_URL");
        self.keys.send_replace(keys);
        state.content = content;
        Ok(())
    }

    async fn download(&self) -> Result<Vec<u8>, FetchError> {
        let request = self
            .client
            .get(self.url.clone())
            .header(ACCEPT, "application/jwk-set+json, application/json");
        let mut response = request.send().await?.error_for_status()?;
        let mut content = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if content.len() + chunk.len() > MAX_KEY_SET_BYTES {
                return Err(FetchError::TooLarge);
            }
            content.extend_from_slice(&chunk);
        }
        Ok(content)
    }

    fn log_failure(&self, error: &FetchError) {
        let consequence = if self.keys.borrow().is_empty() {
            "no token is accepted until it succeeds"
        } else {
            "the previous keys stay in use"
        };
        tracing::warn!(
            cause = error_chain::messages(error).join(": "),
            url = %self.url,
            "failed to fetch JWT_JWKS_URL; {consequence}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_needs_https_beyond_this_machine() {
        for valid in [
            "https://id.example.com/jwks.json",
            "https://id.example.com:8443/a/b?c=d",
            "http://localhost:8080/keys",
            "http://127.0.0.2/keys",
            "http://[::1]:8080/keys",
        ] {
            assert!(parse(valid).is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "keys.json",
            "id.example.com/jwks.json",
            "https://",
            "file:///etc/keys.json",
            "ftp://localhost/keys",
            "http://id.example.com/jwks.json",
            "http://10.0.0.1/keys",
            "http://0.0.0.0/keys",
            "http://localhost.example.com/keys",
            "http://127.0.0.1.example.com/keys",
            "http://localhost@example.com/keys",
            "https://me:hush@id.example.com/keys",
        ] {
            assert!(parse(invalid).is_err(), "{invalid}");
        }
    }
}
