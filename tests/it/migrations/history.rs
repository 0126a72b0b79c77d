//! Migration histories of early versions, and those of other programs that use sqlx.

use serde_json::json;

use super::{run, without_durations};
use crate::support::{Service, TestDatabase};

/// Turns all histories into those of an early version: sqlx's table name, and migrations 2 and 3 in one.
const TO_EARLY_VERSION: &str = "
    DO $$ DECLARE tenant text; BEGIN
        FOREACH tenant IN ARRAY ARRAY['public', 'client1', 'client2'] LOOP
            EXECUTE format('ALTER TABLE %I._tenant_orders_migrations RENAME TO _sqlx_migrations;', tenant);
        END LOOP;
        FOREACH tenant IN ARRAY ARRAY['client1', 'client2'] LOOP
            EXECUTE format(
                'DELETE FROM %1$I._sqlx_migrations WHERE version = 3;
                 UPDATE %1$I._sqlx_migrations SET description = ''exact prices and orders index'',
                     checksum = ''\\xa303198eb4e2c3cc38eabe34cb21d6313069e2ec9fceba866f546589138d6752589476cb5d7a6b2b3e1e3a7f6f31aeb0''
                 WHERE version = 2', tenant);
        END LOOP;
    END $$";

/// The history of another program, which migrates `public` with sqlx.
const OTHER_PROGRAM: &str = "
    CREATE TABLE public._sqlx_migrations (
        version bigint PRIMARY KEY, description text NOT NULL, installed_on timestamptz NOT NULL DEFAULT now(),
        success boolean NOT NULL, checksum bytea NOT NULL, execution_time bigint NOT NULL);
    INSERT INTO public._sqlx_migrations VALUES
        (1, 'init', now(), true, '\\x00', 1), (20240301000000, 'mail', now(), true, '\\x01', 1)";

const OTHER_HISTORY: &str = "SELECT string_agg(m::text, ' ' ORDER BY version) FROM public._sqlx_migrations m";

const HISTORIES: &str = "
    SELECT string_agg(format('%s.%s', relnamespace::regnamespace, relname), ' ' ORDER BY relnamespace::regnamespace::text)
    FROM pg_class WHERE relname ~ '_migrations$'";

/// Runs `tenants` with these arguments and asserts that it succeeds. Returns its output.
fn tenants(database: &TestDatabase, arguments: &[&str]) -> String {
    let (status, output, errors) = run(database, &[&["tenants"], arguments].concat());
    assert_eq!(status, Some(0), "{arguments:?}: {output}{errors}");
    output
}

#[tokio::test]
async fn histories_of_early_versions_are_current_and_renamed_by_migrate() {
    let database = TestDatabase::demo_with(TO_EARLY_VERSION).await;
    let listed: serde_json::Value = serde_json::from_str(&tenants(&database, &["list", "--json"])).unwrap();
    assert_eq!(
        (&listed[0]["state"], &listed[0]["version"]),
        (&json!("current"), &json!(3))
    );
    tenants(&database, &["check"]);
    let archive = tenants(&database, &["export", "client2"]);
    assert!(archive.contains("_sqlx_migrations"));

    let (status, output, errors) = run(&database, &["migrate", "--dry-run"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        output,
        "Would rename the migration history of public\n\
         Would rename the migration history of client1\n\
         Would rename the migration history of client2\n\
         2 tenants to migrate\n"
    );
    let (status, output, errors) = run(&database, &["migrate", "--jobs", "1"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        output,
        "Renamed the migration history of public\n\
         Renamed the migration history of client1\n\
         Renamed the migration history of client2\n\
         2 tenants migrated\n"
    );
    assert_eq!(
        database.text(HISTORIES).await,
        "client1._tenant_orders_migrations client2._tenant_orders_migrations public._tenant_orders_migrations"
    );
    let versions =
        "SELECT string_agg(version::text, ' ' ORDER BY version) FROM client1._tenant_orders_migrations";
    assert_eq!(database.text(versions).await, "1 2 3");
    tenants(&database, &["check"]);
    assert_eq!(run(&database, &["migrate"]).1, "2 tenants up to date\n");
}

#[tokio::test]
async fn a_tenant_with_a_history_of_an_early_version_is_dropped() {
    let database = TestDatabase::demo_with(TO_EARLY_VERSION).await;
    tenants(&database, &["drop", "client1", "--yes", "--force"]);
    let schemas = "SELECT string_agg(nspname, ' ') FROM pg_namespace WHERE nspname ~ '^client'";
    assert_eq!(database.text(schemas).await, "client2");
}

#[tokio::test]
async fn the_history_of_another_program_is_neither_read_nor_changed() {
    let database = TestDatabase::existing_with(OTHER_PROGRAM).await;
    let before = database.text(OTHER_HISTORY).await;
    let (status, output, errors) = run(&database, &["migrate", "--adopt", "--jobs", "1"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    let output = without_durations(&output);
    assert!(output.starts_with("Applied 1/users to public\n"), "{output}");
    tenants(&database, &["create", "fresh"]);
    let listed: serde_json::Value = serde_json::from_str(&tenants(&database, &["list", "--json"])).unwrap();
    let tenant_states = listed.as_array().unwrap().iter().map(|tenant| &tenant["state"]);
    assert_eq!(tenant_states.collect::<Vec<_>>(), ["current"; 3]);
    run(&database, &["tenants", "check"]);
    tenants(&database, &["drop", "fresh", "--yes"]);
    assert_eq!(run(&database, &["migrate"]).1, "2 tenants up to date\n");
    assert_eq!(database.text(OTHER_HISTORY).await, before);
}

/// A tenant's schema may contain the history of the program that created it.
#[tokio::test]
async fn a_tenant_with_the_history_of_another_program_is_adopted() {
    let database = TestDatabase::existing_with(OTHER_PROGRAM.replace("public", "client1")).await;
    let other = OTHER_HISTORY.replace("public", "client1");
    let before = database.text(&other).await;
    let (status, _, errors) = run(&database, &["migrate"]);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("client1: error: the schema has tables but no migration history"),
        "{errors}"
    );
    assert_eq!(run(&database, &["migrate", "--adopt"]).0, Some(0));
    assert_eq!(database.text(&other).await, before);
    let page = Service::over(&database).get("/users/1/orders").await.ok();
    assert_eq!(page["total_due"], "60000.00");
}
