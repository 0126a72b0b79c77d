//! Tenants that cannot be migrated.

use super::fleet::{NEW, OLD, count, old_fleet, states};
use super::{run, run_over, without_durations};
use crate::support::TestDatabase;

#[tokio::test]
async fn failed_tenants_are_reported_and_stop_no_others() {
    let database = old_fleet(12).await;
    database
        .execute(
            "CREATE VIEW t2.prices AS SELECT price FROM t2.items;
             UPDATE t4._tenant_orders_migrations SET checksum = 'x' WHERE version = 1;
             INSERT INTO t6._tenant_orders_migrations VALUES (4, 'from the future', now(), true, 'x', 0);
             UPDATE t8._tenant_orders_migrations SET success = false WHERE version = 1;
             ALTER TABLE t10._tenant_orders_migrations DROP checksum",
        )
        .await;
    let (status, output, errors) = run(&database, &["migrate", "--jobs", "2"]);
    assert_eq!(status, Some(1));
    for message in [
        "t2: error: failed to apply migration 2 (exact prices)\n  \
         because: cannot alter type of a column used by a view",
        "\n  DETAIL: rule _RETURN on view prices depends on column \"price\"\n",
        "t4: error: migration 1 (items and orders) was changed after it was applied",
        "t6: error: migration 4 is unknown: a newer version of this program, or another folder, applied it",
        "t8: error: migration 1 is recorded as unfinished",
        "t10: error: column \"checksum\" does not exist",
    ] {
        assert!(errors.contains(message), "{message}\n{errors}");
    }
    let summary = errors.lines().last().unwrap();
    assert!(
        summary.starts_with("error: 5 of 12 tenants failed: t"),
        "{errors}"
    );
    for tenant in ["t2", "t4", "t6", "t8", "t10"] {
        assert!(!output.contains(&format!("to {tenant} ")), "{output}");
        assert!(!states(&database).await[tenant].contains("numeric"), "{tenant}");
    }
    assert_eq!(count(&database, NEW).await, 7);

    database.execute("DROP VIEW t2.prices").await;
    let (_, output, errors) = run(&database, &["migrate"]);
    assert_eq!(
        without_durations(&output),
        "Applied 2/exact prices to t2\n\
         Applied 3/orders index to t2\n1 tenant migrated, 7 up to date\n"
    );
    assert!(errors.contains("error: 4 of 12 tenants failed"), "{errors}");
}

#[tokio::test]
async fn a_changed_shared_migration_stops_the_run() {
    let database = old_fleet(2).await;
    database
        .execute("UPDATE public._tenant_orders_migrations SET checksum = 'x'")
        .await;
    let (status, output, errors) = run(&database, &["migrate"]);
    assert_eq!((status, output.as_str()), (Some(1), ""));
    assert_eq!(
        errors,
        "error: migration 1 (users) was changed after it was applied: its checksum differs; \
         restore the text that was applied\n"
    );
    assert_eq!(count(&database, OLD).await, 2);
}

#[tokio::test]
async fn missing_privileges_are_reported_and_change_nothing() {
    let database = old_fleet(2).await;
    let role = format!("reader_{}", database.name());
    database
        .execute(format!(
            "CREATE ROLE {role} LOGIN; GRANT SELECT ON public.users, public._tenant_orders_migrations TO {role};
             GRANT USAGE ON SCHEMA t1, t2 TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA t1 TO {role}"
        ))
        .await;
    let (status, output, errors) = run_over(&database.url_as(&role), &["migrate"]);
    assert_eq!((status, output.as_str()), (Some(1), "0 tenants up to date\n"));
    assert!(
        errors.contains("t1: error: failed to apply migration 2"),
        "{errors}"
    );
    assert!(errors.contains("permission denied for schema t1"), "{errors}");
    assert!(errors.contains("t2: error: "), "{errors}");
    assert!(
        errors.contains("permission denied for table _tenant_orders_migrations"),
        "{errors}"
    );
    assert!(errors.contains("2 of 2 tenants failed: "), "{errors}");
    assert_eq!(count(&database, OLD).await, 2);
}

#[tokio::test]
async fn a_role_without_privileges_is_refused() {
    let database = TestDatabase::demo().await;
    let role = format!("unprivileged_{}", database.name());
    database.execute(format!("CREATE ROLE {role} LOGIN")).await;
    let (status, output, errors) = run_over(&database.url_as(&role), &["migrate"]);
    assert_eq!((status, output.as_str()), (Some(1), ""));
    assert!(errors.contains("permission denied"), "{errors}");
}

/// Histories are read in several batches, one of which is split until the unreadable history is alone.
#[tokio::test]
async fn one_unreadable_history_among_hundreds_fails_alone() {
    // More than one statement reads.
    let database = old_fleet(210).await;
    database
        .execute("ALTER TABLE t207._tenant_orders_migrations RENAME version TO release")
        .await;
    let (status, output, errors) = run(&database, &["migrate", "--json"]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("\n105 of 210 tenants\n"), "{errors}");
    assert!(errors.contains("\n210 of 210 tenants\n"), "{errors}");
    assert!(
        errors.contains("error: 1 of 210 tenants failed: t207"),
        "{errors}"
    );
    assert_eq!(output.matches("\"status\":\"applied\"").count(), 209);
    database
        .execute("ALTER TABLE t207._tenant_orders_migrations RENAME release TO version")
        .await;
    let (status, output, errors) = run(&database, &["migrate", "--json"]);
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(output.matches("\"status\":\"current\"").count(), 209);
    assert_eq!(output.matches("\"status\":\"applied\"").count(), 1);
}

/// Objects that use a column whose type a migration changes.
#[tokio::test]
async fn dependents_of_a_column_are_named() {
    let database = old_fleet(8).await;
    database
        .execute(
            "CREATE FUNCTION t1.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER noted BEFORE UPDATE OF price ON t1.items FOR EACH ROW EXECUTE FUNCTION t1.f();
             CREATE POLICY cheap ON t2.items USING (price < 1000);
             ALTER TABLE t3.items ADD gross double precision GENERATED ALWAYS AS (price * 1.2) STORED;
             CREATE MATERIALIZED VIEW t4.totals AS SELECT sum(price) FROM t4.items;
             CREATE INDEX by_price ON t5.items (price) WHERE price > 0;
             ALTER TABLE t6.items ADD CONSTRAINT sane CHECK (price >= 0::double precision);
             ALTER TABLE t7.items ALTER price SET DEFAULT 1.5",
        )
        .await;
    let (status, _, errors) = run(&database, &["migrate"]);
    assert_eq!(status, Some(1));
    for detail in [
        "trigger noted on table items depends on column \"price\"",
        "policy cheap on table items depends on column \"price\"",
        "Column \"price\" is used by generated column \"gross\".",
        "rule _RETURN on materialized view totals depends on column \"price\"",
    ] {
        assert!(
            errors.contains(&format!("DETAIL: {detail}")),
            "{detail}\n{errors}"
        );
    }
    assert!(
        errors.contains("error: 4 of 8 tenants failed: t1, t2, t3, t4"),
        "{errors}"
    );
    assert_eq!(count(&database, NEW).await, 4);
}
