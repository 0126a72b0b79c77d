//! The data folder of the embedded cluster, used by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};

use nix::unistd::geteuid;

use super::account::{Account, NO_FOLLOW};

/// Default for root: an unprivileged account cannot reach root's own data folder.
const SYSTEM_DATA_DIR: &str = "/var/lib/tenant-orders";
/// Maximum length of a Unix socket's path on macOS, the shortest of the supported systems.
const MAX_SOCKET_PATH_BYTES: usize = 103;

/// A data folder, claimed for this process until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    pub(super) account: Account,
    /// Open file that holds the lock.
    _lock: File,
}

/// Error of [`DataDir::claim`] and of operations in the folder.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The user has no home folder.
    #[error("failed to determine the default data folder; set DATA_DIR or DATABASE_URL")]
    NoDefault,
    #[error(
        "PostgreSQL refuses to run as root, and the users postgres and nobody do not exist; set DATABASE_URL"
    )]
    NoAccount,
    #[error("the path {} is too long for a Unix socket inside; set DATA_DIR to a shorter one", .0.display())]
    PathTooLong(PathBuf),
    /// The path has a character that is unsafe in a shell, to which PostgreSQL's programs pass it.
    #[error("the path {} has a character that PostgreSQL's programs do not support; set DATA_DIR to another one", .0.display())]
    UnsupportedPath(PathBuf),
    #[error("{} is in use by another tenant-orders{owner}; stop that process or set DATA_DIR to another folder", path.display())]
    InUse {
        path: PathBuf,
        /// The other process, or empty if it is not known.
        owner: String,
    },
    #[error(
        "PostgreSQL refuses to run as root, and user {account} cannot write to {}; \
         set DATA_DIR to a folder such as {SYSTEM_DATA_DIR}", path.display()
    )]
    NotWritable { path: PathBuf, account: String },
    #[error("failed to access {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl DataDirError {
    /// Returns a function that adds `path` to an error.
    pub(super) fn with_path(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

impl DataDir {
    /// Claims `path`, or the platform's data folder by default, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error, for example if another process uses the folder.
    pub fn claim(path: Option<&Path>) -> Result<Self, DataDirError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None if geteuid().is_root() => SYSTEM_DATA_DIR.into(),
            None => choose_native_strategy()
                .map_err(|_| DataDirError::NoDefault)?
                .data_dir()
                .join("tenant-orders"),
        };
        let failed = DataDirError::with_path(&path);
        let path = std::path::absolute(&path).map_err(failed)?;
        let account = Account::choose(&path).ok_or(DataDirError::NoAccount)?;
        if path
            .to_str()
            .is_none_or(|path| path.contains(['"', '$', '`', '\\', '\n', '\'']))
        {
            return Err(DataDirError::UnsupportedPath(path));
        }
        if path.join("cluster/.s.PGSQL.5432").as_os_str().len() > MAX_SOCKET_PATH_BYTES {
            return Err(DataDirError::PathTooLong(path));
        }
        if !path.exists() {
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| DirBuilder::new().mode(0o700).create(&path))
                .and_then(|()| File::open(&path))
                .and_then(|folder| account.take_ownership(&folder))
                .map_err(failed)?;
        } else if geteuid().is_root() {
            claim_empty_mount(&path, &account).map_err(failed)?;
        }
        let lock = lock(&path)?;
        check_writable(&path, &account)?;
        Ok(Self {
            path,
            account,
            _lock: lock,
        })
    }

    /// Returns the data folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder of PostgreSQL's files and its socket.
    #[must_use]
    pub fn cluster(&self) -> PathBuf {
        self.path.join("cluster")
    }

    /// Returns the path of PostgreSQL's log.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("postgres.log")
    }

    /// Returns the major version of the cluster, or `None` before it is created.
    pub(crate) fn cluster_version(&self) -> Option<u32> {
        let version = fs::read_to_string(self.cluster().join("PG_VERSION")).ok()?;
        version.trim().parse().ok()
    }
}

/// Makes `account` the owner of an empty folder of root, as a newly mounted volume is.
fn claim_empty_mount(path: &Path, account: &Account) -> io::Result<()> {
    let folder = File::open(path)?;
    let metadata = folder.metadata()?;
    let is_closed = metadata.mode() & 0o002 == 0; // others cannot write to it
    if metadata.is_dir() && metadata.uid() == 0 && is_closed && is_empty(path)? {
        account.take_ownership(&folder)?;
    }
    Ok(())
}

/// Returns whether the folder contains nothing but what a file system creates in its root.
fn is_empty(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        if entry?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(folder: &Path) -> Result<File, DataDirError> {
    let path = folder.join("lock");
    let failed = DataDirError::with_path(&path);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .custom_flags(NO_FOLLOW)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The other process may not have written its id yet.
            let _ = file.read_to_string(&mut pid);
            let owner = match pid.trim() {
                "" => String::new(),
                pid => format!(" (process {pid})"),
            };
            return Err(DataDirError::InUse {
                path: folder.to_owned(),
                owner,
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

fn check_writable(path: &Path, account: &Account) -> Result<(), DataDirError> {
    let Some(name) = account.unprivileged_name() else {
        return Ok(());
    };
    let checked = account
        .command("/bin/sh", Path::new("/"))
        .args(["-c", r#"test -w "$0" && test -x "$0""#])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    match checked {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(DataDirError::NotWritable {
            path: path.to_owned(),
            account: name.to_owned(),
        }),
        Err(error) => Err(DataDirError::with_path(path)(error)),
    }
}
