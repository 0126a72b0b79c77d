//! `tenants export` and `tenants import`: files, and what is told about them.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite};

use super::output::{self, Transfer};
use super::{CommandError, inspect, with_admin_database};
use crate::admin::AdminDatabase;
use crate::admin::archive::{self, ArchiveError, Contents, ImportOptions};
use crate::config::{DatabaseSettings, RoleSettings};
use crate::server::StopSignals;
use crate::tenancy::SchemaName;

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// The tenant
    #[arg(value_name = "NAME")]
    tenant: String,
    /// Write to this file, which is there when it is whole, and not to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    database: DatabaseSettings,
}

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// What `tenants export` wrote; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name of the new tenant, if not that of the exported one
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Leave the users out; those that the tenant's orders belong to must exist
    #[arg(long)]
    without_users: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

/// Why an archive was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveCommandError {
    /// The file cannot be made or opened.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is written to would be replaced by a file.
    #[error("{} is no file: write to it by > instead of --output", .0.display())]
    NoFile(PathBuf),
    /// Nobody reads an archive on a terminal.
    #[error("an archive is not for a terminal: write it to a file by > or --output")]
    ToTerminal,
    /// Nobody types an archive.
    #[error("an archive does not come from a terminal: name a file, or read one by <")]
    FromTerminal,
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl ArchiveCommandError {
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, Self::NoFile(_) | Self::ToTerminal | Self::FromTerminal)
    }
}

/// Exports to the file, or to standard output.
pub(super) async fn export(arguments: ExportArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let ExportArguments {
        tenant,
        output,
        database,
    } = arguments;
    let tenant = SchemaName::parse(&tenant)?;
    let contents = if let Some(path) = output {
        let file = NewFile::beside(path)?;
        let mut content = file.content()?;
        let contents = export_to(&database, signals, &tenant, &mut content).await?;
        file.keep(content).await?;
        contents
    } else {
        let stdout = output::standard_output().ok_or(ArchiveCommandError::ToTerminal)?;
        export_to(&database, signals, &tenant, stdout).await?
    };
    output::transferred("exported", &contents);
    Ok(())
}

async fn export_to(
    database: &DatabaseSettings,
    signals: &StopSignals,
    tenant: &SchemaName,
    to: impl AsyncWrite + Unpin + Send,
) -> Result<Contents, CommandError> {
    let progress = Transfer::new("exported", None);
    let to = progress.to(to);
    let work = async |database: &AdminDatabase| {
        let exported = archive::export(database, tenant, to).await;
        exported.map_err(|error| match error {
            ArchiveError::Admin(source) => CommandError::for_tenant(tenant, source),
            error => ArchiveCommandError::from(error).into(),
        })
    };
    progress.during(Box::pin(inspect(database, signals, work))).await
}

/// A file that has its name when it is whole. Dropped before, it leaves nothing.
struct NewFile {
    path: PathBuf,
    /// For our eyes only: an archive holds what `public.users` does.
    temporary: NamedTempFile,
}

impl NewFile {
    /// Makes it in the folder where it is to be, which only a file may be replaced in.
    fn beside(path: PathBuf) -> Result<Self, ArchiveCommandError> {
        // Where it is a link, what it leads to is replaced.
        let path = path.canonicalize().unwrap_or(path);
        if path.exists() && !path.is_file() {
            return Err(ArchiveCommandError::NoFile(path));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let made = NamedTempFile::with_prefix_in(".tenant-orders-", folder.unwrap_or(Path::new(".")));
        match made {
            Ok(temporary) => Ok(Self { path, temporary }),
            Err(source) => Err(ArchiveCommandError::File { path, source }),
        }
    }

    fn content(&self) -> Result<File, ArchiveCommandError> {
        let content = self.temporary.as_file().try_clone();
        content.map(File::from_std).map_err(|source| self.failed(source))
    }

    /// Gives it its name, once `content` is on the disk.
    async fn keep(self, content: File) -> Result<(), ArchiveCommandError> {
        content.sync_all().await.map_err(|source| self.failed(source))?;
        let path = self.path;
        match self.temporary.persist(&path) {
            Ok(_) => Ok(()),
            Err(tempfile::PersistError { error: source, .. }) => {
                Err(ArchiveCommandError::File { path, source })
            }
        }
    }

    fn failed(&self, source: io::Error) -> ArchiveCommandError {
        let path = self.path.clone();
        ArchiveCommandError::File { path, source }
    }
}

/// Imports from the file, or from standard input.
pub(super) async fn import(arguments: ImportArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let ImportArguments {
        file: path,
        name,
        without_users,
        database,
        roles,
    } = arguments;
    let name = name.as_deref().map(SchemaName::parse).transpose()?;
    let options = ImportOptions { name, without_users };
    let contents = if path.as_os_str() == "-" {
        if io::stdin().is_terminal() {
            return Err(ArchiveCommandError::FromTerminal.into());
        }
        import_from(&database, &roles, signals, tokio::io::stdin(), None, &options).await?
    } else {
        let failed = |source| ArchiveCommandError::File {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).await.map_err(failed)?;
        let length = file.metadata().await.map_err(failed)?.len();
        import_from(&database, &roles, signals, file, Some(length), &options).await?
    };
    output::transferred("imported", &contents);
    Ok(())
}

async fn import_from(
    database: &DatabaseSettings,
    roles: &RoleSettings,
    signals: &StopSignals,
    from: impl AsyncRead + Unpin + Send,
    length: Option<u64>,
    options: &ImportOptions,
) -> Result<Contents, CommandError> {
    let progress = Transfer::new("imported", length);
    let from = progress.from(from);
    let work = async |database: &AdminDatabase| {
        let imported = archive::import(&database.with_roles(roles), from, options).await;
        imported.map_err(|error| ArchiveCommandError::from(error).into())
    };
    progress
        .during(Box::pin(with_admin_database(database, signals, work)))
        .await
}
