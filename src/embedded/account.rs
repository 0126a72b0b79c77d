//! The operating system's account that runs PostgreSQL, which refuses to run as root.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, fchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User, geteuid};

/// Accounts to run as instead of root, in order of preference.
const UNPRIVILEGED_ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// The account that runs the server and owns its files: this process's, or if this process runs as root, an
/// unprivileged one.
#[derive(Debug, Clone)]
pub(super) struct Account(Option<User>);

/// Flag that refuses symbolic links. The unprivileged account can replace files by links, and root must not
/// follow those.
pub(super) const NO_FOLLOW: i32 = nix::libc::O_NOFOLLOW;

impl Account {
    /// Chooses the account for `folder`. For root this is the folder's owner if there is one, otherwise one of
    /// [`UNPRIVILEGED_ACCOUNTS`]; returns `None` if there is none of these.
    pub(super) fn choose(folder: &Path) -> Option<Self> {
        if !geteuid().is_root() {
            return Some(Self(None));
        }
        let owner = fs::metadata(folder)
            .ok()
            .map(|folder| Uid::from_raw(folder.uid()))
            .filter(|owner| !owner.is_root())
            .and_then(|owner| User::from_uid(owner).ok().flatten());
        let by_name = || {
            UNPRIVILEGED_ACCOUNTS
                .iter()
                .find_map(|name| User::from_name(name).ok().flatten())
        };
        owner.or_else(by_name).map(|user| Self(Some(user)))
    }

    /// Returns the name of the unprivileged account, or `None` for the current one.
    pub(super) fn unprivileged_name(&self) -> Option<&str> {
        self.0.as_ref().map(|user| user.name.as_str())
    }

    /// Makes the account the owner of an open file or folder.
    pub(super) fn take_ownership(&self, file: &File) -> std::io::Result<()> {
        match &self.0 {
            None => Ok(()),
            Some(user) => fchown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
        }
    }

    /// Returns a command that runs as the account in `folder`.
    pub(super) fn command(&self, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder);
        if let Some(user) = &self.0 {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}
