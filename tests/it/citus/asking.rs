//! Clients that ask without a pause while something is done to what they ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::{CitusDatabase, service_over};

/// As many as that ask at once.
const CLIENTS: usize = 4;

/// Clients at work.
pub(super) struct Asking {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Asking {
    /// Asks each of the nodes for `paths`, whose answers are not to change: each is as the first was, or says that it is to be
    /// asked again.
    pub(super) fn at_all_nodes(citus: &CitusDatabase, paths: &'static [&'static str]) -> Self {
        Self::at(&citus.urls(), paths)
    }

    /// The same, at the coordinator alone.
    pub(super) fn at_coordinator(citus: &CitusDatabase, paths: &'static [&'static str]) -> Self {
        Self::at(&[citus.url()], paths)
    }

    fn at(urls: &[String], paths: &'static [&'static str]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = urls.iter().cycle().take(CLIENTS).map(|url| {
            let (service, is_over) = (service_over(url.clone()), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut expected = Vec::new();
                for path in paths {
                    expected.push(service.get(path).await.ok());
                }
                let mut right = 0;
                while !is_over.load(Ordering::Relaxed) {
                    for (path, expected) in paths.iter().zip(&expected) {
                        let answer = service.get(path).await;
                        match answer.status.as_u16() {
                            503 => drop(answer.problem(503, "database-unavailable")),
                            504 => drop(answer.problem(504, "timeout")),
                            _ => {
                                assert_eq!(answer.ok(), *expected);
                                right += 1;
                            }
                        }
                    }
                }
                right
            })
        });
        Self {
            clients: clients.collect(),
            is_over,
        }
    }

    /// Lets them come to an end, and tells how many answers were right.
    pub(super) async fn end(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let mut right = 0;
        for client in self.clients {
            right += client.await.unwrap();
        }
        right
    }
}
