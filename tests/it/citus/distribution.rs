//! `tenants distribute`: tenants that existed before the Citus cluster.

use super::{CitusDatabase, Load};
use crate::support::{ServiceProcess, TestDatabase, finished};

/// Tenants that this program did not create.
const EXISTING: &str = include_str!("../support/existing.sql");

#[tokio::test]
async fn distribute_places_existing_tenants() {
    let Some(citus) = CitusDatabase::empty().await else {
        return;
    };
    citus.execute(EXISTING).await;
    let service = citus.service();
    let before = service.get("/users/1/orders").await.ok();
    citus.run_ok(&["tenants", "distribute", "client1"]);
    assert_eq!(
        (citus.node("client2"), citus.node("client1").is_some()),
        (None, true)
    );
    // This is the state after an interrupted run.
    assert_eq!(service.get("/users/1/orders").await.ok(), before);
    assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
    let output = citus.run_ok(&["tenants", "distribute"]);
    let node = citus.node("client2").unwrap();
    assert_eq!(
        output,
        format!("Placed client2 on {node}\n1 tenant already distributed\n")
    );
    assert_eq!(
        citus.run_ok(&["tenants", "distribute"]),
        "2 tenants already distributed\n"
    );
    assert_eq!(service.get("/users/1/orders").await.ok(), before);
    assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
    citus.run_ok(&["migrate", "--adopt"]);
    assert_eq!(service.get("/users/1/orders").await.ok(), before);
    citus.run_ok(&["tenants", "check", "--ignore-extra"]);
    citus.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_never_causes_wrong_responses() {
    let Some(citus) = CitusDatabase::empty().await else {
        return;
    };
    citus.execute(EXISTING).await;
    citus
        .execute(
            "INSERT INTO client1.orders (id, creation_timestamp, quantity, user_id, item_id)
             SELECT 'many ' || n, timestamp '2024-01-01' + n * interval '1 minute', n % 7, '1', '1'
             FROM generate_series(1, 5000) AS n",
        )
        .await;
    // Only the coordinator can read tenants that are not distributed.
    citus.run_ok(&["migrate", "--adopt"]);
    let load = Load::at_coordinator(&citus, &["/users/1/orders?limit=3", "/users/2/orders"]);
    citus.run_ok(&["tenants", "distribute"]);
    assert!(load.stop().await > 0);
    citus.drop().await;
}

#[tokio::test]
async fn distribute_reports_tenants_that_citus_rejects() {
    let Some(citus) = CitusDatabase::empty().await else {
        return;
    };
    citus.execute(EXISTING).await;
    citus
        .execute(
            "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER nothing BEFORE INSERT ON client1.items FOR EACH ROW EXECUTE FUNCTION public.nothing();
             CREATE SCHEMA client3; CREATE TABLE client3.items (id varchar PRIMARY KEY);
             CREATE TABLE client3.orders (id varchar REFERENCES client1.items);
             INSERT INTO public.users VALUES ('3', NULL, '', '', '', 'client3')",
        )
        .await;
    let (status, output, errors) = citus.run(&["tenants", "distribute"]);
    assert_eq!(status, Some(1), "{output}{errors}");
    for message in [
        "client1: error: Citus rejected the operation",
        "client3: error: Citus rejected the operation",
        "foreign keys from distributed schemas can only point to",
        "error: 2 of 3 tenants failed: client1, client3",
    ] {
        assert!(errors.contains(message), "{errors}");
    }
    assert!(citus.node("client2").is_some());
    let service = citus.service();
    for (user, total_due) in [("1", "60000.00"), ("2", "10500.00")] {
        let response = service.get(&format!("/users/{user}/orders")).await.ok();
        assert_eq!(response["total_due"], total_due);
    }
    citus.drop().await;
}

#[tokio::test]
async fn distribute_and_move_require_citus() {
    let database = TestDatabase::demo().await;
    for arguments in [
        ["tenants", "distribute"].as_slice(),
        &["tenants", "move", "client1", "elsewhere", "--yes"],
    ] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .args(arguments)
                .env("DATABASE_URL", database.url()),
        );
        assert_eq!(status, Some(1), "{errors}");
        assert!(errors.contains("not part of a Citus cluster"), "{errors}");
    }
}
