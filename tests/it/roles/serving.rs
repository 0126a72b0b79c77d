//! Serving under tenants' roles.

use nix::sys::signal::Signal;
use sqlx::{Connection, Executor, PgConnection};
use tenant_orders::config::{PoolSettings, Pooler};

use super::{Shops, database_with_roles, empty_database};
use crate::support::{PgBouncer, Service, ServiceProcess, TestDatabase, client};

/// Ways in which a tenant's `orders` may lead into another tenant's tables: who made them need not have
/// meant it.
fn ways_into_the_other(shops: &Shops) -> [String; 4] {
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

/// Checks that the database does not let the first tenant read the other one's tables, whatever leads there.
async fn assert_the_other_is_out_of_reach(shops: &Shops, service: &Service) {
    service.get(&shops.path()).await.ok();
    for way in ways_into_the_other(shops) {
        shops.database.execute(way.clone()).await;
        let answer = service.get(&shops.path()).await;
        let body = answer.problem(503, "tenant-unavailable").to_string();
        assert!(!body.contains(&format!("of {}", shops.other)), "{way}: {body}");
    }
    let theirs = service.get(&format!("/users/{}/orders", shops.other)).await.ok();
    assert_eq!(theirs["total_due"], "1554.00");
}

#[tokio::test]
async fn what_leads_from_a_tenant_into_another_is_refused_by_the_database_itself() {
    let shops = Shops::make("r_refused").await;
    assert_the_other_is_out_of_reach(&shops, &shops.service()).await;
    // Without roles, the last of these ways does lead there.
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
async fn answers_are_the_same_with_and_without_roles() {
    let shops = Shops::make("r_same").await;
    let (with, without) = (shops.service(), Service::over(&shops.database));
    for path in [
        shops.path(),
        format!("/users/{}/orders?limit=1", shops.other),
        "/users/nobody/orders".to_owned(),
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
async fn by_itself_the_services_role_reads_the_users_and_nothing_of_any_tenant() {
    let shops = Shops::make("r_login").await;
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
        "SELECT id, name, organization_id FROM public.users".to_owned(),
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
        format!("SELECT * FROM {one}._sqlx_migrations"),
        format!("INSERT INTO {one}.items VALUES ('x')"),
        "SELECT password FROM public.users".to_owned(),
    ] {
        assert!(is_refused(refused).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_role_cannot_be_taken_on_is_unavailable_and_the_log_says_why() {
    let shops = Shops::make("r_missing").await;
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
async fn the_grants_of_the_docs_are_enough_for_a_database_that_exists_already() {
    let database = TestDatabase::existing().await;
    database
        .execute(
            "ALTER SCHEMA client1 RENAME TO r_readme1; ALTER SCHEMA client2 RENAME TO r_readme2;
             UPDATE public.users SET organization_id = replace(organization_id, 'client', 'r_readme')",
        )
        .await;
    let docs = include_str!("../../../docs/security.md").replace("client1", "r_readme1");
    let block = docs.split("```sql\n").nth(1).unwrap();
    let (grants, _) = block.split_once("```").unwrap();
    // All tests' databases have this role in common.
    empty_database().await;
    let grants = grants.replace("CREATE ROLE \"tenant-orders users\";", "");
    let (_, of_a_tenant) = grants.split_once("\n\n").unwrap();
    database
        .execute(grants.clone() + &of_a_tenant.replace("r_readme1", "r_readme2"))
        .await;
    let url = database.url_as("orders_service");
    let service = Service::new(database_with_roles(url, &PoolSettings::default()));
    for (user, total_due) in [("1", "60000.00"), ("2", "10500.00")] {
        let page = service.get(&format!("/users/{user}/orders")).await.ok();
        assert_eq!(page["total_due"], total_due);
    }
}

/// A user whose old tenant is gone, with its role, is found in the new one.
#[tokio::test]
async fn a_user_who_left_a_tenant_whose_role_is_gone_is_served() {
    let shops = Shops::make("r_moved").await;
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
async fn behind_a_transaction_pooler_a_tenants_role_ends_with_its_transaction() {
    let shops = Shops::make("r_pooled").await;
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
    assert_the_other_is_out_of_reach(&shops, &service).await;
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let mut stranger = PgConnection::connect(&url).await.unwrap();
        let role: String = sqlx::raw_sql("BEGIN; SELECT current_user::text")
            .fetch_all(&mut stranger)
            .await
            .map(|rows| sqlx::Row::get(rows.last().unwrap(), 0))
            .unwrap();
        assert_eq!(role, "postgres");
        strangers.push(stranger); // keeps its server connection
    }
}
