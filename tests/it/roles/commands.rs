//! Commands that create and drop tenants' roles.

use tenant_orders::admin::tenants::create;
use tenant_orders::config::RoleSettings;

use super::{admin_database, name, role_exists, run};
use crate::support::TestDatabase;

/// Returns the privileges on all schemas, tables and columns.
async fn privileges(database: &TestDatabase) -> String {
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
async fn migrate_creates_missing_roles_once() {
    let database = TestDatabase::empty().await;
    let without_roles = admin_database(&database, None).with_roles(&RoleSettings::default());
    for tenant in ["r_migrated_1", "r_migrated_2"] {
        create(&without_roles, &name(tenant)).await.unwrap();
        assert!(!role_exists(&database, tenant).await);
    }
    database.execute("CREATE ROLE r_migrated LOGIN NOINHERIT").await;
    let before = privileges(&database).await;
    let migrate = ["migrate", "--service-role", "r_migrated"];
    let (status, output, _) = run(&database, &[&migrate[..], &["--dry-run"]].concat());
    assert_eq!(status, Some(0));
    assert_eq!(
        output,
        "Would create or update role r_migrated_1\nWould create or update role r_migrated_2\n2 tenants to migrate\n"
    );
    assert_eq!(privileges(&database).await, before);
    let (status, mut output, _) = run(&database, &[&migrate[..], &["--jobs", "1"]].concat());
    assert_eq!(status, Some(0));
    output = output.replace("r_migrated_2", "r_migrated_1");
    assert_eq!(
        output.matches("Created or updated role r_migrated_1").count(),
        2,
        "{output}"
    );
    let can_read = "pg_has_role('r_migrated', 'r_migrated_1', 'MEMBER')
                      AND has_table_privilege('r_migrated_1', 'r_migrated_1.orders', 'SELECT')
                      AND NOT has_schema_privilege('r_migrated_1', 'r_migrated_2', 'USAGE')";
    assert_eq!(database.text(&format!("SELECT ({can_read})::text")).await, "true");
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
async fn roles_with_other_privileges_are_refused() {
    let database = TestDatabase::empty_with(
        "CREATE ROLE r_login LOGIN; CREATE ROLE r_super SUPERUSER; CREATE ROLE r_owner;
         CREATE SCHEMA owned AUTHORIZATION r_owner; CREATE ROLE r_member IN ROLE r_owner;
         CREATE ROLE r_reader; GRANT USAGE ON SCHEMA owned TO r_reader",
    )
    .await;
    let before = privileges(&database).await;
    for (role, reason) in [
        ("r_login", "role r_login can log in"),
        ("r_super", "role r_super is a superuser"),
        ("r_owner", "role r_owner owns schema owned"),
        ("r_member", "role r_member is a member of role r_owner"),
        ("r_reader", "role r_reader has privileges on schema owned"),
        ("none", "is reserved"),
        ("tenant-orders users", "is reserved"),
    ] {
        let created = run(&database, &["tenants", "create", role]);
        assert_refused(&created, &format!("tenant \"{role}\""));
        assert_refused(&created, reason);
        let exists = format!("SELECT (to_regnamespace(quote_ident('{role}')) IS NOT NULL)::text");
        assert_eq!(database.text(&exists).await, "false");
    }
    // The shared tables are created first.
    let after = privileges(&database).await;
    assert!(!before.contains("users") && after.contains("users"));
    let without_roles = admin_database(&database, None).with_roles(&RoleSettings::default());
    create(&without_roles, &name("r_login")).await.unwrap();
    let before = privileges(&database).await;
    for flags in [&[][..], &["--dry-run"]] {
        let migrated = run(&database, &[&["migrate"][..], flags].concat());
        assert_refused(&migrated, "role r_login can log in");
    }
    assert_eq!(privileges(&database).await, before);
}

#[tokio::test]
async fn service_role_must_exist_and_not_inherit() {
    let database = TestDatabase::empty_with("CREATE ROLE r_inherits LOGIN").await;
    for (role, reason) in [
        (
            "r_missing_service",
            "the service's role r_missing_service does not exist",
        ),
        ("r_inherits", "ALTER ROLE r_inherits NOINHERIT"),
    ] {
        let create = ["tenants", "create", "r_tenant", "--service-role", role];
        assert_refused(&run(&database, &create), reason);
        assert!(!role_exists(&database, "r_tenant").await);
    }
}

#[tokio::test]
async fn drop_reports_roles_that_remain() {
    let database = TestDatabase::empty().await;
    let elsewhere = TestDatabase::empty().await;
    for tenant in ["r_goes", "r_granted", "r_elsewhere"] {
        let (status, _, errors) = run(&database, &["tenants", "create", tenant]);
        assert_eq!(status, Some(0), "{errors}");
    }
    create(&admin_database(&elsewhere, None), &name("r_elsewhere"))
        .await
        .unwrap();
    create(
        &admin_database(&database, None).with_roles(&RoleSettings::default()),
        &name("r_foreign"),
    )
    .await
    .unwrap();
    database
        .execute(
            "CREATE ROLE r_foreign; CREATE TABLE public.extra (); GRANT SELECT ON public.extra TO r_granted",
        )
        .await;
    for (tenant, reason) in [
        ("r_goes", None),
        (
            "r_granted",
            Some("some objects depend on it: DETAIL: privileges for table "),
        ),
        ("r_elsewhere", Some("some objects depend on it")),
        ("r_foreign", Some("it was not created by this program")),
    ] {
        let (status, _, errors) = run(&database, &["tenants", "drop", "--yes", tenant]);
        assert_eq!(status, Some(0), "{errors}");
        assert_eq!(errors.contains(", its role"), reason.is_none(), "{errors}");
        assert_eq!(role_exists(&database, tenant).await, reason.is_some());
        if let Some(reason) = reason {
            assert!(
                errors.contains(&format!("role {tenant} was not dropped: ")),
                "{errors}"
            );
            assert!(errors.contains(reason), "{errors}");
        }
        let exists = format!("SELECT (to_regnamespace('{tenant}') IS NOT NULL)::text");
        assert_eq!(database.text(&exists).await, "false");
    }
}

#[tokio::test]
async fn seed_creates_roles() {
    let database = TestDatabase::empty().await;
    let seed = ["seed", "bulk", "--tenants", "3", "--users", "1", "--orders", "1"];
    for _ in 0..2 {
        let (status, _, errors) = run(&database, &seed);
        assert_eq!(status, Some(0), "{errors}");
    }
    let can_read = "SELECT bool_and(has_table_privilege(t, t || '.orders', 'SELECT'))::text
               FROM unnest(ARRAY['t1', 't2', 't3']) t";
    assert_eq!(database.text(can_read).await, "true");
}

#[tokio::test]
async fn queries_run_as_the_tenants_role() {
    let shops = super::Shops::new("r_queried").await;
    let (one, other) = (&shops.one, &shops.other);
    shops
        .database
        .execute(format!(
            "ALTER TABLE {one}.orders ENABLE ROW LEVEL SECURITY;
             CREATE POLICY first ON {one}.orders TO {one} USING (id = '1')"
        ))
        .await;
    let query = "SELECT count(*) AS orders, current_user::text AS role FROM orders";
    let (status, output, errors) = run(&shops.database, &["tenants", "query", query, "--json"]);
    assert_eq!(status, Some(1));
    assert_eq!(
        output,
        format!("{{\"tenant\":\"{other}\",\"orders\":2,\"role\":\"{other}\"}}\n")
    );
    // Without the hidden rows, the count would be wrong.
    let refusal = "query would be affected by row-level security policy for table \"orders\"";
    assert!(errors.contains(refusal), "{errors}");
    let foreign = format!("SELECT count(*) FROM {other}.orders");
    let (status, output, errors) = run(&shops.database, &["tenants", "query", &foreign, "--json"]);
    assert_eq!(status, Some(1));
    assert_eq!(output, format!("{{\"tenant\":\"{other}\",\"count\":2}}\n"));
    assert!(
        errors.contains(&format!("{one}: error: permission denied for schema {other}")),
        "{errors}"
    );
}

/// `SET ROLE "none"` would reset the role, although it is quoted.
#[tokio::test]
async fn tenant_named_none_is_never_queried_as_the_login_role() {
    let database = TestDatabase::existing_with(
        "CREATE SCHEMA none; CREATE TABLE none.orders (); INSERT INTO public.users (id, organization_id) VALUES ('n', 'none')",
    ).await;
    let (status, output, errors) = run(&database, &["tenants", "query", "SELECT 1", "--tenant", "none"]);
    assert_eq!((status, output.as_str()), (Some(1), "TENANT\n"), "{errors}");
    assert!(errors.contains("role \"\" does not exist"), "{errors}");
}

#[tokio::test]
async fn a_role_that_cannot_assume_tenants_roles_can_migrate_and_check() {
    let database = TestDatabase::empty().await;
    database
        .execute(format!(
            "CREATE ROLE r_deployer LOGIN CREATEROLE; ALTER DATABASE {} OWNER TO r_deployer;
             ALTER SCHEMA public OWNER TO r_deployer",
            database.name()
        ))
        .await;
    let url = database.url_as("r_deployer");
    for arguments in [
        &["tenants", "create", "r_deployed"][..],
        &["migrate"],
        &["tenants", "check", "--only", "service"],
    ] {
        let (status, output, errors) = crate::support::finished(
            crate::support::ServiceProcess::command()
                .args(arguments)
                .env("DATABASE_URL", &url)
                .env("TENANT_ROLES", "on"),
        );
        assert_eq!(status, Some(0), "{arguments:?}: {output}{errors}");
    }
}
