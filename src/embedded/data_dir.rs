//! The folder where the embedded cluster lives, claimed by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};

use nix::unistd::geteuid;

use super::account::{Account, NOT_THROUGH_A_LINK};

/// What root uses, whose own data folder nobody else can reach.
const SYSTEM_DATA_DIR: &str = "/var/lib/tenant-orders";
/// The shortest limit of a unix socket's path among the systems we run on, macOS's.
const MAX_SOCKET_PATH: usize = 103;

/// A data folder that is ours while this value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    pub(super) account: Account,
    /// Held for its lock.
    _claim: File,
}

/// The data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// No home folder, and none named.
    #[error("there is no data folder to use: set DATA_DIR, or DATABASE_URL")]
    NoDefault,
    /// Root, and nobody else on the system.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody: set DATABASE_URL"
    )]
    NoAccount,
    /// Its socket's path would be longer than the system takes.
    #[error("the path {} is too long for a unix socket inside: set DATA_DIR to a shorter one", .0.display())]
    PathTooLong(PathBuf),
    /// PostgreSQL's own programs hand the path to a shell.
    #[error("the path {} has a character that PostgreSQL's programs do not take: set DATA_DIR to another", .0.display())]
    PathNotTaken(PathBuf),
    /// Another process has claimed it.
    #[error("{} is in use by another tenant-orders{owner}: stop that one, or set DATA_DIR to another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Its process, where known.
        owner: String,
    },
    /// The unprivileged user cannot write there.
    #[error(
        "PostgreSQL refuses to run as root, so it runs as {account}, who cannot write to {}: \
         set DATA_DIR to a folder such as {SYSTEM_DATA_DIR}", path.display()
    )]
    OutOfReach {
        /// The folder.
        path: PathBuf,
        /// Who cannot.
        account: String,
    },
    /// Anything else.
    #[error("cannot use {}", path.display())]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DataDir {
    /// Claims `path`, or the platform's data folder, and creates it where it is missing.
    ///
    /// # Errors
    ///
    /// [`DataDirError`], above all where another process has claimed it.
    pub fn claim(path: Option<&Path>) -> Result<Self, DataDirError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None if geteuid().is_root() => SYSTEM_DATA_DIR.into(),
            None => choose_native_strategy()
                .map_err(|_| DataDirError::NoDefault)?
                .data_dir()
                .join("tenant-orders"),
        };
        let failed = |source| DataDirError::Io {
            path: path.clone(),
            source,
        };
        let path = std::path::absolute(&path).map_err(failed)?;
        let account = Account::choose(&path).ok_or(DataDirError::NoAccount)?;
        if path
            .to_str()
            .is_none_or(|path| path.contains(['"', '$', '`', '\\', '\n', '\'']))
        {
            return Err(DataDirError::PathNotTaken(path));
        }
        if path.join("cluster/.s.PGSQL.5432").as_os_str().len() > MAX_SOCKET_PATH {
            return Err(DataDirError::PathTooLong(path));
        }
        if !path.exists() {
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| DirBuilder::new().mode(0o700).create(&path))
                .and_then(|()| File::open(&path))
                .and_then(|folder| account.own(&folder))
                .map_err(failed)?;
        }
        let claim = lock(&path)?;
        check_reach(&path, &account)?;
        Ok(Self {
            path,
            account,
            _claim: claim,
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where PostgreSQL keeps its files, and its socket.
    #[must_use]
    pub fn cluster(&self) -> PathBuf {
        self.path.join("cluster")
    }

    /// What PostgreSQL tells.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("postgres.log")
    }

    /// The major version that made the cluster, where there is one.
    #[must_use]
    pub fn cluster_version(&self) -> Option<u32> {
        let version = fs::read_to_string(self.cluster().join("PG_VERSION")).ok()?;
        version.trim().parse().ok()
    }

    pub(super) fn failed(&self, source: io::Error) -> DataDirError {
        DataDirError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

fn lock(folder: &Path) -> Result<File, DataDirError> {
    let path = folder.join("lock");
    let failed = |source| DataDirError::Io {
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .custom_flags(NOT_THROUGH_A_LINK)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            return Err(DataDirError::InUse {
                path: folder.to_owned(),
                owner: if known {
                    format!(" (process {})", pid.trim())
                } else {
                    String::new()
                },
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .and_then(|_| writeln!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(file)
}

fn check_reach(path: &Path, account: &Account) -> Result<(), DataDirError> {
    let Some(name) = account.other_name() else {
        return Ok(());
    };
    let reached = account
        .command("/bin/sh", Path::new("/"))
        .args(["-c", r#"test -w "$0" && test -x "$0""#])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    match reached {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(DataDirError::OutOfReach {
            path: path.to_owned(),
            account: name.to_owned(),
        }),
        Err(source) => Err(DataDirError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}
