//! Requests with tenants' roles.

use nix::sys::signal::Signal;
use sqlx::{Connection, Executor, PgConnection};
use tenant_orders::config::{PoolSettings, Pooler};

use super::{Shops, database_with_roles};
use crate::support::{PgBouncer, Service, ServiceProcess, TestDatabase, client};

/// Returns statements that make a tenant's `orders` read another tenant's tables.
fn cross_tenant_views(shops: &Shops) -> [String; 4] {
    let Shops { one, other, .. } = shops;
    let view = |number: u32, options: &str, from: &str| {
        format!(
            "ALTER TABLE {one}.orders RENAME TO orders_before_{number};
             CREATE VIEW {one}.orders {options} AS SELECT * FROM {from};
             GRANT SELECT ON {one}.orders TO {one};"
        )
    };
    [
        view(1, "WITH (security_invoker = true)", &format!("{other}.orders")),
        view(2, "", &format!("{other}.orders")) + &format!("ALTER VIEW {one}.orders OWNER TO {one};"),
        format!(
            "CREATE FUNCTION {one}.look_as_owner() RETURNS SETOF {other}.orders LANGUAGE sql STABLE
             SECURITY DEFINER AS 'SELECT * FROM {other}.orders';
             ALTER FUNCTION {one}.look_as_owner() OWNER TO {one};"
        ) + &view(3, "", &format!("{one}.look_as_owner()")),
        format!(
            "CREATE FUNCTION {one}.look() RETURNS SETOF {other}.orders LANGUAGE sql STABLE SECURITY INVOKER
             AS 'SELECT * FROM {other}.orders';"
        ) + &view(4, "", &format!("{one}.look()")),
    ]
}

/// Checks that PostgreSQL denies the first tenant's role access to the other tenant through each view.
async fn assert_isolated(shops: &Shops, service: &Service) {
    service.get(&shops.path()).await.ok();
    let has_invoker_views = shops.database.server_version().await >= 15;
    for statements in cross_tenant_views(shops) {
        if statements.contains("security_invoker") && !has_invoker_views {
            continue;
        }
        shops.database.execute(statements.clone()).await;
        let response = service.get(&shops.path()).await;
        let body = response.problem(503, "tenant-unavailable").to_string();
        assert!(
            !body.contains(&format!("of {}", shops.other)),
            "{statements}: {body}"
        );
    }
    let page = service.get(&format!("/users/{}/orders", shops.other)).await.ok();
    assert_eq!(page["total_due"], "1554.00");
}

#[tokio::test]
async fn postgresql_denies_access_to_other_tenants() {
    let shops = Shops::new("r_refused").await;
    assert_isolated(&shops, &shops.service()).await;
    // Without roles, the last view does read the other tenant.
    let page = Service::over(&shops.database).get(&shops.path()).await.ok();
    assert_eq!(page["orders"][0]["id"], "1");
    shops
        .database
        .execute(format!("UPDATE {}.orders SET quantity = 9", shops.other))
        .await;
    let page = Service::over(&shops.database).get(&shops.path()).await.ok();
    assert_eq!(page["orders"][0]["quantity"], 9);
}

#[tokio::test]
async fn responses_do_not_depend_on_roles() {
    let shops = Shops::new("r_same").await;
    let (with, without) = (shops.service(), Service::over(&shops.database));
    for path in [
        shops.path(),
        format!("/users/{}/orders?limit=1", shops.other),
        "/users/missing/orders".to_owned(),
    ] {
        let (with, without) = (with.get(&path).await, without.get(&path).await);
        assert_eq!(with.status, without.status);
        if with.status == 200 {
            assert_eq!(with.text(), without.text());
        }
    }
    assert_eq!(with.get(&shops.path()).await.ok()["total_due"], "100.00");
}

#[tokio::test]
async fn service_role_alone_reads_no_tenant() {
    let shops = Shops::new("r_login").await;
    let Shops {
        database,
        one,
        other,
        service_role,
    } = &shops;
    let mut connection = PgConnection::connect(&database.url_as(service_role))
        .await
        .unwrap();
    let mut is_refused = async |statement: String| {
        let error = connection.execute(sqlx::AssertSqlSafe(statement)).await.err()?;
        let code = error.as_database_error().unwrap().code().unwrap();
        assert_eq!(code, "42501", "{error}");
        Some(())
    };
    for allowed in [
        "SELECT id, name, organization_id FROM public.users".to_owned(),
        format!("SET ROLE {one}"),
        format!("SELECT * FROM {one}.orders JOIN {one}.items ON true"),
        "RESET ROLE".to_owned(),
    ] {
        assert!(is_refused(allowed).await.is_none());
    }
    for refused in [
        format!("SELECT * FROM {one}.orders"),
        format!("SELECT * FROM {other}.items"),
        "SELECT password FROM public.users".to_owned(),
    ] {
        assert!(is_refused(refused).await.is_some());
    }
    assert!(is_refused(format!("SET ROLE {one}")).await.is_none());
    for refused in [
        format!("SELECT * FROM {other}.orders"),
        format!("SELECT * FROM {one}._tenant_orders_migrations"),
        format!("INSERT INTO {one}.items VALUES ('x')"),
        "SELECT id FROM public.users".to_owned(),
    ] {
        assert!(is_refused(refused).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_without_a_usable_role_is_unavailable() {
    let shops = Shops::new("r_missing").await;
    let Shops {
        database,
        one,
        other,
        service_role,
    } = &shops;
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url_as(service_role))
            .env("TENANT_ROLES", "on"),
    );
    let url = service.url();
    let get = async |user: &str| client::get(format!("{url}/users/{user}/orders")).await.unwrap();
    get(one).await.ok();
    database
        .execute(format!(
            "REVOKE {one} FROM {service_role}; DROP OWNED BY {other}; DROP ROLE {other};
             CREATE SCHEMA none; CREATE TABLE none.items (LIKE {one}.items);
             CREATE TABLE none.orders (LIKE {one}.orders); GRANT ALL ON SCHEMA none TO {service_role};
             GRANT ALL ON ALL TABLES IN SCHEMA none TO {service_role};
             INSERT INTO public.users (id, organization_id) VALUES ('r_none', 'none')"
        ))
        .await;
    for user in [one, other, "r_none"] {
        get(user).await.problem(503, "tenant-unavailable");
        service.line_with("the tenant's role is missing, or is not granted to the service's role");
    }
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}

#[tokio::test]
async fn documented_grants_suffice_for_an_existing_database() {
    let database = TestDatabase::existing_with(
        "ALTER SCHEMA client1 RENAME TO r_readme1; ALTER SCHEMA client2 RENAME TO r_readme2;
         UPDATE public.users SET organization_id = replace(organization_id, 'client', 'r_readme')",
    )
    .await;
    let docs = include_str!("../../../docs/security.md").replace("client1", "r_readme1");
    let block = docs.split("```sql\n").nth(1).unwrap();
    let (grants, _) = block.split_once("```").unwrap();
    let (_, tenant_grants) = grants.split_once("\n\n").unwrap();
    database
        .execute(grants.to_owned() + &tenant_grants.replace("r_readme1", "r_readme2"))
        .await;
    let url = database.url_as("orders_service");
    let service = Service::new(database_with_roles(url, &PoolSettings::default()));
    for (user, total_due) in [("1", "60000.00"), ("2", "10500.00")] {
        let page = service.get(&format!("/users/{user}/orders")).await.ok();
        assert_eq!(page["total_due"], total_due);
    }
}

#[tokio::test]
async fn moved_user_is_served_after_the_old_role_is_dropped() {
    let shops = Shops::new("r_moved").await;
    let service = shops.service();
    let Shops { one, other, .. } = &shops;
    assert_eq!(service.get(&shops.path()).await.ok()["total_due"], "100.00");
    shops
        .database
        .execute(format!(
            "UPDATE public.users SET organization_id = '{other}' WHERE id = '{one}';
             DROP SCHEMA {one} CASCADE; DROP ROLE {one}"
        ))
        .await;
    assert_eq!(service.get(&shops.path()).await.ok()["total_due"], "777.00");
}

#[tokio::test]
async fn tenant_role_ends_with_its_transaction_behind_a_pooler() {
    let shops = Shops::new("r_pooled").await;
    let Some(pooler) = PgBouncer::start(
        "transaction",
        "ignore_startup_parameters = extra_float_digits, options",
    ) else {
        return;
    };
    let url = pooler.url(shops.database.name());
    let settings = PoolSettings {
        database_pooler: Pooler::Transaction,
        ..PoolSettings::default()
    };
    let service = Service::new(database_with_roles(url.clone(), &settings));
    assert_isolated(&shops, &service).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = PgConnection::connect(&url).await.unwrap();
        let role: String = sqlx::raw_sql("BEGIN; SELECT current_user::text")
            .fetch_all(&mut client)
            .await
            .map(|rows| sqlx::Row::get(rows.last().unwrap(), 0))
            .unwrap();
        assert_eq!(role, "postgres");
        clients.push(client); // keeps its server connection
    }
}
