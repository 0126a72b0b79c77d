//! `tenants export` and `tenants import`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite};

use super::CommandError;
use super::database::{read_migrations, with_admin_database, with_readonly_admin_database};
use super::output::{self, TransferProgress};
use crate::admin::AdminDatabase;
use crate::admin::archive::{self, ArchiveError, ImportOptions};
use crate::config::{DatabaseSettings, MigrationSettings, RoleSettings};
use crate::server::StopSignals;

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// Name of the tenant
    #[arg(value_name = "NAME")]
    tenant: String,
    /// Write to this file instead of standard output; it is replaced only by a complete archive
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    migrations: MigrationSettings,
}

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// Archive written by `tenants export`, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the new tenant [default: the name of the exported tenant]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Skip the users of the archive; the users of its orders must exist
    #[arg(long)]
    without_users: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    migrations: MigrationSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

/// Runs `tenants export`.
pub(super) async fn export(arguments: ExportArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let migrations = read_migrations(&arguments.migrations)?;
    let file = arguments.output.map(PendingFile::create).transpose()?;
    let to = match &file {
        Some(file) => file.writer()?,
        None => output::standard_output().ok_or(CommandError::ToTerminal)?,
    };
    let progress = TransferProgress::new("exported", None);
    let to = progress.wrap_writer(to);
    let work = async |database: &AdminDatabase| {
        let tenant = database.schema_name(&arguments.tenant).await?;
        let exported = archive::export(&database.with_migrations(migrations), &tenant, to).await;
        exported.map_err(|error| match error {
            ArchiveError::Admin(source) => CommandError::for_tenant(&tenant, source),
            error => error.into(),
        })
    };
    let exporting = with_readonly_admin_database(&arguments.database, signals, work);
    let contents = progress.show_during(Box::pin(exporting)).await?;
    if let Some(file) = file {
        file.persist()?;
    }
    output::print_contents("exported", &contents);
    if contents.left_out.is_empty() {
        Ok(())
    } else {
        Err(CommandError::Incomplete)
    }
}

/// A temporary file that replaces `path` once it is complete. It is deleted on drop.
struct PendingFile {
    path: PathBuf,
    /// Readable by its owner only: an archive holds all columns of `public.users`.
    temporary: NamedTempFile,
}

impl PendingFile {
    /// Creates the temporary file in the folder of `path`.
    fn create(path: PathBuf) -> Result<Self, CommandError> {
        // If `path` is a symbolic link, its target is replaced.
        let path = path.canonicalize().unwrap_or(path);
        if path.exists() && !path.is_file() {
            return Err(CommandError::NotAFile(path));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let created = NamedTempFile::with_prefix_in(".tenant-orders-", folder.unwrap_or(Path::new(".")));
        match created {
            Ok(temporary) => Ok(Self { path, temporary }),
            Err(source) => Err(CommandError::ArchiveFile { path, source }),
        }
    }

    /// Opens the temporary file for writing.
    fn writer(&self) -> Result<Box<dyn AsyncWrite + Unpin + Send>, CommandError> {
        let file = self.temporary.as_file().try_clone();
        let file = file.map_err(|source| self.error(source))?;
        Ok(Box::new(File::from_std(file)))
    }

    /// Renames the file to its path after its content, which was flushed, is on disk.
    fn persist(self) -> Result<(), CommandError> {
        let synced = self.temporary.as_file().sync_all();
        synced.map_err(|source| self.error(source))?;
        let path = self.path;
        match self.temporary.persist(&path) {
            Ok(_) => Ok(()),
            Err(tempfile::PersistError { error: source, .. }) => {
                Err(CommandError::ArchiveFile { path, source })
            }
        }
    }

    fn error(&self, source: io::Error) -> CommandError {
        let path = self.path.clone();
        CommandError::ArchiveFile { path, source }
    }
}

/// Runs `tenants import`.
pub(super) async fn import(arguments: ImportArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let migrations = read_migrations(&arguments.migrations)?;
    let (from, length) = open(&arguments.file).await?;
    let progress = TransferProgress::new("imported", length);
    let from = progress.wrap_reader(from);
    let options = ImportOptions {
        name: arguments.name,
        without_users: arguments.without_users,
    };
    let work = async |database: &AdminDatabase| {
        let database = database.with_migrations(migrations).with_roles(&arguments.roles);
        Ok(archive::import(&database, from, &options).await?)
    };
    let importing = with_admin_database(&arguments.database, signals, work);
    let contents = progress.show_during(Box::pin(importing)).await?;
    output::print_contents("imported", &contents);
    Ok(())
}

/// Opens a file, or standard input for `-`. Returns its length if it is known.
async fn open(path: &Path) -> Result<(Box<dyn AsyncRead + Unpin + Send>, Option<u64>), CommandError> {
    if path.as_os_str() == "-" {
        if io::stdin().is_terminal() {
            return Err(CommandError::FromTerminal);
        }
        return Ok((Box::new(tokio::io::stdin()), None));
    }
    let failed = |source| CommandError::ArchiveFile {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).await.map_err(failed)?;
    let length = file.metadata().await.map_err(failed)?.len();
    Ok((Box::new(file), Some(length)))
}
