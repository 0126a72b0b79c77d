//! The separate port for probes and metrics. It has its own limits, so that overload does not make the service look
//! dead.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::connections::Connections;
use super::lifecycle::{Lifecycle, Phase};
use crate::authentication::Authenticator;
use crate::config::{CorsSettings, ServeSettings};
use crate::http;
use crate::telemetry::Metrics;
use crate::users::UserDirectory;

/// Maximum number of clients of the port.
pub(super) const MAX_ADMIN_CLIENTS: usize = 64;

/// A separate port for probes and metrics.
pub struct AdminPort {
    /// The port.
    pub listener: TcpListener,
    /// The database that `/readyz` checks, with connections of its own.
    pub users: UserDirectory,
}

impl AdminPort {
    /// Serves the port until the returned set is dropped.
    pub(super) fn serve(
        self,
        settings: &ServeSettings,
        metrics: &Metrics,
        authenticator: Option<Authenticator>,
        phase: watch::Receiver<Phase>,
    ) -> JoinSet<()> {
        let lifecycle = Lifecycle {
            phase,
            drain_timeout: settings.shutdown_timeout,
            connections: TaskTracker::new(),
            activity: Arc::default(),
        };
        let router = http::admin_router(self.users, metrics.clone(), &settings.request, authenticator);
        let mut connections = Connections::new(
            lifecycle,
            router,
            http::overloaded_router(&CorsSettings::default(), true),
            MAX_ADMIN_CLIENTS,
            settings.client_idle_timeout,
            metrics.clone(),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { connections.accept_all(&self.listener).await });
        tasks
    }
}
