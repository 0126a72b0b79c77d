//! `tenants create`, `list`, `check` and `drop`, and the schemas that `migrate --adopt` accepts.

mod adopt;
mod check;
mod create;
mod drift;
mod drop;
mod encodings;
mod hostile_names;
mod list;
mod objects;
mod query;
mod servable;
mod settings;

use serde_json::Value;

use crate::support::{ServiceProcess, TestDatabase, finished};

/// Runs `tenants` with these arguments. Returns its exit status, standard output and standard error.
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

/// Runs `tenants` with these arguments and `--json`. Returns its exit status and its output.
fn json(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, Value) {
    let (status, output, errors) = tenants(database, &[arguments, &["--json"]].concat());
    let value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}{errors}"));
    (status, value)
}

/// Asserts that the command failed and printed `reason`.
fn assert_refused((status, output, errors): &(Option<i32>, String, String), reason: &str) {
    assert_eq!(*status, Some(1), "{output}{errors}");
    assert!(errors.contains(reason), "{errors}");
}

/// Returns the names of all schemas and relations.
async fn catalog(database: &TestDatabase) -> String {
    database
        .text(
            "SELECT string_agg(concat_ws('.', n.nspname, c.relname), ' ' ORDER BY n.nspname, c.relname)
             FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid WHERE n.nspname !~ '^pg_'",
        )
        .await
}

/// Asserts that the demo's tenants are the only ones and have no drift.
fn assert_demo_has_no_drift(database: &TestDatabase) {
    let (status, checked) = json(database, &["check"]);
    assert_eq!(
        (status, checked),
        (
            Some(0),
            serde_json::json!([
                { "tenant": "client1", "version": 3, "differences": [] },
                { "tenant": "client2", "version": 3, "differences": [] },
            ])
        )
    );
}
