//! The commands that make and drop tenants' roles.

use tenant_orders::admin::tenants::create;
use tenant_orders::config::RoleSettings;

use super::{admin_database, empty_database, is_role, name, run};
use crate::support::TestDatabase;

/// All schemas, tables and columns with what is granted on them, and who is a member of which role.
async fn rights(database: &TestDatabase) -> String {
    database
        .text(
            "SELECT concat_ws(' ',
                 (SELECT string_agg(concat(nspname, nspacl::text), ' ' ORDER BY nspname) FROM pg_namespace),
                 (SELECT string_agg(concat(oid::regclass, relacl::text), ' ' ORDER BY oid) FROM pg_class),
                 (SELECT string_agg(concat(attrelid, attacl::text), ' ' ORDER BY attrelid, attnum)
                  FROM pg_attribute WHERE attacl IS NOT NULL))",
        )
        .await
}

fn assert_refused((status, output, errors): &(Option<i32>, String, String), reason: &str) {
    assert_eq!(*status, Some(1), "{output}{errors}");
    assert!(errors.contains(reason), "{errors}");
}

#[tokio::test]
async fn migrating_makes_the_roles_that_are_missing_and_then_finds_nothing_to_do() {
    let database = empty_database().await;
    let without_roles = admin_database(&database, None).with_roles(&RoleSettings::default());
    for tenant in ["r_migrated_1", "r_migrated_2"] {
        create(&without_roles, &name(tenant)).await.unwrap();
        assert!(!is_role(&database, tenant).await);
    }
    database.execute("CREATE ROLE r_migrated LOGIN NOINHERIT").await;
    let before = rights(&database).await;
    let migrate = ["migrate", "--service-role", "r_migrated"];
    let (status, output, _) = run(&database, &[&migrate[..], &["--dry-run"]].concat());
    assert_eq!(status, Some(0));
    assert_eq!(
        output,
        "Would create or update role r_migrated_1\nWould create or update role r_migrated_2\n0 tenants up to date\n"
    );
    assert_eq!(rights(&database).await, before);
    let (status, mut output, _) = run(&database, &[&migrate[..], &["--jobs", "1"]].concat());
    assert_eq!(status, Some(0));
    output = output.replace("r_migrated_2", "r_migrated_1");
    assert_eq!(
        output.matches("Created or updated role r_migrated_1").count(),
        2,
        "{output}"
    );
    let may = "pg_has_role('r_migrated', 'r_migrated_1', 'MEMBER')
                      AND has_table_privilege('r_migrated_1', 'r_migrated_1.orders', 'SELECT')
                      AND NOT has_schema_privilege('r_migrated_1', 'r_migrated_2', 'USAGE')";
    assert_eq!(database.text(&format!("SELECT ({may})::text")).await, "true");
    let (_, output, _) = run(&database, &migrate);
    assert_eq!(output, "2 tenants up to date\n");
    database
        .execute("REVOKE SELECT ON r_migrated_2.items FROM r_migrated_2")
        .await;
    let (status, output, _) = run(&database, &[&migrate[..], &["--json"]].concat());
    assert_eq!(status, Some(0));
    assert_eq!(output.matches("\"role_made\":true").count(), 1, "{output}");
}

#[tokio::test]
async fn a_role_that_is_more_than_a_tenants_is_refused_by_name_and_nothing_changes() {
    let database = empty_database().await;
    database
        .execute(
            "CREATE ROLE r_login LOGIN; CREATE ROLE r_super SUPERUSER; CREATE ROLE r_owner;
             CREATE SCHEMA owned AUTHORIZATION r_owner; CREATE ROLE r_member IN ROLE r_owner;
             CREATE ROLE r_reader; GRANT USAGE ON SCHEMA owned TO r_reader",
        )
        .await;
    let before = rights(&database).await;
    for (role, reason) in [
        ("r_login", "role r_login can log in"),
        ("r_super", "role r_super is a superuser"),
        ("r_owner", "role r_owner owns schema owned"),
        ("r_member", "role r_member is a member of role r_owner"),
        ("r_reader", "role r_reader has rights to schema owned"),
        ("none", "no role can have this name"),
        ("tenant-orders users", "no role can have this name"),
    ] {
        let created = run(&database, &["tenants", "create", role]);
        assert_refused(&created, &format!("tenant \"{role}\""));
        assert_refused(&created, reason);
        let exists = format!("SELECT (to_regnamespace(quote_ident('{role}')) IS NOT NULL)::text");
        assert_eq!(database.text(&exists).await, "false");
    }
    // The tables that all tenants share are made before.
    let after = rights(&database).await;
    assert!(!before.contains("users") && after.contains("users"));
    let without_roles = admin_database(&database, None).with_roles(&RoleSettings::default());
    create(&without_roles, &name("r_login")).await.unwrap();
    let before = rights(&database).await;
    for more in [&[][..], &["--dry-run"]] {
        let migrated = run(&database, &[&["migrate"][..], more].concat());
        assert_refused(&migrated, "role r_login can log in");
    }
    assert_eq!(rights(&database).await, before);
}

#[tokio::test]
async fn the_services_role_has_to_exist_and_must_not_inherit() {
    let database = empty_database().await;
    database.execute("CREATE ROLE r_inherits LOGIN").await;
    for (role, reason) in [
        ("r_nobody", "the service's role r_nobody does not exist"),
        ("r_inherits", "ALTER ROLE r_inherits NOINHERIT"),
    ] {
        let create = ["tenants", "create", "r_tenant", "--service-role", role];
        assert_refused(&run(&database, &create), reason);
        assert!(!is_role(&database, "r_tenant").await);
    }
}

#[tokio::test]
async fn a_drop_says_whether_the_role_goes_too() {
    let database = empty_database().await;
    let elsewhere = empty_database().await;
    for tenant in ["r_goes", "r_granted", "r_elsewhere"] {
        let (status, _, errors) = run(&database, &["tenants", "create", tenant]);
        assert_eq!(status, Some(0), "{errors}");
    }
    create(&admin_database(&elsewhere, None), &name("r_elsewhere"))
        .await
        .unwrap();
    create(
        &admin_database(&database, None).with_roles(&RoleSettings::default()),
        &name("r_strangers"),
    )
    .await
    .unwrap();
    database
        .execute(
            "CREATE ROLE r_strangers; CREATE TABLE public.extra (); GRANT SELECT ON public.extra TO r_granted",
        )
        .await;
    for (tenant, told) in [
        ("r_goes", None),
        ("r_granted", Some("some objects depend on it")),
        ("r_elsewhere", Some("some objects depend on it")),
        ("r_strangers", Some("this program did not make it")),
    ] {
        let (status, _, errors) = run(&database, &["tenants", "drop", "--yes", tenant]);
        assert_eq!(status, Some(0), "{errors}");
        assert_eq!(errors.contains(", its role"), told.is_none(), "{errors}");
        assert_eq!(is_role(&database, tenant).await, told.is_some());
        if let Some(told) = told {
            assert!(errors.contains(&format!("kept role {tenant}: ")), "{errors}");
            assert!(errors.contains(told), "{errors}");
        }
        let exists = format!("SELECT (to_regnamespace('{tenant}') IS NOT NULL)::text");
        assert_eq!(database.text(&exists).await, "false");
    }
}

#[tokio::test]
async fn seeding_makes_roles_too() {
    let database = empty_database().await;
    let seed = ["seed", "bulk", "--tenants", "3", "--users", "1", "--orders", "1"];
    for _ in 0..2 {
        let (status, _, errors) = run(&database, &seed);
        assert_eq!(status, Some(0), "{errors}");
    }
    let may = "SELECT bool_and(has_table_privilege(t, t || '.orders', 'SELECT'))::text
               FROM unnest(ARRAY['t1', 't2', 't3']) t";
    assert_eq!(database.text(may).await, "true");
}
