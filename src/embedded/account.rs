//! Whom PostgreSQL runs as: it refuses root.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, fchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User, geteuid};

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

/// Where we are root, the folder's files are another's to replace by links: we must not follow those.
pub(super) const NOT_THROUGH_A_LINK: i32 = nix::libc::O_NOFOLLOW;

impl Account {
    /// The account to use for `folder`: its owner, where it is there already. None where we are root
    /// and there is no other.
    pub(super) fn choose(folder: &Path) -> Option<Self> {
        if !geteuid().is_root() {
            return Some(Self::Own);
        }
        let owner = fs::metadata(folder)
            .ok()
            .map(|folder| Uid::from_raw(folder.uid()))
            .filter(|owner| !owner.is_root())
            .and_then(|owner| User::from_uid(owner).ok().flatten());
        let by_name = || {
            UNPRIVILEGED
                .iter()
                .find_map(|name| User::from_name(name).ok().flatten())
        };
        owner.or_else(by_name).map(Self::Other)
    }

    /// The account's name, where it is not ours.
    pub(super) fn other_name(&self) -> Option<&str> {
        match self {
            Self::Own => None,
            Self::Other(user) => Some(&user.name),
        }
    }

    /// Gives an open file or folder to the account.
    pub(super) fn own(&self, file: &File) -> std::io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other(user) => fchown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
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
