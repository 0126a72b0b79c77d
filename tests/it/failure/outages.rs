//! A database that stops, fails over, is unreachable, slow or full.

use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::Executor;
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use super::{assert_serves, assert_unavailable, recovers, service};
use crate::support::{
    Cluster, Gateway, Route, Service, ServiceProcess, TestDatabase, client, shared_cluster,
};

#[tokio::test(flavor = "multi_thread")]
async fn service_recovers_after_the_database_stops_or_is_killed() {
    let cluster = Cluster::start().await;
    cluster.seed_demo("postgres").await;
    let service = service(cluster.url("postgres", "postgres"));
    for end in [Cluster::stop, Cluster::kill] {
        assert_serves(&service).await;
        end(&cluster);
        assert_unavailable(&service).await;
        cluster.start_again();
        recovers(&service, "/users/1/orders").await;
    }
    assert_serves(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_standby_is_served_after_failover() {
    let primary = Cluster::start().await;
    primary.seed_demo("postgres").await;
    let standby = primary.standby();
    let gateway = Gateway::start(Route::To(primary.socket_folder(), Duration::ZERO)).await;
    let service = service(gateway.url("postgres"));
    assert_serves(&service).await;

    primary.kill();
    gateway.set(Route::Nowhere);
    assert_unavailable(&service).await;
    let mut connection = standby.connect("postgres").await;
    connection.execute("SELECT pg_promote()").await.unwrap();
    connection
        .execute("UPDATE client1.items SET price = price + 1")
        .await
        .unwrap();
    gateway.set(Route::To(standby.socket_folder(), Duration::ZERO));
    recovers(&service, "/users/1/orders").await;
    assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60015.00");
    assert_eq!(service.get("/readyz").await.status, 200);
    standby.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_host_gets_503_or_504_until_it_returns() {
    let database = TestDatabase::demo().await;
    let server = Route::To(shared_cluster().socket_folder(), Duration::ZERO);
    let gateway = Gateway::start(server.clone()).await;
    let service = service(gateway.url(database.name()));
    assert_serves(&service).await;
    gateway.set(Route::Dark);
    for _ in 0..5 {
        for path in ["/users/1/orders", "/readyz"] {
            let answer = service.get(path).await;
            match answer.status.as_u16() {
                504 => answer.problem(504, "timeout"),
                _ => answer.problem(503, "database-unavailable"),
            };
        }
    }
    gateway.set(server);
    recovers(&service, "/users/1/orders").await;
    assert_serves(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_network_fails_no_request() {
    let database = TestDatabase::demo().await;
    let gateway = Gateway::start(Route::To(
        shared_cluster().socket_folder(),
        Duration::from_millis(20),
    ))
    .await;
    let settings = PoolSettings::default();
    let pool = UserDirectory::open(&DatabaseUrl::from(gateway.url(database.name())), &settings).unwrap();
    assert_serves(&Service::new(pool)).await;
}

#[tokio::test]
async fn exhausted_connection_limit_gets_503_until_it_is_raised() {
    let database = TestDatabase::demo_with(
        "CREATE ROLE crowded LOGIN CONNECTION LIMIT 0; GRANT USAGE ON SCHEMA client1, client2 TO crowded;
         GRANT SELECT ON ALL TABLES IN SCHEMA public, client1, client2 TO crowded;",
    )
    .await;
    let service = service(database.url_as("crowded"));
    assert_unavailable(&service).await;
    database.execute("ALTER ROLE crowded CONNECTION LIMIT 10").await;
    assert_serves(&service).await;
}

/// A full disk fails the sorts and hashes of a service that only reads.
#[tokio::test]
async fn exceeded_temp_file_limit_gets_503_until_it_is_raised() {
    let database = TestDatabase::demo_with(
        "INSERT INTO client1.items SELECT 'i' || n, NULL, repeat('x', 500), 1 FROM generate_series(1, 20000) n;
         INSERT INTO client1.orders SELECT 'o' || n, NULL, 1, '1', 'i' || n FROM generate_series(1, 20000) n;
         ANALYZE client1.items; ANALYZE client1.orders;
         CREATE ROLE cramped LOGIN; GRANT USAGE ON SCHEMA client1, client2 TO cramped;
         GRANT SELECT ON ALL TABLES IN SCHEMA public, client1, client2 TO cramped;
         ALTER ROLE cramped SET work_mem = '64kB'; ALTER ROLE cramped SET temp_file_limit = '64kB';",
    ).await;
    let service = service(database.url_as("cramped"));
    service
        .get("/users/1/orders")
        .await
        .problem(503, "database-unavailable");
    assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
    database.execute("ALTER ROLE cramped RESET temp_file_limit").await;
    database
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cramped'")
        .await;
    recovers(&service, "/users/1/orders").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn service_started_before_its_database_serves_once_it_is_up() {
    let cluster = Cluster::start().await;
    cluster.seed_demo("postgres").await;
    cluster.stop();
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", cluster.url("postgres", "postgres"))
            .env("ACQUIRE_TIMEOUT", "100ms"),
    );
    let url = service.url();
    for _ in 0..2 {
        service.line_with("waiting for the database");
    }
    let answer = client::get(format!("{url}/users/1/orders")).await.unwrap();
    answer.problem(503, "database-unavailable");
    cluster.start_again();
    service.line_with("the database is ready");
    let page = client::get(format!("{url}/users/1/orders")).await.unwrap().ok();
    assert_eq!(page["total_due"], "60000.00");
    assert_eq!(service.stop(Signal::SIGTERM).code(), Some(0));
}
