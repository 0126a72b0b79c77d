//! Whether tenants have database roles of their own.

use clap::{Args, ValueEnum};

/// Whether each tenant is read under a database role of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Roles")]
pub struct RoleSettings {
    /// Whether each tenant has a role of its own, named like its schema, which can read that tenant alone.
    /// The service takes it on for each request
    #[arg(
        long,
        env = "TENANT_ROLES",
        value_name = "WHETHER",
        value_enum,
        default_value_t
    )]
    pub tenant_roles: TenantRoles,

    /// The role that the service logs in as, which must be NOINHERIT. Whatever makes tenants' roles grants
    /// them to it; without it nothing is granted, and only a superuser can take them on
    #[arg(long, env = "SERVICE_ROLE", value_name = "NAME")]
    service_role: Option<String>,
}

impl RoleSettings {
    /// Tenants have roles, which are granted to `service_role`, where one is named.
    #[must_use]
    pub fn on(service_role: Option<&str>) -> Self {
        Self {
            tenant_roles: TenantRoles::On,
            service_role: service_role.map(str::to_owned),
        }
    }

    /// Whether tenants have roles.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.tenant_roles == TenantRoles::On
    }

    /// The role that the service logs in as, where it is named. An empty variable counts as none.
    #[must_use]
    pub fn service_role(&self) -> Option<&str> {
        self.service_role.as_deref().filter(|role| !role.is_empty())
    }
}

/// Whether tenants have roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum TenantRoles {
    /// All tenants are read as the role that the service logs in as
    #[default]
    Off,
    /// Each tenant is read as its own role
    On,
}
