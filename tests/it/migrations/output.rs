//! Dry runs and JSON lines.

use serde_json::json;

use super::fleet::{OLD, count, old_fleet};
use super::{json_lines, run, without_hazards};
use crate::existing_database::everything;
use crate::support::TestDatabase;

#[tokio::test]
async fn json_has_a_line_for_each_tenant() {
    let database = old_fleet(3).await;
    assert_eq!(run(&database, &["migrate", "--tenant", "t1"]).0, Some(0));
    database
        .execute(
            "UPDATE t2._tenant_orders_migrations SET checksum = 'x' WHERE version = 1;
             CREATE SCHEMA others; CREATE TABLE others.items ();
             INSERT INTO public.users (id, organization_id) VALUES ('x', 'others')",
        )
        .await;
    let (status, output, errors) = run(&database, &["migrate", "--json"]);
    assert_eq!(status, Some(1));
    let lines = json_lines(&output);
    assert_eq!(
        lines,
        [
            json!({ "tenant": "others", "status": "unadopted", "from": null, "to": null,
                    "error": "the schema has tables but no migration history; it was created by another program" }),
            json!({ "tenant": "t1", "status": "current", "from": 3, "to": 3, "error": null }),
            json!({ "tenant": "t2", "status": "failed", "from": 1, "to": 1,
                    "error": "migration 1 (items and orders) was changed after it was applied: \
                              its checksum differs; restore the text that was applied" }),
            json!({ "tenant": "t3", "status": "applied", "from": 1, "to": 3, "error": null }),
        ]
    );
    assert!(
        errors.contains("\nhint: to adopt schemas of another program"),
        "{errors}"
    );
    assert!(errors.contains("error: 2 of 4 tenants failed: "), "{errors}");
}

#[tokio::test]
async fn a_dry_run_prints_pending_changes_and_writes_nothing() {
    let database = old_fleet(3).await;
    assert_eq!(run(&database, &["migrate", "--tenant", "t1"]).0, Some(0));
    let before = everything(&database).await;
    let (status, output, errors) = run(&database, &["migrate", "--dry-run"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        without_hazards(&output),
        "Would apply 2/exact prices to t2\n\
         Would apply 3/orders index to t2\n\
         Would apply 2/exact prices to t3\n\
         Would apply 3/orders index to t3\n\
         2 tenants to migrate, 1 up to date\n"
    );
    let (status, output, errors) = run(&database, &["migrate", "--dry-run", "--json"]);
    assert_eq!((status, without_hazards(&errors).as_str()), (Some(0), ""));
    let lines = json_lines(&output);
    assert_eq!(
        lines,
        [
            json!({ "tenant": "t1", "status": "current", "from": 3, "to": 3, "error": null }),
            json!({ "tenant": "t2", "status": "pending", "from": 1, "to": 3, "error": null }),
            json!({ "tenant": "t3", "status": "pending", "from": 1, "to": 3, "error": null }),
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
    assert_eq!(output, "Would apply 1/users to public\n0 tenants up to date\n");
    assert_eq!(everything(&database).await, before);
}

#[tokio::test]
async fn a_dry_run_fails_if_the_run_would() {
    let database = old_fleet(2).await;
    database
        .execute("UPDATE t2._tenant_orders_migrations SET checksum = 'x' WHERE version = 1")
        .await;
    let (status, output, errors) = run(&database, &["migrate", "--dry-run"]);
    assert_eq!(status, Some(1));
    assert_eq!(
        without_hazards(&output),
        "Would apply 2/exact prices to t1\n\
         Would apply 3/orders index to t1\n1 tenant to migrate\n"
    );
    assert!(
        errors.contains("t2: error: migration 1 (items and orders) was changed"),
        "{errors}"
    );
    assert!(errors.contains("error: 1 of 2 tenants failed: t2"), "{errors}");
}
