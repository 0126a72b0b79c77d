//! Why a command failed.

use std::path::PathBuf;

use super::archive::ArchiveCommandError;
use super::database::SourceError;
use crate::admin::AdminError;
use crate::authentication::InvalidKeys;
use crate::seed::SeedError;
use crate::server::ServeError;
use crate::tenancy::{DatabaseError, InvalidDatabaseUrl, InvalidSchemaName, SchemaName};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no database to use.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The database's URL cannot be used.
    #[error(transparent)]
    Url(#[from] InvalidDatabaseUrl),
    /// The address to listen on is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The keys for tokens cannot be used.
    #[error(transparent)]
    Keys(#[from] InvalidKeys),
    /// Whoever reaches the service could read everything.
    #[error(
        "refusing to listen on {address}, beyond this machine, since nobody would be asked who they are: \
         set JWT_SECRET or JWT_PUBLIC_KEY_FILE, or ALLOW_UNAUTHENTICATED=true behind a gateway that asks"
    )]
    Unauthenticated {
        /// The address.
        address: String,
    },
    /// There is nothing to sign a token with.
    #[error(
        "JWT_SECRET is not set: only with a secret does the service sign tokens as well as verify them; \
         to sign one with a private key, see docs/security.md"
    )]
    NoSecret,
    /// The operating system does not let signals be caught.
    #[error("cannot catch signals")]
    Signals(#[source] std::io::Error),
    /// Serving failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Nothing can be served over such connections.
    #[error("refusing to serve")]
    Unfit(#[source] DatabaseError),
    /// A signal came before the work was done.
    #[error("stopped by a signal; what was done stays")]
    Stopped,
    /// A second signal came before the requests under way were finished.
    #[error("stopped at once by a second signal: requests under way were cut off")]
    Interrupted,
    /// AdminDatabase failed.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Not a name for a tenant.
    #[error(transparent)]
    Name(#[from] InvalidSchemaName),
    /// AdminDatabase of one tenant failed.
    #[error("tenant {name:?}: {source}")]
    Tenant {
        /// Its name.
        name: String,
        /// Why.
        source: AdminError,
    },
    /// Tenants are not what they should be.
    #[error("{drifted} of {of} tenants differ from what the migrations make")]
    Drift {
        /// How many differ.
        drifted: usize,
        /// How many were checked.
        of: usize,
    },
    /// There is nobody to ask whether to go on.
    #[error("this is asked before it is done: confirm it with --yes, since there is no terminal to ask on")]
    Unconfirmed,
    /// The user does not want it.
    #[error("nothing was done")]
    Declined,
    /// Seeding failed.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The manual pages could not be written.
    #[error("cannot write the manual pages into {}", folder.display())]
    Manual {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An archive was not written or read.
    #[error(transparent)]
    Archive(#[from] ArchiveCommandError),
    /// Some tenants failed.
    #[error("{} of {of} tenants failed: {}", failed.len(), failed.join(", "))]
    TenantsFailed {
        /// Their names.
        failed: Vec<String>,
        /// Of how many.
        of: usize,
    },
    /// Some tenants' turn did not come.
    #[error("{left} of {of} tenants are left; what was done stays{}", also_failed(failed))]
    TenantsLeft {
        /// How many are left.
        left: usize,
        /// Of how many.
        of: usize,
        /// Those that failed before.
        failed: Vec<String>,
        /// Why they are left, where it was not a signal.
        #[source]
        cause: Option<AdminError>,
    },
}

fn also_failed(tenants: &[String]) -> String {
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

    /// Whether the command was not as it should be, rather than what it set out to do.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Url(_) | Self::Keys(_) | Self::Unauthenticated { .. } | Self::NoSecret => true,
            Self::Archive(error) => error.is_usage(),
            _ => false,
        }
    }
}
