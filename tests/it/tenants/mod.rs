//! Tenants as a whole, by the commands that make, list, check and drop them.

mod adopt;
mod check;
mod create;
mod drift;
mod drop;
mod hostile_names;
mod list;

use serde_json::Value;

use crate::support::{ServiceProcess, TestDatabase, finished};

/// Runs `tenants` with more arguments: its exit status, standard output and standard error.
fn tenants(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String, String) {
    tenants_at(&database.url(), arguments)
}

fn tenants_at(url: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    finished(
        ServiceProcess::command()
            .arg("tenants")
            .args(arguments)
            .env("DATABASE_URL", url),
    )
}

/// Runs `tenants` with more arguments and `--json`: its exit status and what it tells.
fn json(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, Value) {
    let (status, output, errors) = tenants(database, &[arguments, &["--json"]].concat());
    let value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}{errors}"));
    (status, value)
}

/// Checks that the command failed for a reason that it tells.
fn assert_refused((status, output, errors): &(Option<i32>, String, String), reason: &str) {
    assert_eq!(*status, Some(1), "{output}{errors}");
    assert!(errors.contains(reason), "{errors}");
}

/// All schemas and what is in them.
async fn catalog(database: &TestDatabase) -> String {
    database
        .text(
            "SELECT string_agg(concat_ws('.', n.nspname, c.relname), ' ' ORDER BY n.nspname, c.relname)
             FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid WHERE n.nspname !~ '^pg_'",
        )
        .await
}

/// The demo's tenants are there, alone, and as the migrations make them.
fn assert_demo_has_no_drift(database: &TestDatabase) {
    let (status, checked) = json(database, &["check"]);
    assert_eq!(
        (status, checked),
        (
            Some(0),
            serde_json::json!([
                { "tenant": "client1", "version": 2, "differences": [] },
                { "tenant": "client2", "version": 2, "differences": [] },
            ])
        )
    );
}
