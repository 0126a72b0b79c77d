//! Faults of the soak test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use sqlx::{Connection, Executor, PgConnection};

use super::report::Report;
use super::{DATABASE, Plan};
use crate::support::Cluster;
use crate::support::fleet::{self, Tenant};

/// Maximum pause between two faults of a kind.
const MAX_PAUSE_MS: u64 = 150;
/// Maximum duration of a lock, longer than the statement timeout.
const MAX_LOCK_MS: u64 = 900;
/// Minimum time between two restarts of the server.
const MIN_RESTART_INTERVAL: Duration = Duration::from_secs(2);

/// Injects all kinds of faults concurrently until `stop` is set.
pub(super) async fn inject(cluster: &Arc<Cluster>, report: &Report, plan: &Plan, stop: &AtomicBool) {
    let faults = Faults { cluster, report };
    let rng = |number| Rng::with_seed(plan.seed.wrapping_mul(31).wrapping_add(number));
    tokio::join!(
        faults.terminate_backends(rng(1), stop),
        faults.lock_tables(rng(2), stop),
        faults.lock_tables(rng(3), stop),
        faults.rewrite_tables(rng(4), stop),
        faults.move_users(rng(5), stop),
        faults.restart_server(MIN_RESTART_INTERVAL.max(plan.duration / 20), stop),
    );
}

struct Faults<'r> {
    cluster: &'r Arc<Cluster>,
    report: &'r Report,
}

impl Faults<'_> {
    async fn terminate_backends(&self, mut rng: Rng, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let (function, counter) = if rng.bool() {
                ("pg_terminate_backend", &self.report.terminated)
            } else {
                ("pg_cancel_backend", &self.report.cancelled)
            };
            let statement = format!(
                "SELECT {function}(pid) FROM pg_stat_activity
                 WHERE application_name = 'tenant-orders' ORDER BY random() LIMIT 1"
            );
            if let Some(mut connection) = self.connect().await
                && let Ok(rows) = connection.fetch_all(sqlx::AssertSqlSafe(statement)).await
            {
                counter.add(rows.len() as u64);
            }
            pause(&mut rng, MAX_PAUSE_MS).await;
        }
    }

    async fn lock_tables(&self, mut rng: Rng, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let table = match rng.u8(..10) {
                0 => "canary.users".to_owned(),
                1..6 => format!("{}.items", random_tenant(&mut rng).quoted()),
                _ => format!("{}.orders", random_tenant(&mut rng).quoted()),
            };
            if let Some(mut connection) = self.connect().await
                && connection
                    .execute(sqlx::AssertSqlSafe(format!("BEGIN; LOCK {table}")))
                    .await
                    .is_ok()
            {
                self.report.locked.add(1);
                pause(&mut rng, MAX_LOCK_MS).await;
                let _ = connection.close().await;
            }
            pause(&mut rng, MAX_PAUSE_MS).await;
        }
    }

    /// Rewrites tables, as a migration that changes the type of a column.
    async fn rewrite_tables(&self, mut rng: Rng, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let kind = if rng.bool() { "numeric" } else { "double precision" };
            let statement = format!(
                "ALTER TABLE {}.items ALTER price TYPE {kind} USING price::text::{kind}",
                random_tenant(&mut rng).quoted()
            );
            if let Some(mut connection) = self.connect().await
                && connection.execute(sqlx::AssertSqlSafe(statement)).await.is_ok()
            {
                self.report.rewritten.add(1);
            }
            pause(&mut rng, MAX_PAUSE_MS).await;
        }
    }

    async fn move_users(&self, mut rng: Rng, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let statement = fleet::move_user(random_tenant(&mut rng));
            if let Some(mut connection) = self.connect().await
                && connection.execute(sqlx::AssertSqlSafe(statement)).await.is_ok()
            {
                self.report.moved.add(1);
            }
            pause(&mut rng, MAX_PAUSE_MS).await;
        }
    }

    async fn restart_server(&self, interval: Duration, stop: &AtomicBool) {
        for end in [Cluster::kill, Cluster::stop].into_iter().cycle() {
            tokio::time::sleep(interval / 2).await;
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let cluster = Arc::clone(self.cluster);
            tokio::task::spawn_blocking(move || {
                end(&cluster);
                cluster.start_again();
            })
            .await
            .unwrap();
            self.report.restarted.add(1);
            tokio::time::sleep(interval / 2).await;
        }
    }

    /// Returns `None` if the server is down. The lock timeout is short, because a transaction that the service left
    /// open would hold its locks forever.
    async fn connect(&self) -> Option<PgConnection> {
        let url = self.cluster.url(DATABASE, "postgres");
        let mut connection = PgConnection::connect(&url).await.ok()?;
        connection.execute("SET lock_timeout = '1s'").await.ok()?;
        Some(connection)
    }
}

fn random_tenant(rng: &mut Rng) -> Tenant {
    let mut tenants = fleet::tenants();
    tenants.nth(rng.usize(..tenants.len())).unwrap()
}

async fn pause(rng: &mut Rng, max_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rng.u64(..max_ms))).await;
}
