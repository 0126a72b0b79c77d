//! No row crosses, whatever the tenant is called and however a request ends.

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sqlx::{Connection, Executor};
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::tenancy::SchemaName;
use tenant_orders::users::UserDirectory;

use crate::support::fleet::{self, Lookup, Tenant};
use crate::support::{Answer, Gateway, Route, Service, TestDatabase, shared_cluster};

async fn hostile_database() -> TestDatabase {
    let database = TestDatabase::empty().await;
    database.execute(fleet::statements(Lookup::Plain)).await;
    database
}

/// Checks that this is all of the user's orders, in their tenant.
fn assert_is_page_of(answer: &Answer, tenant: Tenant, user: &str) {
    let mut page = answer.ok();
    assert!(
        page.as_object_mut()
            .unwrap()
            .remove("next_cursor")
            .unwrap()
            .is_null()
    );
    assert_eq!(page, tenant.page(user, 0, 100));
}

#[tokio::test]
async fn tenants_of_any_name_see_their_own_rows() {
    let service = Service::over(&hostile_database().await);
    for _ in 0..2 {
        for tenant in fleet::tenants() {
            for user in tenant.users() {
                let answer = service.get(&format!("/users/{user}/orders")).await;
                assert_is_page_of(&answer, tenant, &user);
            }
        }
    }
}

#[tokio::test]
async fn users_whose_organization_is_no_tenant_are_told_nothing() {
    let service = Service::over(&hostile_database().await);
    for user in fleet::users_without_tenant() {
        let answer = service.get(&format!("/users/{user}/orders")).await;
        answer.problem(503, "tenant-unavailable");
    }
}

#[tokio::test]
async fn requests_at_once_over_few_connections_see_their_own_rows() {
    let database = hostile_database().await;
    let settings = PoolSettings {
        database_max_connections: 3,
        acquire_timeout: Duration::from_secs(30),
        ..PoolSettings::default()
    };
    let service = Service::new(database.database_with(&settings));
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..5 {
        for tenant in fleet::tenants() {
            for user in tenant.users() {
                let service = service.clone();
                requests.spawn(async move {
                    let answer = service.get(&format!("/users/{user}/orders")).await;
                    assert_is_page_of(&answer, tenant, &user);
                });
            }
        }
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    assert_nothing_is_left_behind(&database).await;
}

#[tokio::test]
async fn a_request_that_is_cut_off_leaves_nothing_behind() {
    let database = hostile_database().await;
    let settings = PoolSettings {
        database_max_connections: 2,
        ..PoolSettings::default()
    };
    let pool = database.database_with(&settings);
    let locked = fleet::tenants().next().unwrap();
    let path = format!("/users/{}/orders", locked.users().next().unwrap());
    let lock = database.lock(&format!("{}.orders", locked.quoted())).await;
    let impatient = Service::with(pool.clone(), Duration::from_millis(50), 1024);
    for _ in 0..5 {
        impatient.get(&path).await.problem(504, "timeout");
    }
    // A client who hangs up does not cut the work off: it ends by itself.
    let service = Service::new(pool);
    let hung_up = tokio::time::timeout(Duration::from_millis(50), service.get(&path)).await;
    assert!(hung_up.is_err());
    lock.release().await;
    for tenant in fleet::tenants() {
        let user = tenant.users().next().unwrap();
        let answer = service.get(&format!("/users/{user}/orders")).await;
        assert_is_page_of(&answer, tenant, &user);
    }
    assert_nothing_is_left_behind(&database).await;
}

/// Behind a slow network every message of a request is under way for long enough to be cut off.
fn through_a_slow_network() -> Route {
    Route::To(shared_cluster().socket_folder(), Duration::from_millis(3))
}

/// The defect that a lease is there for. When sqlx has mended it, this test says so.
#[tokio::test]
async fn sqlx_takes_a_cancelled_begin_back_with_its_transaction_open() {
    let database = TestDatabase::empty().await;
    let gateway = Gateway::start(through_a_slow_network()).await;
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .connect(&gateway.url(database.name()))
        .await
        .unwrap();
    let read_only = async || -> String {
        let setting = sqlx::query_scalar("SHOW transaction_read_only");
        setting.fetch_one(&pool).await.unwrap()
    };
    assert_eq!(read_only().await, "off");
    while pool.num_idle() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let patience = Duration::from_millis(2);
    let begun = tokio::time::timeout(patience, pool.begin_with("BEGIN READ ONLY")).await;
    assert!(begun.is_err(), "it was not cancelled");
    assert_eq!(
        read_only().await,
        "on",
        "sqlx has mended what leases guard against"
    );
}

#[tokio::test]
async fn a_request_cut_off_at_any_message_poisons_no_connection() {
    let database = hostile_database().await;
    let gateway = Gateway::start(through_a_slow_network()).await;
    let settings = PoolSettings {
        database_max_connections: 1,
        ..PoolSettings::default()
    };
    let url = DatabaseUrl::from(gateway.url(database.name()));
    let pool = UserDirectory::open(&url, &settings).unwrap();
    let patient = Service::new(pool.clone());
    let (mut cut_off, mut finished) = (0, 0);
    for (tenant, patience) in fleet::tenants().zip(1..) {
        let user = tenant.users().next().unwrap();
        let path = format!("/users/{user}/orders");
        let impatient = Service::with(pool.clone(), Duration::from_millis(patience), 1024);
        let answer = impatient.get(&path).await;
        if answer.status == 200 {
            finished += 1;
            assert_is_page_of(&answer, tenant, &user);
        } else {
            cut_off += 1;
            answer.problem(504, "timeout");
            assert_nothing_is_left_behind(&database).await;
        }
        // The look-up itself fails on a connection that carries anything of the last request.
        assert_is_page_of(&patient.get(&path).await, tenant, &user);
    }
    assert!(cut_off > 10 && finished > 0, "{cut_off} and {finished}");
    assert_nothing_is_left_behind(&database).await;
}

const BACKENDS: &str = "SELECT COALESCE(string_agg(pid::text, ' '), '') FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'tenant-orders'";

/// The backend of a service that has one connection. Others, such as the one that the self-test takes, are
/// gone in a moment.
async fn backend(database: &TestDatabase) -> String {
    loop {
        let pids = database.text(BACKENDS).await;
        if pids.parse::<u32>().is_ok() {
            return pids;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn with_one_connection(database: &TestDatabase) -> Service {
    Service::new(database.database_with(&PoolSettings {
        database_max_connections: 1,
        ..PoolSettings::default()
    }))
}

#[tokio::test]
async fn work_that_ended_well_gives_its_connection_back() {
    let database = TestDatabase::demo().await;
    let service = with_one_connection(&database);
    service.get("/users/1/orders").await.ok();
    let before = backend(&database).await;
    for _ in 0..10 {
        service.get("/users/1/orders").await.ok();
        service.get("/users/2/orders?limit=1").await.ok();
        service
            .get("/users/none/orders")
            .await
            .problem(404, "user-not-found");
    }
    assert_eq!(backend(&database).await, before);
}

/// What a process of the server keeps of a tenant it keeps until it ends.
#[tokio::test]
async fn a_connection_made_before_there_were_many_tenants_is_renewed_once() {
    let database = TestDatabase::demo().await;
    let service = Service::new(database.database_with(&PoolSettings {
        database_max_connections: 1,
        database_statement_cache: 2, // for one tenant: two are many
        ..PoolSettings::default()
    }));
    let ask = async |user: u32| service.get(&format!("/users/{user}/orders")).await.ok();
    ask(1).await;
    let before = backend(&database).await;
    ask(1).await;
    assert_eq!(backend(&database).await, before);
    ask(2).await; // its connection is closed behind it
    ask(1).await;
    let after = backend(&database).await;
    assert_ne!(after, before);
    ask(2).await;
    ask(1).await;
    assert_eq!(backend(&database).await, after);
}

#[tokio::test]
async fn a_client_who_hangs_up_costs_no_connection() {
    let database = TestDatabase::demo().await;
    let service = with_one_connection(&database);
    service.get("/users/1/orders").await.ok();
    let before = backend(&database).await;
    for (path, table) in [("/users/1/orders", "client1.items"), ("/readyz", "public.users")] {
        let lock = database.lock(table).await;
        let client = tokio::spawn({
            let service = service.clone();
            async move { service.get(path).await }
        });
        database.service_is_blocked().await;
        client.abort();
        assert!(client.await.is_err());
        lock.release().await;
        service.get("/users/2/orders").await.ok();
        assert_eq!(backend(&database).await, before, "{path}");
    }
}

#[tokio::test]
async fn an_error_in_a_tenants_scope_closes_its_connection() {
    let database = TestDatabase::demo().await;
    database
        .execute("INSERT INTO public.users (id, organization_id) VALUES ('x', 'missing')")
        .await;
    let service = with_one_connection(&database);
    service.get("/users/1/orders").await.ok();
    let before = backend(&database).await;
    service
        .get("/users/x/orders")
        .await
        .problem(503, "tenant-unavailable");
    service.get("/users/1/orders").await.ok();
    assert_ne!(backend(&database).await, before);
}

/// What is remembered of a user is never an answer.
#[tokio::test]
async fn a_user_who_moves_is_followed_at_once() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "INSERT INTO client2.orders (id, user_id, item_id, quantity) VALUES ('moved', '1', '1', 1);
             CREATE SCHEMA gone; CREATE TABLE gone.items (LIKE client1.items); CREATE TABLE gone.orders (LIKE client1.orders);",
        )
        .await;
    let service = Service::over(&database);
    let seen = async |path: &str| {
        let page = service.get(path).await.ok();
        let organization = page["user"]["organization_id"].as_str().unwrap().to_owned();
        (organization, page["total_due"].as_str().unwrap().to_owned())
    };
    let move_to = async |organization: &str| {
        database
            .execute(format!(
                "UPDATE public.users SET organization_id = '{organization}' WHERE id = '1'"
            ))
            .await;
    };
    for path in ["/users/1/orders", "/users/1/orders?cursor=W251bGwsIiJd"] {
        for (organization, total_due) in [("client1", "60000.00"), ("client2", "1000.00"), ("gone", "0.00")] {
            move_to(organization).await;
            for _ in 0..2 {
                assert_eq!(seen(path).await, (organization.to_owned(), total_due.to_owned()));
            }
        }
    }
    // The tenant they were last seen in is gone altogether.
    database.execute("DROP SCHEMA gone CASCADE").await;
    service
        .get("/users/1/orders")
        .await
        .problem(503, "tenant-unavailable");
    move_to("client1").await;
    assert_eq!(seen("/users/1/orders").await.1, "60000.00");
    move_to("public").await;
    service
        .get("/users/1/orders")
        .await
        .problem(503, "tenant-unavailable");
    database
        .execute(
            "DELETE FROM client1.orders; DELETE FROM client2.orders; DELETE FROM public.users WHERE id = '1'",
        )
        .await;
    service
        .get("/users/1/orders")
        .await
        .problem(404, "user-not-found");
}

/// What a tenant defines in its own schema changes nothing about what our statements mean.
#[tokio::test]
async fn a_tenants_own_operators_and_functions_are_not_used() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "CREATE FUNCTION client1.yes(varchar, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE FUNCTION client1.yes(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE FUNCTION client1.much(numeric, bigint) RETURNS numeric LANGUAGE sql AS 'SELECT 666::numeric';
             CREATE OPERATOR client1.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = client1.yes);
             CREATE OPERATOR client1.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = client1.yes);
             CREATE OPERATOR client1.> (LEFTARG = varchar, RIGHTARG = text, FUNCTION = client1.yes);
             CREATE OPERATOR client1.* (LEFTARG = numeric, RIGHTARG = bigint, FUNCTION = client1.much);
             CREATE FUNCTION client1.sum(numeric) RETURNS numeric LANGUAGE sql AS 'SELECT 666::numeric';
             INSERT INTO public.users (id, organization_id) VALUES ('x', 'client1');
             INSERT INTO client1.orders (id, user_id, item_id, quantity) VALUES ('9', 'x', '1', 1);",
        )
        .await;
    let service = Service::over(&database);
    for path in ["/users/x/orders", "/users/x/orders?cursor=W251bGwsIjEiXQ"] {
        let page = service.get(path).await.ok();
        assert_eq!(page["orders"].as_array().unwrap().len(), 1);
        assert_eq!(page["orders"][0]["id"], "9");
        assert_eq!(page["total_due"], "5000.00");
    }
}

#[tokio::test]
async fn there_are_never_more_connections_than_the_pool_may_have() {
    let database = TestDatabase::demo().await;
    let settings = PoolSettings {
        database_max_connections: 2,
        acquire_timeout: Duration::from_millis(50),
        statement_timeout: Duration::from_secs(2),
        ..PoolSettings::default()
    };
    let impatient = Service::with(
        database.database_with(&settings),
        Duration::from_millis(100),
        1024,
    );
    while impatient.get("/readyz").await.status != 200 {}
    backend(&database).await;
    let lock = database.lock("client1.items").await;
    for _ in 0..8 {
        let answer = impatient.get("/users/1/orders").await;
        assert!([503, 504].contains(&answer.status.as_u16()));
        let backends = database.text(BACKENDS).await;
        assert!(backends.split(' ').count() <= 2, "{backends}");
    }
    lock.release().await;
}

/// Waits for what happens behind the answers, and looks for what must not stay.
async fn assert_nothing_is_left_behind(database: &TestDatabase) {
    let busy = "SELECT count(*)::text FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
    for _ in 0..200 {
        if database.text(busy).await == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a connection is still in a transaction");
}

#[tokio::test]
async fn any_text_is_a_name_that_postgresql_takes_as_it_is_or_is_refused() {
    let database = TestDatabase::empty().await;
    let mut connection = database.connect().await;
    // By hand, since proptest's own runner is not asynchronous.
    let mut runner = TestRunner::default();
    let names = prop_oneof![
        any::<String>(),
        "[\"'\\\\;$/*. A-Za-z-]{0,70}",
        "pg_[a-z]{0,5}",
        "[é\u{1F600}]{10,25}"
    ];
    for _ in 0..256 {
        let name = names.new_tree(&mut runner).unwrap().current();
        let Ok(schema) = SchemaName::parse(&name) else {
            continue;
        };
        let mut transaction = connection.begin().await.unwrap();
        let create = format!("CREATE SCHEMA {}", schema.quoted());
        transaction.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
        let path = format!("SET LOCAL search_path TO {}, pg_temp", schema.quoted());
        transaction.execute(sqlx::AssertSqlSafe(path)).await.unwrap();
        let current: String = sqlx::query_scalar("SELECT current_schema()::text")
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        assert_eq!(current, name);
        transaction.rollback().await.unwrap();
    }
}
