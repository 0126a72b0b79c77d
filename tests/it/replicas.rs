//! The service over a hot standby: served as it is, in the way of what it replays, and when it takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::{Executor, PgConnection};
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use crate::support::{Answer, Cluster, Service, ServiceProcess, client, finished};

const DATABASE: &str = "postgres";
/// For what must come in the end; reached only where it does not.
const NEVER: Duration = Duration::from_mins(1);

/// The demo's orders of `client1`, read at a gate that others can close.
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

/// The service over `cluster`, with more time than anything here takes.
fn patient_service(cluster: &Cluster) -> Service {
    let settings = PoolSettings {
        statement_timeout: NEVER,
        acquire_timeout: NEVER,
        ..PoolSettings::default()
    };
    let database = UserDirectory::open(&DatabaseUrl::from(url(cluster)), &settings).unwrap();
    Service::with(database, NEVER, 1024)
}

/// Waits until somebody waits at the gate, other than the process `before`: whose process it is.
async fn waits_at_the_gate(standby: &mut PgConnection, before: i32) -> i32 {
    let statement = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory' AND pid <> $1";
    let seen = async {
        loop {
            let waiting = sqlx::query_scalar(statement).bind(before);
            if let Some(process) = waiting.fetch_optional(&mut *standby).await.unwrap() {
                return process;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(NEVER, seen)
        .await
        .expect("nobody comes to the gate")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_served_as_it_is_and_followed() {
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
    let followed = async {
        while get("/users/1/orders").await.ok()["total_due"] != "60015.00" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(NEVER, followed)
        .await
        .expect("it does not follow");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

/// The standby cancels whatever holds a table that it is to lock for a transaction of the primary's.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_the_way_of_recovery_is_done_anew_once_and_then_told_to_come_again() {
    let primary = demo().await;
    let mut writer = primary.connect(DATABASE).await;
    writer.execute(GATE).await.unwrap();
    let standby = primary.standby();
    let (mut gate, mut watcher) = (standby.connect(DATABASE).await, standby.connect(DATABASE).await);
    let service = patient_service(&standby);
    assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");

    for conflicts in [1, 2] {
        gate.execute("SELECT pg_advisory_lock(7)").await.unwrap();
        let asking = service.clone();
        let request = tokio::spawn(async move { asking.get("/users/1/orders").await });
        let mut process = waits_at_the_gate(&mut watcher, 0).await;
        for conflict in 1..=conflicts {
            writer.execute("BEGIN; LOCK client1.items; COMMIT").await.unwrap();
            if conflict == 1 {
                process = waits_at_the_gate(&mut watcher, process).await;
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

/// Asks until `over`: an answer is right, or says that the database is not there. Whoever has seen what
/// was written sees nothing older. How often it was right.
async fn ask_on(service: Service, over: Arc<AtomicBool>) -> usize {
    let mut right = 0;
    let mut is_new = false;
    while !over.load(Ordering::Relaxed) {
        let answer: Answer = service.get("/users/1/orders").await;
        match answer.status.as_u16() {
            200 => {
                let total = answer.ok()["total_due"].as_str().unwrap().to_owned();
                is_new |= total == "60015.00";
                assert_eq!(total, if is_new { "60015.00" } else { "60000.00" });
                right += 1;
            }
            _ => _ = answer.problem(503, "database-unavailable"),
        }
    }
    right
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_served_on_when_its_primary_stops_and_when_it_is_promoted() {
    let primary = demo().await;
    let standby = primary.standby();
    let service = patient_service(&standby);
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| tokio::spawn(ask_on(service.clone(), Arc::clone(&over))))
        .collect();
    let is_answered = async |total: &str| {
        let answered = async {
            loop {
                let answer = service.get("/users/1/orders").await;
                if answer.status == 200 && answer.json()["total_due"] == total {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(NEVER, answered)
            .await
            .expect("it does not recover");
    };
    is_answered("60000.00").await;
    primary.stop();
    is_answered("60000.00").await;
    let mut connection = standby.connect(DATABASE).await;
    connection.execute("SELECT pg_promote()").await.unwrap();
    is_answered("60000.00").await;
    connection
        .execute("UPDATE client1.items SET price = price + 1")
        .await
        .unwrap();
    is_answered("60015.00").await;

    over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    assert_eq!(service.get("/readyz").await.status, 200);
    standby.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_read_work_with_a_standby_and_those_that_write_say_what_is_wrong() {
    let primary = demo().await;
    let standby = primary.standby();
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
