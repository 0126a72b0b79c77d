//! `tenants export` and `tenants import`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite};

use super::CommandError;
use super::database::{read_migrations, with_admin_database, with_readonly_admin_database};
use super::error::ArchiveCommandError;
use super::output::{self, TransferProgress};
use crate::admin::AdminDatabase;
use crate::admin::archive::{self, ArchiveContents, ArchiveError, ImportOptions};
use crate::admin::migrations::MigrationSource;
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
pub(super) async fn export(
    mut arguments: ExportArguments,
    signals: &StopSignals,
) -> Result<(), CommandError> {
    let migrations = read_migrations(&arguments.migrations)?;
    let contents = if let Some(path) = arguments.output.take() {
        let file = PendingFile::create(path)?;
        let mut content = file.content()?;
        let contents = export_to(&arguments, migrations, signals, &mut content).await?;
        file.persist(content).await?;
        contents
    } else {
        let stdout = output::standard_output().ok_or(ArchiveCommandError::ToTerminal)?;
        export_to(&arguments, migrations, signals, stdout).await?
    };
    output::print_contents("exported", &contents);
    if contents.left_out.is_empty() {
        Ok(())
    } else {
        Err(ArchiveCommandError::Incomplete.into())
    }
}

async fn export_to(
    arguments: &ExportArguments,
    migrations: MigrationSource,
    signals: &StopSignals,
    to: impl AsyncWrite + Unpin + Send,
) -> Result<ArchiveContents, CommandError> {
    let progress = TransferProgress::new("exported", None);
    let to = progress.wrap_writer(to);
    let work = async |database: &AdminDatabase| {
        let tenant = database.schema_name(&arguments.tenant).await?;
        let exported = archive::export(&database.with_migrations(migrations), &tenant, to).await;
        exported.map_err(|error| match error {
            ArchiveError::Admin(source) => CommandError::for_tenant(&tenant, source),
            error => ArchiveCommandError::from(error).into(),
        })
    };
    let exporting = with_readonly_admin_database(&arguments.database, signals, work);
    progress.show_during(Box::pin(exporting)).await
}

/// A temporary file that replaces `path` once it is complete. It is deleted on drop.
struct PendingFile {
    path: PathBuf,
    /// Readable by its owner only: an archive holds all columns of `public.users`.
    temporary: NamedTempFile,
}

impl PendingFile {
    /// Creates the temporary file in the folder of `path`.
    fn create(path: PathBuf) -> Result<Self, ArchiveCommandError> {
        // If `path` is a symbolic link, its target is replaced.
        let path = path.canonicalize().unwrap_or(path);
        if path.exists() && !path.is_file() {
            return Err(ArchiveCommandError::NotAFile(path));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let created = NamedTempFile::with_prefix_in(".tenant-orders-", folder.unwrap_or(Path::new(".")));
        match created {
            Ok(temporary) => Ok(Self { path, temporary }),
            Err(source) => Err(ArchiveCommandError::File { path, source }),
        }
    }

    /// Opens the temporary file for writing.
    fn content(&self) -> Result<File, ArchiveCommandError> {
        let content = self.temporary.as_file().try_clone();
        content.map(File::from_std).map_err(|source| self.error(source))
    }

    /// Renames the file to `path` after its content is on disk.
    async fn persist(self, content: File) -> Result<(), ArchiveCommandError> {
        content.sync_all().await.map_err(|source| self.error(source))?;
        let path = self.path;
        match self.temporary.persist(&path) {
            Ok(_) => Ok(()),
            Err(tempfile::PersistError { error: source, .. }) => {
                Err(ArchiveCommandError::File { path, source })
            }
        }
    }

    fn error(&self, source: io::Error) -> ArchiveCommandError {
        let path = self.path.clone();
        ArchiveCommandError::File { path, source }
    }
}

/// Runs `tenants import`.
pub(super) async fn import(arguments: ImportArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let migrations = read_migrations(&arguments.migrations)?;
    let contents = if arguments.file.as_os_str() == "-" {
        if io::stdin().is_terminal() {
            return Err(ArchiveCommandError::FromTerminal.into());
        }
        import_from(&arguments, migrations, signals, tokio::io::stdin(), None).await?
    } else {
        let failed = |source| ArchiveCommandError::File {
            path: arguments.file.clone(),
            source,
        };
        let file = File::open(&arguments.file).await.map_err(failed)?;
        let length = file.metadata().await.map_err(failed)?.len();
        import_from(&arguments, migrations, signals, file, Some(length)).await?
    };
    output::print_contents("imported", &contents);
    Ok(())
}

async fn import_from(
    arguments: &ImportArguments,
    migrations: MigrationSource,
    signals: &StopSignals,
    from: impl AsyncRead + Unpin + Send,
    length: Option<u64>,
) -> Result<ArchiveContents, CommandError> {
    let progress = TransferProgress::new("imported", length);
    let from = progress.wrap_reader(from);
    let options = ImportOptions {
        name: arguments.name.clone(),
        without_users: arguments.without_users,
    };
    let work = async |database: &AdminDatabase| {
        let database = database.with_migrations(migrations).with_roles(&arguments.roles);
        let imported = archive::import(&database, from, &options).await;
        imported.map_err(|error| ArchiveCommandError::from(error).into())
    };
    let importing = with_admin_database(&arguments.database, signals, work);
    progress.show_during(Box::pin(importing)).await
}
