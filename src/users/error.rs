//! Errors of reading a user's tenant.

use crate::tenancy::{DatabaseError, InvalidSchemaName};

/// The reason why a user's tenant could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No user has this id.
    #[error("the user does not exist")]
    NotFound,
    /// The caller may read only one organization, which the user does not belong to.
    #[error("the user does not belong to the caller's organization")]
    OutsideOrganization,
    /// The user belongs to several organizations, and the caller does not say which one to read.
    #[error("the user belongs to several organizations, and the request names none")]
    SeveralOrganizations,
    /// Reading `public.users` failed.
    #[error("failed to look up the user")]
    Lookup(#[source] DatabaseError),
    /// The user's `organization_id` is not the name of a tenant.
    #[error("the user's organization_id is not the name of a tenant")]
    InvalidTenantName(#[from] InvalidSchemaName),
    /// The user's `organization_id` is not valid in UTF-8.
    #[error("failed to read the user's organization_id")]
    InvalidOrganization(#[source] DatabaseError),
    /// Reading the tenant's tables failed.
    #[error("failed to read tenant {tenant:?}")]
    Tenant {
        /// The tenant's name, for the log.
        tenant: String,
        /// The error.
        source: DatabaseError,
    },
    /// Each lookup found another tenant.
    #[error("the user's tenant kept changing during the request")]
    TenantChanged,
}
