//! Errors of the commands.

use std::io;
use std::path::PathBuf;

use crate::admin::AdminError;
use crate::admin::archive::ArchiveError;
use crate::admin::migrations::InvalidMigrations;
use crate::authentication::InvalidKeys;
use crate::connect::InvalidDatabaseUrl;
#[cfg(all(feature = "embedded", unix))]
use crate::embedded::{DataDirError, DownloadError, ServerError};
use crate::error_chain;
use crate::server::ServeError;
use crate::tenancy::{DatabaseError, SchemaName};

/// A failure that ends the process.
#[derive(Debug)]
pub struct Failure {
    /// Description of the error and its causes, for the operator.
    pub message: String,
    /// Exit status of the process.
    pub exit_status: u8,
}

impl Failure {
    /// Returns the failure of an invalid command line or setting.
    #[must_use]
    pub fn from_usage(message: String) -> Self {
        let exit_status = 2;
        Self { message, exit_status }
    }

    /// Returns any other failure.
    #[must_use]
    pub fn from_message(message: String) -> Self {
        let exit_status = 1;
        Self { message, exit_status }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self {
            message: error_chain::render(&error),
            exit_status: if error.is_usage() { 2 } else { 1 },
        }
    }
}

/// Error of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    EmbeddedServer(#[from] ServerError),
    #[cfg(not(all(feature = "embedded", unix)))]
    #[error("DATABASE_URL is not set, and this build has no embedded PostgreSQL")]
    NotConfigured,
    #[error(transparent)]
    Url(#[from] InvalidDatabaseUrl),
    #[error("failed to listen on {address}")]
    Listen { address: String, source: io::Error },
    #[error("PORT and ADMIN_PORT are both {0}; set different ports")]
    PortConflict(u16),
    #[error("failed to query {url}")]
    Healthcheck { url: String, source: io::Error },
    /// The probe reports a failure.
    #[error("{url} responded with: {status_line}")]
    Unhealthy { url: String, status_line: String },
    #[error(transparent)]
    Keys(#[from] InvalidKeys),
    /// Clients beyond this machine could read all orders.
    #[error(
        "refusing to listen on {address} beyond loopback without authentication; set JWT_SECRET, \
         JWT_PUBLIC_KEY_FILE or JWT_JWKS_URL, or ALLOW_UNAUTHENTICATED=true behind an authenticating gateway"
    )]
    Unauthenticated { address: String },
    #[error("--canary {0}: the tenant does not exist, or --tenant excludes it")]
    UnknownCanary(String),
    /// Descriptions of the pending destructive statements.
    #[error("refusing to run destructive statements:\n  {}\npass --allow-hazards to run them", .0.join("\n  "))]
    Hazards(Vec<String>),
    #[error(transparent)]
    Migrations(#[from] InvalidMigrations),
    #[error(
        "JWT_SECRET is not set, and tokens can only be signed with it; to sign one with a private key, see \
         docs/security.md"
    )]
    NoSecret,
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The database does not isolate tenants from each other.
    #[error("refusing to serve this database")]
    Unfit(#[source] DatabaseError),
    #[error("interrupted by a signal; completed work is kept")]
    Stopped,
    #[error("interrupted by a second signal; the requests in flight were cut off")]
    Interrupted,
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("tenant {name:?}: {source}")]
    Tenant { name: String, source: AdminError },
    #[error("{drifted} of {total} tenants differ from the migrations")]
    Drift { drifted: usize, total: usize },
    #[error("confirmation required, but stdin is not a terminal; pass --yes to proceed")]
    Unconfirmed,
    #[error("cancelled; nothing was changed")]
    Declined,
    #[error("failed to write the manual pages to {}", folder.display())]
    Manual { folder: PathBuf, source: io::Error },
    #[error("failed to write to stdout")]
    Output(#[source] io::Error),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("failed to open {}", path.display())]
    ArchiveFile { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file; redirect standard output to it instead of passing --output", .0.display())]
    NotAFile(PathBuf),
    #[error("standard output is a terminal; redirect it to a file or pass --output")]
    ToTerminal,
    #[error("stdin is a terminal; name a file or redirect one to stdin")]
    FromTerminal,
    #[error("the archive is incomplete; see the warnings above")]
    Incomplete,
    #[error("{} of {total} tenants failed: {}", failed.len(), failed.join(", "))]
    TenantsFailed { failed: Vec<String>, total: usize },
    #[error(
        "{left} of {total} tenants were not processed; completed work is kept{}",
        describe_failed(failed)
    )]
    TenantsLeft {
        left: usize,
        total: usize,
        failed: Vec<String>,
        /// The cause, or `None` after a signal.
        #[source]
        cause: Option<AdminError>,
    },
}

fn describe_failed(tenants: &[String]) -> String {
    if tenants.is_empty() {
        return String::new();
    }
    format!("; {} failed: {}", tenants.len(), tenants.join(", "))
}

impl CommandError {
    /// Returns the failure of administration with the name of its tenant.
    pub(super) fn for_tenant(tenant: &SchemaName, source: AdminError) -> Self {
        Self::Tenant {
            name: tenant.as_str().to_owned(),
            source,
        }
    }

    /// Returns `true` if the command or its settings are invalid.
    fn is_usage(&self) -> bool {
        match self {
            #[cfg(not(all(feature = "embedded", unix)))]
            Self::NotConfigured => true,
            Self::Url(_)
            | Self::PortConflict(_)
            | Self::Keys(_)
            | Self::Unauthenticated { .. }
            | Self::Migrations(_)
            | Self::NoSecret
            | Self::NotAFile(_)
            | Self::ToTerminal
            | Self::FromTerminal => true,
            _ => false,
        }
    }
}
