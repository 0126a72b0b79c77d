//! Settings of tenant roles: a database role for each tenant.

use clap::{Args, ValueEnum};

/// Settings of tenant roles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Roles")]
pub struct RoleSettings {
    /// Read each tenant as the role named like its schema, which can read only this tenant
    #[arg(long, env, value_name = "MODE", value_enum, default_value_t)]
    pub tenant_roles: TenantRoles,

    /// Login role of the service, to which new tenant roles are granted; it must be NOINHERIT. If not
    /// set, nothing is granted, and only a superuser can use the tenant roles
    #[arg(long, env, value_name = "NAME")]
    service_role: Option<String>,
}

impl RoleSettings {
    /// Enables tenant roles, which are granted to `service_role` if it is given.
    #[must_use]
    pub fn with_tenant_roles(service_role: Option<&str>) -> Self {
        Self {
            tenant_roles: TenantRoles::On,
            service_role: service_role.map(str::to_owned),
        }
    }

    /// Returns whether tenants have roles.
    pub(crate) fn is_enabled(&self) -> bool {
        self.tenant_roles == TenantRoles::On
    }

    /// Returns the login role of the service, if it is set. An empty value counts as not set.
    pub(crate) fn service_role(&self) -> Option<&str> {
        self.service_role.as_deref().filter(|role| !role.is_empty())
    }
}

/// Role that reads a tenant's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum TenantRoles {
    /// All tenants are read as the login role of the service
    #[default]
    Off,
    /// Each tenant is read as its own role
    On,
}
