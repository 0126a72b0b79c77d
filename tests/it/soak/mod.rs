//! The canary soak: tenants with hostile names, more clients than connections, and everything that can
//! go wrong at once. It fails on a single row of another tenant's, a wrong answer, one outside the error
//! table, or a connection that carries anything from one request to the next.
//!
//! `SOAK_DURATION` (such as `5m`) and `SOAK_SEED` make it longer, and its choices the same again.

mod faults;
mod load;
mod report;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::{Connection, Executor, Row};
use tokio::task::JoinSet;

use crate::support::fleet::{self, Lookup};
use crate::support::{Cluster, PgBouncer, ServiceProcess};
use load::Weather;
use report::Report;

const DATABASE: &str = "postgres";
const CONNECTIONS: usize = 4;
/// One for the isolation check, and two for each slot: a connection is renewed once when there are many tenants.
const BACKENDS_IN_CALM: usize = 2 * CONNECTIONS + 1;

struct Plan {
    duration: Duration,
    seed: u64,
}

impl Plan {
    #[expect(clippy::disallowed_methods, reason = "no settings of the service's")]
    fn from_environment() -> Self {
        let duration = std::env::var("SOAK_DURATION").map_or(Duration::from_secs(6), |text| {
            humantime::parse_duration(&text).expect("SOAK_DURATION is a duration such as 5m")
        });
        let seed = std::env::var("SOAK_SEED").map_or_else(
            |_| fastrand::u64(..),
            |text| text.parse().expect("SOAK_SEED is a number"),
        );
        Self { duration, seed }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn straight_to_postgresql() {
    let cluster = Arc::new(Cluster::start().await);
    let url = cluster.url(DATABASE, "postgres");
    Box::pin(soak(cluster, &url, Lookup::Plain)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_pgbouncer() {
    let cluster = Arc::new(Cluster::start().await);
    let Some(pooler) = PgBouncer::before(&cluster, "transaction", "") else {
        return;
    };
    Box::pin(soak(cluster, &pooler.url(DATABASE), Lookup::InTransaction)).await;
}

async fn soak(cluster: Arc<Cluster>, url: &str, lookup: Lookup) {
    let plan = Plan::from_environment();
    let report = Arc::new(Report::new(lookup, plan.seed));
    let mut connection = cluster.connect(DATABASE).await;
    connection
        .execute(sqlx::AssertSqlSafe(fleet::statements(lookup)))
        .await
        .unwrap();
    connection.close().await.unwrap();
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", url)
            .env("DATABASE_POOLER", lookup.pooler())
            .env("DATABASE_MAX_CONNECTIONS", CONNECTIONS.to_string())
            .env("DATABASE_STATEMENT_CACHE", "50") // fewer than there are tenants
            .env("TENANT_CACHE_SIZE", "100") // fewer than there are users
            .env("STATEMENT_TIMEOUT", "500ms")
            .env("REQUEST_TIMEOUT", "5s")
            .env(
                "RUST_LOG",
                "error,tenant_orders::cli=info,tenant_orders::server=info",
            ),
    );
    let address = service.url();
    service.line_with("the database is ready");

    let over = Arc::new(AtomicBool::new(false));
    let calm = clients(&address, &report, &plan, Weather::Calm, &over);
    let ((), backends) = tokio::join!(calm, backends_seen(&cluster, &over));
    report.backends_in_calm(backends, BACKENDS_IN_CALM);
    let over = Arc::new(AtomicBool::new(false));
    let storm = clients(&address, &report, &plan, Weather::Storm, &over);
    tokio::join!(storm, faults::storm(&cluster, &report, &plan, &over));
    load::recovered(&address).await;
    load::every_user_once(&address, &report).await;
    nothing_is_open(&cluster, &report).await;

    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    report.read_log(&cluster.log());
    report.tell();
    report.assert_clean(&service.read_to_end());
}

/// Lets clients ask for as long as the weather lasts, and sets `over` then.
async fn clients(address: &str, report: &Arc<Report>, plan: &Plan, weather: Weather, over: &Arc<AtomicBool>) {
    let mut clients = JoinSet::new();
    for number in 0..weather.clients() {
        let (address, report, over) = (address.to_owned(), Arc::clone(report), Arc::clone(over));
        let seed = plan.seed.wrapping_add(number as u64);
        clients.spawn(async move { load::client(&address, &report, weather, seed, &over).await });
    }
    let quarters = match weather {
        Weather::Calm => 1,
        Weather::Storm => 3,
    };
    for _ in 0..5 * quarters {
        tokio::time::sleep(plan.duration / 20).await;
        report.progress();
    }
    over.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

/// Counts the backends that the service has had, by looking again and again.
async fn backends_seen(cluster: &Cluster, over: &AtomicBool) -> usize {
    let mut connection = cluster.connect(DATABASE).await;
    let mut seen = HashSet::new();
    while !over.load(Ordering::Relaxed) {
        let backends = "SELECT pid, backend_start::text FROM pg_stat_activity
                        WHERE application_name = 'tenant-orders'";
        for row in connection.fetch_all(backends).await.unwrap() {
            seen.insert((row.get::<i32, _>(0), row.get::<String, _>(1)));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    seen.len()
}

/// Waits until all the service's transactions are over. What is open then was forgotten.
async fn nothing_is_open(cluster: &Cluster, report: &Report) {
    let mut connection = cluster.connect(DATABASE).await;
    for _ in 0..500 {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tenant-orders' AND state <> 'idle'",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        if open == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    report.poisoned("a transaction stays open");
}
