//! Errors of Citus.

/// Errors of Citus, or of its absence.
#[derive(Debug, thiserror::Error)]
pub enum CitusError {
    #[error("Citus {0} cannot distribute schemas; upgrade to version 12 or newer")]
    TooOld(String),
    #[error("the database is not part of a Citus cluster")]
    NotInstalled,
    #[error("the database is a worker of the Citus cluster; set DATABASE_URL to its coordinator")]
    NotCoordinator,
    #[error("public.users is not a reference table of the Citus cluster; run migrate first")]
    UsersNotShared,
    #[error("the tenant is not distributed to a node; run tenants distribute first")]
    NotDistributed,
    #[error("no node that can hold tenants is named {requested:?}; available: {}", nodes.join(", "))]
    NoSuchNode { requested: String, nodes: Vec<String> },
    #[error("the tenant is already on this node")]
    SameNode,
    #[error("Citus rejected the operation{}", detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default())]
    Rejected {
        /// DETAIL of Citus's error message.
        detail: Option<String>,
        source: sqlx::Error,
    },
}
