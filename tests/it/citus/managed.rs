//! Commands that manage tenants, on a Citus cluster.

use serde_json::{Value, json};

use super::CitusDatabase;
use crate::migrations::without_durations;
use crate::support::{ServiceProcess, finished};

#[tokio::test]
async fn created_tenants_are_distributed() {
    let Some(citus) = CitusDatabase::empty().await else {
        return;
    };
    for name in ["one", "Two \"of\" them"] {
        citus.run_ok(&["tenants", "create", name]);
    }
    let listed: Value = serde_json::from_str(&citus.run_ok(&["tenants", "list", "--json"])).unwrap();
    let nodes: Vec<_> = [0, 1].map(|tenant| listed[tenant]["node"].clone()).into();
    assert_ne!(nodes[0], nodes[1]);
    for node in &nodes {
        assert!(citus.workers.iter().any(|worker| worker.name == *node), "{node}");
    }
    for tenant in [0, 1] {
        assert_eq!(listed[tenant]["state"], "current");
        assert!(listed[tenant]["size_bytes"].as_u64() > Some(0), "{listed}");
    }
    let table = citus.run_ok(&["tenants", "list"]);
    let heading: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["NAME", "USERS", "VERSION", "STATE", "SIZE", "NODE"]);
    assert_eq!(citus.run_ok(&["migrate"]), "2 tenants up to date\n");
    citus.drop().await;
}

#[tokio::test]
async fn check_ignores_shards_and_finds_drift() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    let check = |url: &str| {
        let (status, output, errors) = finished(
            ServiceProcess::command()
                .args(["tenants", "check", "--json"])
                .env("DATABASE_URL", url),
        );
        let checked: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{output}{errors}"));
        (status, checked)
    };
    for url in citus.urls() {
        let none = json!([
            { "tenant": "client1", "version": 3, "differences": [] },
            { "tenant": "client2", "version": 3, "differences": [] },
        ]);
        assert_eq!(check(&url), (Some(0), none));
    }
    citus.execute("DROP INDEX client1.orders_user_id_idx").await;
    let (status, checked) = check(&citus.url());
    assert_eq!(status, Some(1));
    let fix = checked[0]["differences"][0]["fix"].as_str().unwrap();
    citus.execute(fix).await;
    assert_eq!(check(&citus.url()).0, Some(0));
    citus.drop().await;
}

#[tokio::test]
async fn migrate_updates_distributed_tenants() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    citus
        .execute("DELETE FROM client1._tenant_orders_migrations WHERE version >= 2")
        .await;
    citus.execute("DROP INDEX client1.orders_user_id_idx").await;
    citus
        .execute("ALTER TABLE client1.items ALTER price TYPE double precision")
        .await;
    citus
        .execute("INSERT INTO client1.items (id, price) VALUES ('a', 0.1 + 0.2::float8)")
        .await;
    assert_eq!(
        without_durations(&citus.run_ok(&["migrate"])),
        "Applied 2/exact prices to client1\n\
         Applied 3/orders index to client1\n1 tenant migrated, 1 up to date\n"
    );
    citus.run_ok(&["tenants", "check"]);
    assert_eq!(
        citus
            .text("SELECT price::text FROM client1.items WHERE id = 'a'")
            .await,
        "0.30000000000000004"
    );
    citus.drop().await;
}

#[tokio::test]
async fn distributed_tenant_is_dropped_and_imported() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    let archive = tempfile::NamedTempFile::new().unwrap();
    let archive = archive.path().to_str().unwrap();
    citus.run_ok(&["tenants", "export", "client1", "--output", archive]);
    citus.run_ok(&["tenants", "drop", "client1", "--force", "--yes"]);
    let shards = "SELECT count(*)::text FROM pg_dist_shard s JOIN pg_class c ON c.oid = s.logicalrelid
                  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'client1'";
    assert_eq!(citus.text(shards).await, "0");
    citus.run_ok(&["tenants", "import", archive]);
    citus.run_ok(&[
        "tenants",
        "import",
        archive,
        "--as",
        "copy of it",
        "--without-users",
    ]);
    assert_eq!(citus.text(shards).await, "3");
    assert!(citus.node("client1").is_some() && citus.node("copy of it").is_some());
    citus.run_ok(&["tenants", "check"]);
    let response = citus.service().get("/users/1/orders").await.ok();
    assert_eq!(response["total_due"], "60000.00");
    citus.drop().await;
}

#[tokio::test]
async fn workers_refuse_changes_to_schemas() {
    let Some(citus) = CitusDatabase::demo().await else {
        return;
    };
    let worker = citus.urls().pop().unwrap();
    for arguments in [
        ["tenants", "create", "x"].as_slice(),
        &["tenants", "distribute"],
        &["tenants", "move", "client1", "x", "--yes"],
        &["migrate"],
    ] {
        let (status, _, errors) = finished(
            ServiceProcess::command()
                .args(arguments)
                .env("DATABASE_URL", &worker),
        );
        assert_eq!(status, Some(1), "{errors}");
        assert!(errors.contains("set DATABASE_URL to its coordinator"), "{errors}");
    }
    citus.drop().await;
}
