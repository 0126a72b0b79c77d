//! The error of the commands.

use std::io;
use std::path::PathBuf;

use crate::admin::AdminError;
use crate::admin::archive::ArchiveError;
use crate::admin::migrations::InvalidMigrations;
use crate::authentication::InvalidKeys;
use crate::connect::InvalidDatabaseUrl;
#[cfg(all(feature = "embedded", unix))]
use crate::embedded::{DataDirError, DownloadError, ServerError};
use crate::server::ServeError;
use crate::tenancy::{DatabaseError, SchemaName};

/// Error while opening the database of a command.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The data folder cannot be used.
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// PostgreSQL is not installed and could not be downloaded.
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The embedded server could not be started or stopped.
    #[cfg(all(feature = "embedded", unix))]
    #[error(transparent)]
    Server(#[from] ServerError),
    /// No database is configured, and this build has no embedded one.
    #[cfg(not(all(feature = "embedded", unix)))]
    #[error("DATABASE_URL is not set, and this build has no embedded PostgreSQL")]
    NotConfigured,
}

/// Errors of `tenants export` and `tenants import`.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveCommandError {
    /// The file cannot be created or opened.
    #[error("failed to open {}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The output exists and is not a regular file, so it cannot be replaced.
    #[error("{} is not a regular file; redirect standard output to it instead of passing --output", .0.display())]
    NotAFile(PathBuf),
    /// Standard output is a terminal.
    #[error("standard output is a terminal; redirect it to a file or pass --output")]
    ToTerminal,
    /// Standard input is a terminal.
    #[error("stdin is a terminal; name a file or redirect one to stdin")]
    FromTerminal,
    /// The archive was written, but it does not contain everything.
    #[error("the archive is incomplete; see the warnings above")]
    Incomplete,
    /// The export or import failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl ArchiveCommandError {
    fn is_usage(&self) -> bool {
        matches!(self, Self::NotAFile(_) | Self::ToTerminal | Self::FromTerminal)
    }
}

/// Error of a command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No database is available.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The database URL is invalid.
    #[error(transparent)]
    Url(#[from] InvalidDatabaseUrl),
    /// The address cannot be bound.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// Clients and probes cannot share a port.
    #[error("PORT and ADMIN_PORT are both {0}; set different ports")]
    PortConflict(u16),
    /// The service does not respond to a probe.
    #[error("failed to query {url}")]
    Healthcheck {
        /// Address of the probe.
        url: String,
        /// The cause.
        source: io::Error,
    },
    /// The probe reports a failure.
    #[error("{url} responded with: {status_line}")]
    Unhealthy {
        /// Address of the probe.
        url: String,
        /// First line of the response.
        status_line: String,
    },
    /// The keys for tokens are invalid.
    #[error(transparent)]
    Keys(#[from] InvalidKeys),
    /// Clients beyond this machine could read all orders.
    #[error(
        "refusing to listen on {address} beyond loopback without authentication; set JWT_SECRET, \
         JWT_PUBLIC_KEY_FILE or JWT_JWKS_URL, or ALLOW_UNAUTHENTICATED=true behind an authenticating gateway"
    )]
    Unauthenticated {
        /// The address.
        address: String,
    },
    /// A canary is not a tenant.
    #[error("--canary {0}: the tenant does not exist, or --tenant excludes it")]
    UnknownCanary(String),
    /// Pending migrations contain destructive statements.
    #[error("refusing to run destructive statements:\n  {}\npass --allow-hazards to run them", .0.join("\n  "))]
    Hazards(Vec<String>),
    /// The folder of migrations is invalid.
    #[error(transparent)]
    Migrations(#[from] InvalidMigrations),
    /// No secret is set to sign a token with.
    #[error(
        "JWT_SECRET is not set, and tokens can only be signed with it; to sign one with a private key, see \
         docs/security.md"
    )]
    NoSecret,
    /// Serving failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The database does not isolate tenants from each other.
    #[error("refusing to serve this database")]
    Unfit(#[source] DatabaseError),
    /// A signal stopped the command.
    #[error("interrupted by a signal; completed work is kept")]
    Stopped,
    /// A second signal stopped the service before the requests in flight were finished.
    #[error("interrupted by a second signal; the requests in flight were cut off")]
    Interrupted,
    /// An administrative operation failed.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// An operation on one tenant failed.
    #[error("tenant {name:?}: {source}")]
    Tenant {
        /// Name of the tenant.
        name: String,
        /// The cause.
        source: AdminError,
    },
    /// Tenants differ from the migrations.
    #[error("{drifted} of {total} tenants differ from the migrations")]
    Drift {
        /// Number of tenants that differ.
        drifted: usize,
        /// Number of checked tenants.
        total: usize,
    },
    /// Confirmation is required, and stdin is not a terminal.
    #[error("confirmation required, but stdin is not a terminal; pass --yes to proceed")]
    Unconfirmed,
    /// The operator did not confirm.
    #[error("cancelled; nothing was changed")]
    Declined,
    /// The manual pages could not be written.
    #[error("failed to write the manual pages to {}", folder.display())]
    Manual {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The output could not be written.
    #[error("failed to write to stdout")]
    Output(#[source] io::Error),
    /// Export or import failed.
    #[error(transparent)]
    Archive(#[from] ArchiveCommandError),
    /// Some tenants failed.
    #[error("{} of {total} tenants failed: {}", failed.len(), failed.join(", "))]
    TenantsFailed {
        /// Names of the failed tenants.
        failed: Vec<String>,
        /// Number of all tenants.
        total: usize,
    },
    /// The command stopped before it reached all tenants.
    #[error(
        "{left} of {total} tenants were not processed; completed work is kept{}",
        describe_failed(failed)
    )]
    TenantsLeft {
        /// Number of tenants that were not processed.
        left: usize,
        /// Number of all tenants.
        total: usize,
        /// Names of the failed tenants.
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
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            #[cfg(not(all(feature = "embedded", unix)))]
            Self::Source(SourceError::NotConfigured) => true,
            Self::Url(_)
            | Self::PortConflict(_)
            | Self::Keys(_)
            | Self::Unauthenticated { .. }
            | Self::Migrations(_)
            | Self::NoSecret => true,
            Self::Archive(error) => error.is_usage(),
            _ => false,
        }
    }
}
