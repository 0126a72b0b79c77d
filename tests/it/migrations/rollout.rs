//! Canaries, the maximum number of failures, and drift.

use super::fleet::{NEW, OLD, count, old_fleet, states};
use super::folder::{folder_with, run_with};
use super::run;
use crate::support::TestDatabase;

#[tokio::test]
async fn other_tenants_follow_successful_canaries() {
    for (canaries, expected) in [
        (&["--canary", "t3", "--canary", "t4"][..], "t3t4t1t2"),
        (&["--canary", "1%"], "t4t1t2t3"),
        (&["--canary", "50%", "--canary", "t1"], "t1t2t4t3"),
    ] {
        let database = old_fleet(4).await;
        let arguments = [&["migrate", "--jobs", "1"], canaries].concat();
        let (status, output, errors) = run(&database, &arguments);
        assert_eq!((status, errors.as_str()), (Some(0), ""));
        let order: String = output
            .lines()
            .filter_map(|line| line.strip_prefix("Applied 2/exact prices to "))
            .map(|line| &line[..2])
            .collect();
        assert_eq!(order, expected, "{canaries:?}");
        assert_eq!(count(&database, NEW).await, 4);
    }
}

#[tokio::test]
async fn a_failed_canary_stops_the_run() {
    let database = old_fleet(4).await;
    database
        .execute("CREATE VIEW t2.prices AS SELECT price FROM t2.items")
        .await;
    let (status, _, errors) = run(&database, &["migrate", "--canary", "t2", "--canary", "t3"]);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("not all canaries succeeded; no other tenants are started"),
        "{errors}"
    );
    assert!(
        errors.contains("error: 2 of 4 tenants were not processed; completed work is kept; 1 failed: t2"),
        "{errors}"
    );
    let found = states(&database).await;
    assert_eq!([&found["t1"], &found["t3"], &found["t4"]], [OLD, NEW, OLD]);
    let (status, _, errors) = run(&database, &["migrate", "--canary", "missing"]);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("--canary missing: the tenant does not exist"),
        "{errors}"
    );
    // The next run continues.
    database.execute("DROP VIEW t2.prices").await;
    assert_eq!(run(&database, &["migrate", "--canary", "t2"]).0, Some(0));
    assert_eq!(count(&database, NEW).await, 4);
}

#[tokio::test]
async fn a_canary_that_the_service_cannot_read_stops_the_run() {
    let database = TestDatabase::demo().await;
    let folder = folder_with(&[("tenant/0004_costs.sql", "ALTER TABLE items RENAME price TO cost;")]);
    // In the second run, the canary has all migrations already.
    for canary in ["client2", "client2", "1%"] {
        let (status, output, errors) = run_with(
            &database,
            &folder,
            &["migrate", "--canary", canary, "--allow-hazards"],
        );
        assert_eq!(status, Some(1), "{output}");
        let reason = "client2: error: all migrations are applied, but the service cannot read the tenant: \
                      column items.price is missing";
        assert!(errors.contains(reason), "{errors}");
        assert!(
            errors.contains("not all canaries succeeded; no other tenants are started"),
            "{errors}"
        );
        assert_eq!(
            database
                .text("SELECT string_agg(attrelid::regclass::text, ' ') FROM pg_attribute WHERE attname = 'cost'")
                .await,
            "client2.items"
        );
    }
    let (status, output, errors) = run_with(&database, &folder, &["migrate", "--dry-run"]);
    assert_eq!(status, Some(1), "{output}");
    assert!(errors.contains("1 of 2 tenants failed: client2"), "{errors}");
}

#[tokio::test]
async fn a_migration_can_make_a_tenant_servable() {
    let database = TestDatabase::demo_with("ALTER TABLE client1.items DROP description").await;
    let (status, output, errors) = run(&database, &["migrate", "--json"]);
    assert_eq!(status, Some(1));
    assert!(
        output.contains(r#""tenant":"client2","status":"current""#),
        "{output}"
    );
    assert!(errors.contains("column items.description is missing"), "{errors}");
    let column = "ALTER TABLE items ADD COLUMN IF NOT EXISTS description varchar;";
    let folder = folder_with(&[("tenant/0004_description.sql", column)]);
    let (status, output, errors) = run_with(&database, &folder, &["migrate", "--canary", "client1"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "{output}");
}

#[tokio::test]
async fn a_canary_that_has_drifted_stops_the_run() {
    let database = old_fleet(3).await;
    database.execute("ALTER TABLE t2.orders ADD note text").await;
    let arguments = ["migrate", "--refuse-drift", "--canary"];
    let (status, _, errors) = run(&database, &[&arguments[..], &["t2"]].concat());
    assert_eq!(status, Some(1));
    assert!(errors.contains("no other tenants are started"), "{errors}");
    assert_eq!(count(&database, NEW).await, 0);
    // Another tenant that has drifted does not.
    let (status, _, errors) = run(&database, &[&arguments[..], &["t1"]].concat());
    assert_eq!(status, Some(1));
    assert!(errors.contains("error: 1 of 3 tenants failed: t2"), "{errors}");
    assert_eq!(count(&database, NEW).await, 2);
}

#[tokio::test]
async fn a_run_ends_after_the_maximum_number_of_failures() {
    let database = old_fleet(6).await;
    database
        .execute("CREATE VIEW t2.prices AS SELECT price FROM t2.items; CREATE VIEW t4.prices AS SELECT price FROM t4.items")
        .await;
    let (status, _, errors) = run(&database, &["migrate", "--jobs", "1", "--max-failures", "2"]);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("error: 2 of 6 tenants were not processed; completed work is kept; 2 failed: t2, t4"),
        "{errors}"
    );
    assert_eq!(count(&database, NEW).await, 2);
    assert_eq!(states(&database).await["t5"], OLD);
}

#[tokio::test]
async fn drifted_tenants_are_refused() {
    let database = old_fleet(3).await;
    database.execute("ALTER TABLE t2.orders ADD note text").await;
    for arguments in [
        &["migrate", "--refuse-drift", "--dry-run"][..],
        &["migrate", "--refuse-drift"],
    ] {
        let (status, output, errors) = run(&database, arguments);
        assert_eq!(status, Some(1), "{output}");
        assert!(
            errors.contains("t2: error: the tenant differs from its version, and was not migrated: 1;"),
            "{errors}"
        );
        assert!(errors.contains("error: 1 of 3 tenants failed: t2"), "{errors}");
    }
    assert_eq!(count(&database, NEW).await, 2);
    assert_eq!(states(&database).await["t2"], OLD);
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
}
