//! Addresses to listen on.

use clap::Args;

/// Addresses to listen on.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub struct ListenSettings {
    /// Address or host name to listen on
    #[arg(long, env = "HOST", value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,

    /// Port to listen on; 0 picks a free port
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// Separate port for /metrics, /livez and /readyz, which then leave the public port [default: none]
    #[arg(long, env = "ADMIN_PORT", value_name = "PORT")]
    pub admin_port: Option<u16>,

    /// Address or host name of the separate port [default: the same as HOST]
    #[arg(long, env = "ADMIN_HOST", value_name = "ADDRESS", requires = "admin_port")]
    admin_host: Option<String>,
}

impl ListenSettings {
    /// Returns the host and the port for probes and metrics, if they have a port of their own.
    #[must_use]
    pub fn admin_address(&self) -> Option<(&str, u16)> {
        let port = self.admin_port?;
        Some((self.admin_host.as_deref().unwrap_or(&self.host), port))
    }

    /// Returns `true` if both ports are the same and on the same host.
    #[must_use]
    pub fn has_port_conflict(&self) -> bool {
        self.port != 0 && self.admin_address() == Some((&self.host, self.port))
    }

    /// Returns the host and the port at which a client on this machine reaches the probes.
    #[must_use]
    pub fn probe_address(&self) -> (&str, u16) {
        let (host, port) = self.admin_address().unwrap_or((&self.host, self.port));
        match host {
            "0.0.0.0" | "::" => ("127.0.0.1", port),
            host => (host, port),
        }
    }
}
