//! What goes wrong during a soak.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use sqlx::{Connection, Executor, PgConnection};

use super::report::Report;
use super::{DATABASE, Plan};
use crate::support::Cluster;
use crate::support::fleet::{self, Tenant};

/// Between two faults of a kind, at most, in milliseconds.
const PAUSE: u64 = 150;
/// Longer than a statement may take, in milliseconds.
const LONGEST_LOCK: u64 = 900;
/// Between two ends of the server, at least.
const LIFE_OF_THE_SERVER: Duration = Duration::from_secs(2);

/// Everything at once, until told to stop.
pub(super) async fn storm(cluster: &Arc<Cluster>, report: &Report, plan: &Plan, over: &AtomicBool) {
    let faults = Faults { cluster, report };
    let rng = |number| Rng::with_seed(plan.seed.wrapping_mul(31).wrapping_add(number));
    tokio::join!(
        faults.end_backends(rng(1), over),
        faults.lock_tables(rng(2), over),
        faults.lock_tables(rng(3), over),
        faults.rewrite_tables(rng(4), over),
        faults.move_a_user(rng(5), over),
        faults.end_the_server(LIFE_OF_THE_SERVER.max(plan.duration / 20), over),
    );
}

struct Faults<'r> {
    cluster: &'r Arc<Cluster>,
    report: &'r Report,
}

impl Faults<'_> {
    async fn end_backends(&self, mut rng: Rng, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
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
            pause(&mut rng, PAUSE).await;
        }
    }

    async fn lock_tables(&self, mut rng: Rng, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
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
                pause(&mut rng, LONGEST_LOCK).await;
                let _ = connection.close().await;
            }
            pause(&mut rng, PAUSE).await;
        }
    }

    /// As a migration does that changes a column's type.
    async fn rewrite_tables(&self, mut rng: Rng, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
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
            pause(&mut rng, PAUSE).await;
        }
    }

    async fn move_a_user(&self, mut rng: Rng, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let statement = fleet::move_user(random_tenant(&mut rng));
            if let Some(mut connection) = self.connect().await
                && connection.execute(sqlx::AssertSqlSafe(statement)).await.is_ok()
            {
                self.report.moved.add(1);
            }
            pause(&mut rng, PAUSE).await;
        }
    }

    async fn end_the_server(&self, life: Duration, over: &AtomicBool) {
        for end in [Cluster::kill, Cluster::stop].into_iter().cycle() {
            tokio::time::sleep(life / 2).await;
            if over.load(Ordering::Relaxed) {
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
            tokio::time::sleep(life / 2).await;
        }
    }

    /// None while the server is away. It does not wait for locks for long: a service that forgot to end
    /// its transactions would hold them for ever.
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

async fn pause(rng: &mut Rng, longest: u64) {
    tokio::time::sleep(Duration::from_millis(rng.u64(..longest))).await;
}
