//! A file of public keys, reloaded when it changes so that keys can be rotated without a restart.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::error::InvalidKeys;
use super::key::{Verifier, build_verifiers};
use super::key_set::KeySet;
use crate::config::AuthenticationSettings;
use crate::error_chain;

/// The file is small: reading and comparing it is cheap and misses no change.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Loads the keys and keeps them up to date until the receiver is dropped. Requires a Tokio runtime.
///
/// # Errors
///
/// [`InvalidKeys`] if the file is unusable at the start.
pub(super) async fn watch(
    path: PathBuf,
    settings: AuthenticationSettings,
) -> Result<watch::Receiver<Vec<Verifier>>, InvalidKeys> {
    let file = KeyFile { path, settings };
    let content = file.read().await;
    let (sender, receiver) = watch::channel(file.verifiers(&content)?);
    tokio::spawn(file.poll(content, sender));
    Ok(receiver)
}

struct KeyFile {
    path: PathBuf,
    settings: AuthenticationSettings,
}

/// The content, or the kind of error: unlike an error, both can be compared.
type Content = Result<Vec<u8>, io::ErrorKind>;

impl KeyFile {
    async fn read(&self) -> Content {
        tokio::fs::read(&self.path).await.map_err(|error| error.kind())
    }

    fn verifiers(&self, content: &Content) -> Result<Vec<Verifier>, InvalidKeys> {
        let path = || self.path.clone();
        let bytes = content.as_ref().map_err(|kind| InvalidKeys::Unreadable {
            path: path(),
            source: (*kind).into(),
        })?;
        let set = KeySet::parse_file(bytes).map_err(|source| InvalidKeys::File { path: path(), source })?;
        if let Some(skipped) = &set.skipped {
            tracing::warn!("JWT_PUBLIC_KEY_FILE contains keys that cannot verify tokens; {skipped}");
        }
        Ok(build_verifiers(set.keys, &self.settings))
    }

    /// Publishes the keys after each change. An unusable file, as during its replacement, leaves the keys
    /// unchanged.
    async fn poll(self, mut current: Content, keys: watch::Sender<Vec<Verifier>>) {
        loop {
            tokio::select! {
                () = keys.closed() => return,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            let content = self.read().await;
            if content == current {
                continue;
            }
            match self.verifiers(&content) {
                Ok(verifiers) => {
                    tracing::info!(keys = verifiers.len(), "reloaded JWT_PUBLIC_KEY_FILE");
                    keys.send_replace(verifiers);
                }
                Err(error) => tracing::warn!(
                    cause = error_chain::messages(&error).join(": "),
                    "failed to reload JWT_PUBLIC_KEY_FILE; the previous keys stay in use"
                ),
            }
            current = content;
        }
    }
}
