//! Errors of Citus.

/// Errors of Citus, or of its absence.
#[derive(Debug, thiserror::Error)]
pub enum CitusError {
    /// This version of Citus cannot distribute schemas.
    #[error("Citus {0} cannot distribute schemas; upgrade to version 12 or newer")]
    TooOld(String),
    /// The database is plain PostgreSQL.
    #[error("the database is not part of a Citus cluster")]
    NotInstalled,
    /// Only the coordinator can change schemas.
    #[error("the database is a worker of the Citus cluster; set DATABASE_URL to its coordinator")]
    NotCoordinator,
    /// Tenants' tables cannot reference the users from their nodes.
    #[error("public.users is not a reference table of the Citus cluster; run migrate first")]
    UsersNotShared,
    /// The tenant's schema is not distributed.
    #[error("the tenant is not distributed to a node; run tenants distribute first")]
    NotDistributed,
    /// No node of that name can hold tenants.
    #[error("no node that can hold tenants is named {requested:?}; available: {}", nodes.join(", "))]
    NoSuchNode {
        /// The name that was given.
        requested: String,
        /// Names of the nodes that can hold tenants.
        nodes: Vec<String>,
    },
    /// The tenant is already on the target node.
    #[error("the tenant is already on this node")]
    SameNode,
    /// Citus rejected the statement.
    #[error("Citus rejected the operation{}", detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default())]
    Rejected {
        /// DETAIL of Citus's error message.
        detail: Option<String>,
        /// The error message.
        source: sqlx::Error,
    },
}
