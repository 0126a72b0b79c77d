//! A file of public keys, which is read again when it changes: so keys are replaced without a restart.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::key::Key;
use super::{InvalidKeys, Verifier, verifiers};
use crate::config::AuthenticationSettings;
use crate::error_chain;

/// The file is small, and to compare what it holds misses no change.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Reads the keys, and goes on to read them until nobody wants them any more. Needs a Tokio runtime.
///
/// # Errors
///
/// [`InvalidKeys`] where the keys cannot be used from the start.
pub(super) async fn follow(
    path: PathBuf,
    settings: AuthenticationSettings,
) -> Result<watch::Receiver<Vec<Verifier>>, InvalidKeys> {
    let file = KeyFile { path, settings };
    let content = file.read().await;
    let (sender, receiver) = watch::channel(file.verifiers(&content)?);
    tokio::spawn(file.follow(content, sender));
    Ok(receiver)
}

struct KeyFile {
    path: PathBuf,
    settings: AuthenticationSettings,
}

/// What the file holds, or of what kind the failure to read it is.
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
        let keys = Key::all_in(bytes).map_err(|source| InvalidKeys::File { path: path(), source })?;
        Ok(verifiers(keys, &self.settings))
    }

    /// A file that cannot be used, as while it is being replaced, leaves the keys as they are.
    async fn follow(self, mut known: Content, keys: watch::Sender<Vec<Verifier>>) {
        loop {
            tokio::select! {
                () = keys.closed() => return,
                () = tokio::time::sleep(READ_EVERY) => {}
            }
            let content = self.read().await;
            if content == known {
                continue;
            }
            match self.verifiers(&content) {
                Ok(verifiers) => {
                    tracing::info!(
                        keys = verifiers.len(),
                        "JWT_PUBLIC_KEY_FILE has changed: its keys are in use"
                    );
                    keys.send_replace(verifiers);
                }
                Err(error) => tracing::warn!(
                    cause = error_chain::messages(&error).join(": "),
                    "JWT_PUBLIC_KEY_FILE has changed and cannot be used: the keys from before stay in use"
                ),
            }
            known = content;
        }
    }
}
