//! A file of public keys, reloaded when it changes so that keys can be rotated without a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::error::InvalidKeys;
use super::key::Key;
use super::key_set;
use crate::error_chain;

/// The file is small: reading and comparing it is cheap and misses no change.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The content, or the kind of error: unlike an error, both can be compared.
type Content = Result<Vec<u8>, io::ErrorKind>;

/// Loads the keys and keeps them up to date until the receiver is dropped. Requires a Tokio runtime.
pub(super) async fn watch(path: PathBuf) -> Result<watch::Receiver<Vec<Key>>, InvalidKeys> {
    let content = read(&path).await;
    let (sender, receiver) = watch::channel(parse(&path, &content)?);
    tokio::spawn(poll(path, content, sender));
    Ok(receiver)
}

async fn read(path: &Path) -> Content {
    tokio::fs::read(path).await.map_err(|error| error.kind())
}

fn parse(path: &Path, content: &Content) -> Result<Vec<Key>, InvalidKeys> {
    let path = path.to_owned();
    match content {
        Ok(content) => key_set::parse_file(content).map_err(|source| InvalidKeys::File { path, source }),
        Err(kind) => Err(InvalidKeys::Unreadable {
            path,
            source: (*kind).into(),
        }),
    }
}

/// Publishes the keys after each change. An unusable file, as during its replacement, leaves the keys
/// unchanged.
async fn poll(path: PathBuf, mut current: Content, sender: watch::Sender<Vec<Key>>) {
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
        let content = read(&path).await;
        if content == current {
            continue;
        }
        match parse(&path, &content) {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "reloaded JWT_PUBLIC_KEY_FILE");
                sender.send_replace(keys);
            }
            Err(error) => tracing::warn!(
                cause = error_chain::messages(&error).join(": "),
                "failed to reload JWT_PUBLIC_KEY_FILE; the previous keys stay in use"
            ),
        }
        current = content;
    }
}
