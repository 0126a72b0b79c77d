//! What a run tells: before it is made, and to programs.

use serde_json::{Value, json};

use super::fleet::{OLD, count, old_fleet};
use super::run;
use crate::existing_database::everything;
use crate::support::TestDatabase;

fn lines(output: &str) -> Vec<Value> {
    let mut lines: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.sort_by_key(|line| line["tenant"].to_string());
    lines
}

/// All but how long it took, which is at least a number.
fn timeless(mut line: Value) -> Value {
    let duration = line.as_object_mut().unwrap().remove("duration_ms");
    assert!(duration.unwrap().is_u64());
    line
}

#[tokio::test]
async fn a_program_reads_a_line_for_each_tenant() {
    let database = old_fleet(3).await;
    assert_eq!(run(&database, &["migrate", "--tenant", "t1"]).0, Some(0));
    database
        .execute(
            "UPDATE t2._sqlx_migrations SET checksum = 'x' WHERE version = 1;
             CREATE SCHEMA others; CREATE TABLE others.items ();
             INSERT INTO public.users (id, organization_id) VALUES ('x', 'others')",
        )
        .await;
    let (status, output, errors) = run(&database, &["migrate", "--json"]);
    assert_eq!(status, Some(1));
    let lines: Vec<_> = lines(&output).into_iter().map(timeless).collect();
    assert_eq!(
        lines,
        [
            json!({ "tenant": "others", "status": "unadopted", "from": null, "to": null,
                    "error": "the schema has tables but no migration history: it was not made by this program, \
                              and is left as it is" }),
            json!({ "tenant": "t1", "status": "current", "from": 2, "to": 2, "error": null }),
            json!({ "tenant": "t2", "status": "failed", "from": 1, "to": 1,
                    "error": "migration 1 (items and orders) was changed after it had been applied: \
                              its checksum differs" }),
            json!({ "tenant": "t3", "status": "applied", "from": 1, "to": 2, "error": null }),
        ]
    );
    assert!(errors.contains("hint: migrate --adopt"), "{errors}");
    assert!(errors.contains("error: 2 of 4 tenants failed: "), "{errors}");
}

#[tokio::test]
async fn a_dry_run_tells_who_would_get_what_and_writes_nothing() {
    let database = old_fleet(3).await;
    assert_eq!(run(&database, &["migrate", "--tenant", "t1"]).0, Some(0));
    let before = everything(&database).await;
    let (status, output, errors) = run(&database, &["migrate", "--dry-run"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        output,
        "t2: to be migrated from version 1 to 2\nt3: to be migrated from version 1 to 2\n2 up to date already\n"
    );
    let (status, output, errors) = run(&database, &["migrate", "--dry-run", "--json"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    let lines: Vec<_> = lines(&output).into_iter().map(timeless).collect();
    assert_eq!(
        lines,
        [
            json!({ "tenant": "t1", "status": "current", "from": 2, "to": 2, "error": null }),
            json!({ "tenant": "t2", "status": "pending", "from": 1, "to": 2, "error": null }),
            json!({ "tenant": "t3", "status": "pending", "from": 1, "to": 2, "error": null }),
        ]
    );
    assert_eq!(everything(&database).await, before);
    assert_eq!(count(&database, OLD).await, 2);
}

#[tokio::test]
async fn a_dry_run_of_an_empty_database_leaves_it_empty() {
    let database = TestDatabase::empty().await;
    let before = everything(&database).await;
    let (status, output, errors) = run(&database, &["migrate", "--dry-run"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        output,
        "public: to be migrated from version 0 to 1\n0 up to date already\n"
    );
    assert_eq!(everything(&database).await, before);
}

#[tokio::test]
async fn a_dry_run_fails_where_the_run_would() {
    let database = old_fleet(2).await;
    database
        .execute("UPDATE t2._sqlx_migrations SET checksum = 'x' WHERE version = 1")
        .await;
    let (status, output, errors) = run(&database, &["migrate", "--dry-run"]);
    assert_eq!(status, Some(1));
    assert_eq!(
        output,
        "t1: to be migrated from version 1 to 2\n1 up to date already\n"
    );
    assert!(
        errors.contains("t2: error: migration 1 (items and orders) was changed"),
        "{errors}"
    );
    assert!(errors.contains("error: 1 of 2 tenants failed: t2"), "{errors}");
}
