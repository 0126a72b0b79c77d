//! A request is one message to PostgreSQL, and what that message reads.

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tenant_orders::config::{DatabaseUrl, PoolSettings, Pooler};
use tenant_orders::orders::{OrderRows, OrdersError, PageRequest, list_for_user};
use tenant_orders::tenancy::RequestTimings;
use tenant_orders::users::{UserDirectory, UserError};

use crate::support::{CountingProxy, PgBouncer, Service, TestDatabase, shared_cluster};

const FIRST_PAGE: PageRequest = PageRequest {
    limit: 100,
    after: None,
};

/// The orders of `user`, for a caller that may read `organization` only, if it is given.
async fn list(
    users: &UserDirectory,
    user: &str,
    organization: Option<&str>,
) -> Result<OrderRows, OrdersError> {
    list_for_user(
        users,
        &RequestTimings::disabled(),
        user,
        organization,
        &FIRST_PAGE,
    )
    .await
}

fn total_due_of(rows: &OrderRows) -> String {
    rows.page(FIRST_PAGE.limit).unwrap().total_due.to_string()
}

async fn total_due(users: &UserDirectory, user: &str) -> String {
    total_due_of(&list(users, user, None).await.unwrap())
}

async fn count_messages(socket: PathBuf, pooler: Pooler) {
    let database = TestDatabase::demo().await;
    let proxy = CountingProxy::start("127.0.0.1:0", &socket).await;
    let settings = PoolSettings {
        database_max_connections: 1,
        database_pooler: pooler,
        ..PoolSettings::default()
    };
    let url = DatabaseUrl::from(proxy.url(database.name()));
    let users = UserDirectory::open(&url, &settings).unwrap();
    users_are_ready(&users, &proxy).await;
    for (user, organization, expected) in [
        ("1", None, 2),            // the tenant is looked up first
        ("1", None, 1),            // the tenant is cached
        ("2", Some("client2"), 1), // the token names the tenant
        ("nobody", None, 1),
        ("1", Some("client2"), 1), // the membership refuses
    ] {
        let _ = list(&users, user, organization).await;
        assert_eq!(proxy.take_requests(), expected, "{user} {organization:?}");
    }
    // A page that is not the last one needs the total too.
    let page = PageRequest {
        limit: 1,
        ..FIRST_PAGE
    };
    let timings = RequestTimings::disabled();
    list_for_user(&users, &timings, "1", None, &page).await.unwrap();
    assert_eq!(proxy.take_requests(), 2);
}

/// Waits for the isolation check. Its messages do not count.
async fn users_are_ready(users: &UserDirectory, proxy: &CountingProxy) {
    list(users, "nobody", None).await.unwrap_err();
    proxy.take_requests();
}

#[tokio::test]
async fn request_takes_one_message_if_the_tenant_is_known() {
    let socket = shared_cluster().socket_folder().join(".s.PGSQL.5432");
    count_messages(socket, Pooler::None).await;
}

#[tokio::test]
async fn request_takes_one_message_through_pgbouncer() {
    let Some(pooler) = PgBouncer::start("transaction", "") else {
        return;
    };
    count_messages(pooler.socket(), Pooler::Transaction).await;
}

#[tokio::test]
async fn request_that_waits_for_a_table_rewrite_reads_all_rows() {
    let database = TestDatabase::existing().await;
    let users = database.database();
    for rewrite in [
        "client1.orders ALTER quantity TYPE bigint",
        "client1.items ALTER price TYPE numeric",
        "client1.orders ALTER quantity TYPE numeric",
    ] {
        // The statement is prepared before the rewrite.
        assert_eq!(total_due(&users, "1").await, "60000.00");
        let mut migration = database.connect().await;
        let statement = format!("BEGIN; ALTER TABLE {rewrite}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut migration)
            .await
            .unwrap();
        let request = tokio::spawn({
            let users = users.clone();
            async move { total_due(&users, "1").await }
        });
        database.service_is_blocked().await;
        sqlx::raw_sql("COMMIT").execute(&mut migration).await.unwrap();
        assert_eq!(request.await.unwrap(), "60000.00", "{rewrite}");
    }
}

#[tokio::test]
async fn relations_that_cannot_be_locked_are_served() {
    let database = TestDatabase::demo_with(
        "CREATE SCHEMA viewed;
         CREATE MATERIALIZED VIEW viewed.items AS SELECT * FROM client1.items;
         CREATE VIEW viewed.orders AS SELECT id, creation_timestamp, quantity, 'viewer'::varchar AS user_id, item_id
             FROM client1.orders;
         CREATE SCHEMA remote;
         CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
         CREATE FOREIGN TABLE remote.items (id varchar, description varchar, price numeric)
             SERVER files OPTIONS (program 'echo 1,Tesla,2.50', format 'csv');
         CREATE TABLE remote.orders (LIKE client1.orders INCLUDING ALL);
         INSERT INTO remote.orders (id, quantity, user_id, item_id) VALUES ('1', 2, 'remote', '1');
         INSERT INTO public.users (id, organization_id) VALUES ('viewer', 'viewed'), ('remote', 'remote');
         CREATE ROLE one_message_columns LOGIN;
         GRANT SELECT (id, name, organization_id) ON public.users TO one_message_columns;
         GRANT USAGE ON SCHEMA client1 TO one_message_columns;
         GRANT SELECT (id, description, price) ON client1.items TO one_message_columns;
         GRANT SELECT (id, creation_timestamp, quantity, user_id, item_id) ON client1.orders TO one_message_columns",
    ).await;
    let users = database.database();
    let columns_only = DatabaseUrl::from(database.url_as("one_message_columns"));
    let columns_only = UserDirectory::open(&columns_only, &PoolSettings::default()).unwrap();
    for _ in 0..3 {
        assert_eq!(total_due(&users, "viewer").await, "60000.00");
        assert_eq!(total_due(&users, "remote").await, "5.00");
        assert_eq!(total_due(&columns_only, "1").await, "60000.00");
    }
}

#[tokio::test]
async fn any_id_reaches_postgresql_unchanged() {
    for setting in ["on", "off"] {
        let database = TestDatabase::demo().await;
        let name = database.name();
        database
            .execute(format!(
                "ALTER DATABASE {name} SET standard_conforming_strings = {setting};
                 ALTER DATABASE {name} SET backslash_quote = on"
            ))
            .await;
        let users = database.database();
        let mut connection = database.connect().await;
        let mut runner = TestRunner::deterministic();
        let strategy = prop_oneof!["[^\0]{1,40}", r#"[\\'"$;x00-9a-f-]{1,40}"#];
        for _ in 0..100 {
            let id = strategy.new_tree(&mut runner).unwrap().current();
            sqlx::query(
                "INSERT INTO public.users (id, organization_id) VALUES ($1, 'client1') ON CONFLICT DO NOTHING",
            )
            .bind(&id)
            .execute(&mut connection)
            .await
            .unwrap();
            // Once while the tenant is unknown, once while it is cached.
            for _ in 0..2 {
                let rows = list(&users, &id, None).await.unwrap();
                let page = rows.page(FIRST_PAGE.limit).unwrap();
                assert_eq!((page.user.id.as_str(), page.orders.len()), (id.as_str(), 0));
            }
        }
    }
}

#[tokio::test]
async fn tenants_statements_are_replaced_if_there_are_too_many() {
    let database = TestDatabase::demo().await;
    let users = database.database_with(&PoolSettings {
        database_max_connections: 1,
        database_statement_cache: 1,
        ..PoolSettings::default()
    });
    for _ in 0..5 {
        assert_eq!(total_due(&users, "1").await, "60000.00");
        assert_eq!(total_due(&users, "2").await, "10500.00");
    }
    let status = users.database().pool_status();
    assert_eq!((status.open, status.idle), (1, 1));
}

/// `public.users` is a view of memberships: user 1 has two roles in one organization, user 2 is in two.
#[tokio::test]
async fn user_of_two_organizations_is_read_in_that_of_the_token_only() {
    let database = TestDatabase::demo_with(
        "ALTER TABLE public.users RENAME TO accounts;
         CREATE TABLE public.memberships (account_id varchar, organization_id varchar, role varchar);
         INSERT INTO public.memberships VALUES ('1', 'client1', 'owner'), ('1', 'client1', 'buyer'),
             ('2', 'client2', 'buyer'), ('2', 'client1', 'buyer');
         CREATE VIEW public.users AS SELECT a.id, a.name, m.organization_id
             FROM public.accounts a JOIN public.memberships m ON m.account_id = a.id",
    )
    .await;
    let users = database.database();
    for limit in [1, 100] {
        let page = PageRequest { limit, after: None };
        let timings = RequestTimings::disabled();
        let rows = list_for_user(&users, &timings, "1", None, &page).await.unwrap();
        assert_eq!(rows.page(limit).unwrap().total_due.to_string(), "60000.00");
    }
    for _ in 0..2 {
        let in_client2 = list(&users, "2", Some("client2")).await.unwrap();
        assert_eq!(total_due_of(&in_client2), "10500.00");
        let in_client1 = list(&users, "2", Some("client1")).await.unwrap();
        assert_eq!(in_client1.page(1).unwrap().orders, []);
        assert!(matches!(
            list(&users, "2", None).await,
            Err(OrdersError::User(UserError::SeveralOrganizations))
        ));
    }
    let service = Service::new(users);
    service
        .get("/users/2/orders")
        .await
        .problem(500, "tenant-data-invalid");
}
