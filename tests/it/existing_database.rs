//! Serving and migrating a database that is older than the service.

use std::process::Command;

use nix::sys::signal::Signal;
use sqlx::Connection;

use crate::migrations::without_durations;
use crate::support::client;
use crate::support::{ServiceProcess, TestDatabase, finished};

/// Returns a digest of every table of the database, catalogs included. Catalogs shared by the whole cluster are
/// left out.
pub(crate) async fn everything(database: &TestDatabase) -> Vec<(String, String)> {
    let mut connection = database.connect().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND NOT c.relisshared ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(tables.len() > 50);
    let mut contents = Vec::new();
    for table in tables {
        let rows =
            format!("SELECT COALESCE(md5(string_agg(t::text, chr(10) ORDER BY t::text)), '') FROM {table} t");
        contents.push((table, database.text(&rows).await));
    }
    connection.close().await.unwrap();
    contents
}

/// Returns the README's grants: the role's, an empty line, then those of one tenant.
fn grants_of_the_readme() -> String {
    let (_, block) = include_str!("../../README.md").split_once("```sql\n").unwrap();
    let (grants, _) = block.split_once("```").unwrap();
    assert_eq!(grants.matches("GRANT").count(), 3);
    grants.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_role_serves_and_changes_no_row() {
    let database = TestDatabase::existing().await;
    let name = database.text("SELECT current_database()::text").await;
    let grants = grants_of_the_readme().replace("DATABASE shop", &format!("DATABASE {name}"));
    let (_, tenant_grants) = grants.split_once("\n\n").unwrap();
    database
        .execute(grants.clone() + &tenant_grants.replace("client1", "client2"))
        .await;
    let before = everything(&database).await;

    let mut service = ServiceProcess::over(&database.url_as("orders_reader"));
    let url = service.url();
    let get = async |path: &str| client::get(format!("{url}{path}")).await.unwrap();
    let rich = get("/users/1/orders").await.ok();
    let poor = get("/users/2/orders?limit=1").await.ok();
    assert_eq!(rich["total_due"], "60000.00");
    assert_eq!(rich["orders"][0]["unit_price"], "5000.00");
    assert_eq!(rich["orders"][1]["line_total"], "10000.00");
    assert_eq!(poor["total_due"], "10500.00");
    assert_eq!(poor["orders"].as_array().unwrap().len(), 1);
    assert_eq!(get("/readyz").await.status, 200);
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));

    assert_eq!(everything(&database).await, before);
}

#[tokio::test]
async fn migrate_reports_unadopted_tenants_and_leaves_them_unchanged() {
    let database = TestDatabase::existing().await;
    let migrate = || {
        let mut command: Command = ServiceProcess::command();
        command.arg("migrate").env("DATABASE_URL", database.url());
        command
    };
    let (status, output, errors) = finished(&mut migrate());
    assert_eq!(status, Some(1));
    assert_eq!(
        without_durations(&output),
        "Applied 1/users to public\n0 tenants up to date\n"
    );
    assert!(
        errors.contains("client1: error: the schema has tables but no migration history"),
        "{errors}"
    );
    assert!(
        errors.contains("2 of 2 tenants failed: client1, client2"),
        "{errors}"
    );
    assert_eq!(
        database
            .text("SELECT price::text FROM client1.items WHERE id = '1'")
            .await,
        "5000"
    );
    assert_eq!(
        database
            .text("SELECT to_regclass('client1._tenant_orders_migrations')::text IS NULL || ''")
            .await,
        "true"
    );
}
