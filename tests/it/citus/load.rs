//! Continuous load on a cluster while tenants are distributed or moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::{CitusDatabase, service_over};

/// Number of concurrent clients.
const CLIENTS: usize = 4;

/// Clients that send requests until [`Load::stop`].
pub(super) struct Load {
    is_stopped: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Load {
    /// Requests `paths` at all nodes. Each response must equal the first one for its path, or be a 503 or 504.
    pub(super) fn at_all_nodes(citus: &CitusDatabase, paths: &'static [&'static str]) -> Self {
        Self::at(&citus.urls(), paths)
    }

    /// Requests `paths` at the coordinator.
    pub(super) fn at_coordinator(citus: &CitusDatabase, paths: &'static [&'static str]) -> Self {
        Self::at(&[citus.url()], paths)
    }

    fn at(urls: &[String], paths: &'static [&'static str]) -> Self {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let clients = urls.iter().cycle().take(CLIENTS).map(|url| {
            let (service, is_stopped) = (service_over(url.clone()), Arc::clone(&is_stopped));
            tokio::spawn(async move {
                let mut expected = Vec::new();
                for path in paths {
                    expected.push(service.get(path).await.ok());
                }
                let mut successes = 0;
                while !is_stopped.load(Ordering::Relaxed) {
                    for (path, expected) in paths.iter().zip(&expected) {
                        let response = service.get(path).await;
                        match response.status.as_u16() {
                            503 => drop(response.problem(503, "database-unavailable")),
                            504 => drop(response.problem(504, "timeout")),
                            _ => {
                                assert_eq!(response.ok(), *expected);
                                successes += 1;
                            }
                        }
                    }
                }
                successes
            })
        });
        Self {
            clients: clients.collect(),
            is_stopped,
        }
    }

    /// Stops the clients, and returns the number of successful responses.
    pub(super) async fn stop(self) -> usize {
        self.is_stopped.store(true, Ordering::Relaxed);
        let mut successes = 0;
        for client in self.clients {
            successes += client.await.unwrap();
        }
        successes
    }
}
