//! Whom PostgreSQL runs as: it refuses root.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{User, geteuid};

/// Tried in this order: the one made for it, and the one that every system has.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The account of the server's processes and files.
#[derive(Debug, Clone)]
pub(super) enum Account {
    /// Ours.
    Own,
    /// Another, since we are root.
    Other(User),
}

impl Account {
    /// The account to use; none where we are root and there is no other.
    pub(super) fn choose() -> Option<Self> {
        if !geteuid().is_root() {
            return Some(Self::Own);
        }
        UNPRIVILEGED
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(Self::Other)
    }

    /// The account's name, where it is not ours.
    pub(super) fn other_name(&self) -> Option<&str> {
        match self {
            Self::Own => None,
            Self::Other(user) => Some(&user.name),
        }
    }

    /// Gives a file or folder to the account.
    pub(super) fn own(&self, path: &Path) -> std::io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other(user) => {
                std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            }
        }
    }

    /// A command that runs as the account, in a folder it can reach.
    pub(super) fn command(&self, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder);
        if let Self::Other(user) = self {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}
