//! The soak test: tenants with hostile names, more clients than connections, and many kinds of faults at once.
//! It fails on a row of another tenant, a wrong response, a response outside the error table, or a connection
//! with the state of an earlier request.
//!
//! `SOAK_DURATION` (such as `5m`) sets the duration. `SOAK_SEED` repeats the random choices of an earlier run.

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
use load::Phase;
use report::Report;

const DATABASE: &str = "postgres";
const CONNECTIONS: usize = 4;
/// One backend for the isolation check, and two for each slot: a connection is replaced once when the affinity
/// is enabled.
const MAX_BACKENDS_WITHOUT_FAULTS: usize = 2 * CONNECTIONS + 1;

struct Plan {
    duration: Duration,
    seed: u64,
}

impl Plan {
    #[expect(clippy::disallowed_methods, reason = "not settings of the service")]
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
async fn faults_leak_no_rows_on_direct_connections() {
    let cluster = Arc::new(Cluster::start().await);
    let url = cluster.url(DATABASE, "postgres");
    Box::pin(soak(cluster, &url, Lookup::Plain)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_leak_no_rows_through_pgbouncer() {
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

    let stop = Arc::new(AtomicBool::new(false));
    let requests = run_clients(&address, &report, &plan, Phase::WithoutFaults, &stop);
    let ((), backends) = tokio::join!(requests, count_backends(&cluster, &stop));
    report.check_backends(backends, MAX_BACKENDS_WITHOUT_FAULTS);
    let stop = Arc::new(AtomicBool::new(false));
    let requests = run_clients(&address, &report, &plan, Phase::WithFaults, &stop);
    tokio::join!(requests, faults::inject(&cluster, &report, &plan, &stop));
    load::wait_until_ready(&address).await;
    load::check_every_user(&address, &report).await;
    check_open_transactions(&cluster, &report).await;

    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
    report.read_log(&cluster.log());
    report.print();
    report.assert_clean(&service.read_to_end());
}

/// Runs the clients of a phase to its end, then sets `stop`.
async fn run_clients(address: &str, report: &Arc<Report>, plan: &Plan, phase: Phase, stop: &Arc<AtomicBool>) {
    let mut clients = JoinSet::new();
    for number in 0..phase.clients() {
        let (address, report, stop) = (address.to_owned(), Arc::clone(report), Arc::clone(stop));
        let seed = plan.seed.wrapping_add(number as u64);
        clients.spawn(async move { load::client(&address, &report, phase, seed, &stop).await });
    }
    let quarters = match phase {
        Phase::WithoutFaults => 1,
        Phase::WithFaults => 3,
    };
    for _ in 0..5 * quarters {
        tokio::time::sleep(plan.duration / 20).await;
        report.print_progress();
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

/// Returns the number of different backends of the service until `stop` is set.
async fn count_backends(cluster: &Cluster, stop: &AtomicBool) -> usize {
    let mut connection = cluster.connect(DATABASE).await;
    let mut seen = HashSet::new();
    while !stop.load(Ordering::Relaxed) {
        let backends = "SELECT pid, backend_start::text FROM pg_stat_activity
                        WHERE application_name = 'tenant-orders'";
        for row in connection.fetch_all(backends).await.unwrap() {
            seen.insert((row.get::<i32, _>(0), row.get::<String, _>(1)));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    seen.len()
}

/// Waits until all backends of the service are idle. A transaction that stays open is a finding.
async fn check_open_transactions(cluster: &Cluster, report: &Report) {
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
    report.add_leftover_state("a transaction stays open");
}
