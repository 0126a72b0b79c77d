//! Memberships of tenants' roles and of the service's role.

use tenant_orders::admin::tenants::drop::{RemainingUsers, drop_tenant};
use tenant_orders::admin::tenants::roles::RoleRemoval;
use tenant_orders::config::PoolSettings;

use super::{Shops, admin_database, name, run};
use crate::support::{Service, ServiceProcess, TestDatabase, finished};

/// First version that stores options for each grant of a role.
const GRANT_OPTIONS_SINCE: u32 = 16;

async fn assert_true(database: &TestDatabase, condition: &str) {
    let statement = format!("SELECT ({condition})::text");
    assert_eq!(database.text(&statement).await, "true", "{condition}");
}

#[tokio::test]
async fn migrate_revokes_the_privileges_of_earlier_versions() {
    let shops = Shops::new("r_earlier").await;
    let Shops { database, one, .. } = &shops;
    database
        .execute(format!(
            "DO $$BEGIN CREATE ROLE \"tenant-orders users\"; EXCEPTION WHEN duplicate_object THEN NULL; END$$;
             GRANT SELECT (id, name, organization_id) ON public.users TO \"tenant-orders users\", {one};
             GRANT \"tenant-orders users\" TO {one}; COMMENT ON ROLE {one} IS NULL"
        ))
        .await;
    let page = shops.service().get(&shops.path()).await.ok();
    assert_eq!(page["total_due"], "100.00");
    let (status, output, errors) = run(database, &["migrate"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(
        output.contains(&format!("Created or updated role {one}")),
        "{output}"
    );
    for lost in [
        format!("NOT has_any_column_privilege('{one}', 'public.users', 'SELECT')"),
        format!("NOT pg_has_role('{one}', 'tenant-orders users', 'MEMBER')"),
    ] {
        assert_true(database, &lost).await;
    }
    let page = shops.service().get(&shops.path()).await.ok();
    assert_eq!(page["total_due"], "100.00");
    assert_eq!(run(database, &["migrate"]).1, "2 tenants up to date\n");
    let admin_database = admin_database(database, None);
    let dropped = drop_tenant(&admin_database, &name(one), RemainingUsers::Orphan).await;
    assert_eq!(dropped.unwrap().role, RoleRemoval::Dropped);
}

#[tokio::test]
async fn migrate_repairs_grants_that_inherit_or_cannot_be_set() {
    let shops = Shops::new("r_options").await;
    let Shops {
        database,
        one,
        other,
        service_role,
    } = &shops;
    if database.server_version().await < GRANT_OPTIONS_SINCE {
        return;
    }
    database
        .execute(format!(
            "GRANT {one} TO {service_role} WITH INHERIT TRUE; GRANT {other} TO {service_role} WITH SET FALSE"
        ))
        .await;
    assert_true(
        database,
        &format!("pg_has_role('{service_role}', '{one}', 'USAGE')"),
    )
    .await;
    let page = format!("/users/{other}/orders");
    shops
        .service()
        .get(&page)
        .await
        .problem(503, "tenant-unavailable");
    let migrate = ["migrate", "--service-role", service_role];
    let (_, output, _) = run(database, &[&migrate[..], &["--dry-run"]].concat());
    for tenant in [one, other] {
        assert!(
            output.contains(&format!("Would create or update role {tenant}")),
            "{output}"
        );
    }
    let (status, _, errors) = run(database, &migrate);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    for tenant in [one, other] {
        assert_true(
            database,
            &format!(
                "pg_has_role('{service_role}', '{tenant}', 'SET')
                 AND NOT pg_has_role('{service_role}', '{tenant}', 'USAGE')"
            ),
        )
        .await;
    }
    assert_eq!(shops.service().get(&page).await.ok()["total_due"], "1554.00");
    assert_eq!(run(database, &migrate).1, "2 tenants up to date\n");
}

#[tokio::test]
async fn inheritance_through_another_role_is_refused() {
    let shops = Shops::new("r_indirect").await;
    let Shops {
        database,
        one,
        service_role,
        ..
    } = &shops;
    if database.server_version().await < GRANT_OPTIONS_SINCE {
        return;
    }
    database
        .execute(format!(
            "CREATE ROLE r_between; GRANT {one} TO r_between WITH INHERIT TRUE;
             GRANT r_between TO {service_role} WITH INHERIT TRUE"
        ))
        .await;
    let (status, _, errors) = run(database, &["migrate", "--service-role", service_role]);
    assert_eq!(status, Some(1));
    let reason = format!("role {service_role} inherits the privileges of role {one} through another role");
    assert!(errors.contains(&reason), "{errors}");
}

#[tokio::test]
async fn owner_without_superuser_creates_and_drops_roles() {
    let first = Shops::new("r_first").await;
    let database = TestDatabase::empty().await;
    database
        .execute(format!(
            "CREATE ROLE r_second LOGIN; CREATE ROLE r_second_service LOGIN NOINHERIT;
             GRANT CREATE ON SCHEMA public TO r_second; GRANT CREATE ON DATABASE {} TO r_second",
            database.name()
        ))
        .await;
    let run = |command: &[&str]| {
        finished(
            ServiceProcess::command()
                .args(command)
                .env("DATABASE_URL", database.url_as("r_second"))
                .env("TENANT_ROLES", "on"),
        )
    };
    let create = |tenant: &str| run(&["tenants", "create", tenant, "--service-role", "r_second_service"]);
    let (status, _, errors) = create("r_seconds");
    assert_eq!(status, Some(1));
    assert!(errors.contains("run ALTER ROLE r_second CREATEROLE"), "{errors}");
    database.execute("ALTER ROLE r_second CREATEROLE").await;
    let (status, _, errors) = create("r_seconds");
    assert_eq!(status, Some(0), "{errors}");
    database
        .execute(
            "GRANT SELECT (id, name, organization_id) ON public.users TO r_second_service;
             INSERT INTO public.users (id, organization_id) VALUES ('s', 'r_seconds')",
        )
        .await;
    let url = database.url_as("r_second_service");
    let service = Service::new(super::database_with_roles(url, &PoolSettings::default()));
    assert_eq!(service.get("/users/s/orders").await.ok()["total_due"], "0.00");
    // A role that another owner created has the same name.
    let (status, _, errors) = create(&first.one);
    if database.server_version().await >= GRANT_OPTIONS_SINCE {
        assert_eq!(status, Some(1));
        let advice = format!("run GRANT {} TO r_second WITH ADMIN OPTION", first.one);
        assert!(errors.contains(&advice), "{errors}");
    } else {
        assert_eq!(status, Some(0), "{errors}");
    }
    let (status, _, errors) = run(&["tenants", "drop", "r_seconds", "--yes", "--force"]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(errors.contains(", its role"), "{errors}");
}
