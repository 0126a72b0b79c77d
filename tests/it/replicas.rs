//! The service on a hot standby: replication, recovery conflicts, and promotion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::{Executor, PgConnection};
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use crate::support::{Answer, Cluster, Service, ServiceProcess, client, finished, wait_until};

const DATABASE: &str = "postgres";
/// A timeout that no test reaches unless it fails.
const LONG_TIMEOUT: Duration = Duration::from_mins(1);

/// Makes reads of `client1.orders` wait while another session holds advisory lock 7, the gate.
const GATE: &str = "
    CREATE FUNCTION client1.pass() RETURNS boolean LANGUAGE sql VOLATILE
        AS 'SELECT pg_catalog.pg_advisory_xact_lock_shared(7); SELECT true';
    ALTER TABLE client1.orders RENAME TO kept_orders;
    CREATE VIEW client1.orders AS SELECT * FROM client1.kept_orders WHERE client1.pass()";

async fn demo() -> Cluster {
    let primary = Cluster::start().await;
    primary.seed_demo(DATABASE).await;
    primary
}

fn url(cluster: &Cluster) -> String {
    cluster.url(DATABASE, "postgres")
}

fn service_with_long_timeouts(cluster: &Cluster) -> Service {
    let settings = PoolSettings {
        statement_timeout: LONG_TIMEOUT,
        acquire_timeout: LONG_TIMEOUT,
        ..PoolSettings::default()
    };
    let database = UserDirectory::open(&DatabaseUrl::from(url(cluster)), &settings).unwrap();
    Service::with(database, LONG_TIMEOUT, 1024)
}

/// Waits until a backend other than `previous` waits at the gate, and returns its pid.
async fn waits_at_the_gate(standby: &mut PgConnection, previous: i32) -> i32 {
    let statement = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory' AND pid <> $1";
    let mut pid = None;
    wait_until("a backend waits at the gate", async || {
        let waiting = sqlx::query_scalar(statement).bind(previous);
        pid = waiting.fetch_optional(&mut *standby).await.unwrap();
        pid.is_some()
    })
    .await;
    pid.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_serves_replicated_changes() {
    let primary = demo().await;
    let standby = primary.standby();
    let mut service = ServiceProcess::over(&url(&standby));
    let address = service.url();
    service.line_with("the database is ready");
    let get = async |path: &str| client::get(format!("{address}{path}")).await.unwrap();
    assert_eq!(get("/readyz").await.text(), "ready\n");
    assert_eq!(get("/users/1/orders").await.ok()["total_due"], "60000.00");
    assert_eq!(get("/users/2/orders?limit=1").await.ok()["total_due"], "10500.00");

    let mut connection = primary.connect(DATABASE).await;
    connection
        .execute("UPDATE client1.items SET price = price + 1")
        .await
        .unwrap();
    wait_until("the change is replicated", async || {
        get("/users/1/orders").await.ok()["total_due"] == "60015.00"
    })
    .await;
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

/// The standby cancels statements on a table that a replayed transaction locks.
#[tokio::test(flavor = "multi_thread")]
async fn recovery_conflict_is_retried_once_then_gets_503() {
    let primary = demo().await;
    let mut writer = primary.connect(DATABASE).await;
    writer.execute(GATE).await.unwrap();
    let standby = primary.standby();
    let (mut gate, mut watcher) = (standby.connect(DATABASE).await, standby.connect(DATABASE).await);
    let service = service_with_long_timeouts(&standby);
    assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");

    for conflicts in [1, 2] {
        gate.execute("SELECT pg_advisory_lock(7)").await.unwrap();
        let requested = service.clone();
        let request = tokio::spawn(async move { requested.get("/users/1/orders").await });
        let mut pid = waits_at_the_gate(&mut watcher, 0).await;
        for conflict in 1..=conflicts {
            writer.execute("BEGIN; LOCK client1.items; COMMIT").await.unwrap();
            if conflict == 1 {
                pid = waits_at_the_gate(&mut watcher, pid).await;
            }
        }
        if conflicts == 1 {
            gate.execute("SELECT pg_advisory_unlock(7)").await.unwrap();
            assert_eq!(request.await.unwrap().ok()["total_due"], "60000.00");
        } else {
            request.await.unwrap().problem(503, "database-unavailable");
            gate.execute("SELECT pg_advisory_unlock(7)").await.unwrap();
        }
    }
    for _ in 0..10 {
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
        assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
    }
}

/// Sends requests until `stop` is set, and returns the number of 200 responses. Each response is correct or
/// `database-unavailable`. Once a response contains the new total, no later response contains the old one.
async fn send_requests(service: Service, stop: Arc<AtomicBool>) -> usize {
    let mut successes = 0;
    let mut is_new = false;
    while !stop.load(Ordering::Relaxed) {
        let answer: Answer = service.get("/users/1/orders").await;
        match answer.status.as_u16() {
            200 => {
                let total = answer.ok()["total_due"].as_str().unwrap().to_owned();
                is_new |= total == "60015.00";
                assert_eq!(total, if is_new { "60015.00" } else { "60000.00" });
                successes += 1;
            }
            _ => _ = answer.problem(503, "database-unavailable"),
        }
    }
    successes
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_serves_after_primary_stop_and_promotion() {
    let primary = demo().await;
    let standby = primary.standby();
    let service = service_with_long_timeouts(&standby);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| tokio::spawn(send_requests(service.clone(), Arc::clone(&stop))))
        .collect();
    let total_becomes = async |total: &str| {
        wait_until(&format!("the total is {total}"), async || {
            let answer = service.get("/users/1/orders").await;
            answer.status == 200 && answer.json()["total_due"] == total
        })
        .await;
    };
    total_becomes("60000.00").await;
    primary.stop();
    total_becomes("60000.00").await;
    let mut connection = standby.connect(DATABASE).await;
    connection.execute("SELECT pg_promote()").await.unwrap();
    total_becomes("60000.00").await;
    connection
        .execute("UPDATE client1.items SET price = price + 1")
        .await
        .unwrap();
    total_becomes("60015.00").await;

    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    assert_eq!(service.get("/readyz").await.status, 200);
    standby.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_runs_reading_commands_and_refuses_writing_ones() {
    let primary = demo().await;
    let mut owner = primary.connect(DATABASE).await;
    let serializable = "ALTER DATABASE postgres SET default_transaction_isolation = serializable";
    owner.execute(serializable).await.unwrap(); // a standby refuses such transactions
    let standby = primary.standby();
    let service = service_with_long_timeouts(&standby);
    assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    let run = |arguments: &[&str]| {
        finished(
            ServiceProcess::command()
                .args(arguments)
                .env("DATABASE_URL", url(&standby)),
        )
    };
    let (status, listed, errors) = run(&["tenants", "list", "--json"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["name"], "client1");
    assert_eq!(listed[0]["state"], "current");
    let (status, planned, errors) = run(&["migrate", "--dry-run"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "{planned}");
    let archive = tempfile::NamedTempFile::new().unwrap();
    let archive = archive.path().to_str().unwrap();
    let (status, _, errors) = run(&["tenants", "export", "client1", "--output", archive]);
    assert_eq!(status, Some(0), "{errors}");

    for arguments in [
        &["migrate"][..],
        &["tenants", "create", "client3"],
        &["tenants", "check"],
        &["tenants", "drop", "client1", "--yes", "--force"],
        &["tenants", "import", archive, "--as", "client3", "--without-users"],
        &["seed", "demo"],
        &["seed", "bulk", "--tenants", "1"],
    ] {
        let (status, output, errors) = run(arguments);
        assert_eq!(
            (status, output.as_str()),
            (Some(1), ""),
            "{arguments:?}: {errors}"
        );
        assert!(
            errors.contains("the server is read-only: it is a standby"),
            "{arguments:?}: {errors}"
        );
    }
}
