//! Tenants with hostile names.

use serde_json::Value;
use tenant_orders::admin::AdminDatabase;
use tenant_orders::admin::tenants::create;
use tenant_orders::admin::tenants::drop::{RemainingUsers, drop_tenant};
use tenant_orders::config::DatabaseUrl;
use tenant_orders::tenancy::SchemaName;

use super::{assert_demo_has_no_drift, catalog, json, tenants};
use crate::support::{TestDatabase, fleet};

#[tokio::test]
async fn hostile_names_work_in_every_command() {
    let database = TestDatabase::demo().await;
    let before = catalog(&database).await;
    let admin_database = AdminDatabase::new(&DatabaseUrl::from(database.url())).unwrap();
    let schemas: Vec<_> = fleet::tenants()
        .map(|tenant| SchemaName::parse(tenant.name).unwrap())
        .collect();
    for schema in &schemas {
        create(&admin_database, schema).await.unwrap();
    }
    let mut names: Vec<_> = schemas.iter().map(SchemaName::as_str).collect();
    names.extend(["client1", "client2"]);
    names.sort_unstable();
    assert_eq!(checked(&database, Some(0)), names);

    let drift = schemas.iter().map(SchemaName::quoted).map(|schema| {
        format!(
            "DROP INDEX {schema}.orders_user_id_idx;
             ALTER TABLE {schema}.orders DROP CONSTRAINT orders_item_id_fkey, ALTER quantity SET NOT NULL;
             ALTER INDEX {schema}.items_pkey RENAME TO \"odd*/ ;name\";"
        )
    });
    database.execute(drift.collect::<String>()).await;
    checked(&database, Some(1));
    let (_, drifted) = json(&database, &["check"]);
    let tenants_that_drifted = drifted.as_array().unwrap();
    let fixes: Vec<_> = tenants_that_drifted
        .iter()
        .flat_map(|tenant| tenant["differences"].as_array().unwrap())
        .filter_map(|difference| difference["fix"].as_str())
        .collect();
    assert_eq!(fixes.len(), schemas.len() * 4);
    database.execute(fixes.join(";\n")).await;
    assert_eq!(checked(&database, Some(0)), names);
    let (_, listed) = json(&database, &["list"]);
    assert_eq!(texts(&listed, "name"), names);
    assert!(texts(&listed, "state").iter().all(|state| state == "current"));

    for schema in &schemas {
        let dropped = drop_tenant(&admin_database, schema, RemainingUsers::Refuse)
            .await
            .unwrap();
        assert_eq!(dropped.tables, ["_tenant_orders_migrations", "items", "orders"]);
    }
    assert_eq!(catalog(&database).await, before);
}

fn checked(database: &TestDatabase, status: Option<i32>) -> Vec<String> {
    let (found, checked) = json(database, &["check"]);
    assert_eq!(found, status, "{checked}");
    texts(&checked, "tenant")
}

fn texts(listed: &Value, member: &str) -> Vec<String> {
    let tenants = listed.as_array().unwrap().iter();
    tenants
        .map(|tenant| tenant[member].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn hostile_names_work_on_the_command_line() {
    let database = TestDatabase::demo().await;
    for name in [
        "a\"b",
        "*/ x; DROP SCHEMA client1 CASCADE; --",
        "Ünï cödé",
        "UPPER",
        "--yes",
        &"x".repeat(63),
    ] {
        for command in [
            &["create", "--"] as &[_],
            &["check", "--"],
            &["drop", "--yes", "--"],
        ] {
            let (status, _, errors) = tenants(&database, &[command, &[name]].concat());
            assert_eq!(status, Some(0), "{errors}");
        }
    }
    assert_demo_has_no_drift(&database);
}
