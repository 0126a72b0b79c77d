//! A database that stops, dies, fails over, goes dark, slow, full or locked: every answer stays within
//! the error table and its time, and all is well again when the database is, without a restart.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sqlx::Executor;
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use crate::support::{
    Cluster, Gateway, Route, Service, ServiceProcess, TestDatabase, client, shared_cluster,
};

const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(300);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// For what must come in the end; reached only where it does not.
const NEVER: Duration = Duration::from_mins(1);

fn service(url: String) -> Service {
    let settings = PoolSettings {
        database_max_connections: 3,
        acquire_timeout: ACQUIRE_TIMEOUT,
        statement_timeout: Duration::from_secs(1),
        ..PoolSettings::default()
    };
    let database = UserDirectory::open(&DatabaseUrl::from(url), &settings).unwrap();
    Service::with(database, REQUEST_TIMEOUT, 1024)
}

/// With more time than anything here takes.
fn patient_service(url: String) -> Service {
    let settings = PoolSettings {
        statement_timeout: NEVER,
        ..PoolSettings::default()
    };
    let database = UserDirectory::open(&DatabaseUrl::from(url), &settings).unwrap();
    Service::with(database, NEVER, 1024)
}

/// Asks again and again until `path` answers 200. On the way it may only say that the database is
/// unavailable or out of time.
async fn recovers(service: &Service, path: &str) {
    let deadline = Instant::now() + NEVER;
    loop {
        let answer = service.get(path).await;
        match answer.status.as_u16() {
            200 => return,
            504 => answer.problem(504, "timeout"),
            _ => answer.problem(503, "database-unavailable"),
        };
        assert!(Instant::now() < deadline, "{path} does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Many requests at once while the database is gone: each is told so.
async fn assert_unavailable(service: &Service) {
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..20 {
        let service = service.clone();
        requests.spawn(async move {
            let path = if number % 5 == 0 {
                "/readyz"
            } else {
                "/users/1/orders"
            };
            service.get(path).await.problem(503, "database-unavailable");
        });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    assert_eq!(service.get("/livez").await.status, 200);
}

async fn assert_well(service: &Service) {
    recovers(service, "/readyz").await;
    for _ in 0..10 {
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
        assert_eq!(service.get("/users/2/orders").await.ok()["total_due"], "10500.00");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_stopped_or_killed_is_served_again_when_it_is_back() {
    let cluster = Cluster::start().await;
    cluster.seed_demo("postgres").await;
    let service = service(cluster.url("postgres", "postgres"));
    for end in [Cluster::stop, Cluster::kill] {
        assert_well(&service).await;
        end(&cluster);
        assert_unavailable(&service).await;
        cluster.start_again();
        recovers(&service, "/users/1/orders").await;
    }
    assert_well(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_takes_over_is_served() {
    let primary = Cluster::start().await;
    primary.seed_demo("postgres").await;
    let standby = primary.standby();
    let gateway = Gateway::start(Route::To(primary.socket_folder(), Duration::ZERO)).await;
    let service = service(gateway.url("postgres"));
    assert_well(&service).await;

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
async fn a_host_that_vanishes_without_a_word_is_given_up_in_time() {
    let database = TestDatabase::demo().await;
    let server = Route::To(shared_cluster().socket_folder(), Duration::ZERO);
    let gateway = Gateway::start(server.clone()).await;
    let service = service(gateway.url(database.name()));
    assert_well(&service).await;
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
    assert_well(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_is_waited_for() {
    let database = TestDatabase::demo().await;
    let gateway = Gateway::start(Route::To(
        shared_cluster().socket_folder(),
        Duration::from_millis(20),
    ))
    .await;
    let settings = PoolSettings::default();
    let pool = UserDirectory::open(&DatabaseUrl::from(gateway.url(database.name())), &settings).unwrap();
    assert_well(&Service::new(pool)).await;
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections_is_unavailable_until_it_does() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "CREATE ROLE crowded LOGIN CONNECTION LIMIT 0; GRANT USAGE ON SCHEMA client1, client2 TO crowded;
             GRANT SELECT ON ALL TABLES IN SCHEMA public, client1, client2 TO crowded;",
        )
        .await;
    let service = service(database.url_as("crowded"));
    assert_unavailable(&service).await;
    database.execute("ALTER ROLE crowded CONNECTION LIMIT 10").await;
    assert_well(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_backend_is_terminated_is_done_anew() {
    let database = TestDatabase::demo().await;
    let service = patient_service(database.url());
    let lock = database.lock("client1.items").await;
    let request = tokio::spawn(async move { service.get("/users/1/orders").await });
    database.service_is_blocked().await;
    let blocked = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database()
                   AND wait_event_type = 'Lock' AND application_name = 'tenant-orders'";
    let backend = database.text(blocked).await;
    database
        .execute(format!("SELECT pg_terminate_backend({backend})"))
        .await;
    let left = format!("SELECT count(*)::text FROM pg_stat_activity WHERE pid = {backend}");
    while database.text(&left).await != "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lock.release().await;
    assert_eq!(request.await.unwrap().ok()["total_due"], "60000.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_connection_breaks_is_done_anew() {
    let database = TestDatabase::demo().await;
    let server = |delay| Route::To(shared_cluster().socket_folder(), delay);
    let gateway = Gateway::start(server(Duration::ZERO)).await;
    let service = patient_service(gateway.url(database.name()));
    let lock = database.lock("client1.items").await;
    let request = tokio::spawn(async move { service.get("/users/1/orders").await });
    database.service_is_blocked().await;
    // Cuts the connections of the route before.
    gateway.set(server(Duration::from_millis(1)));
    // The first backend does not know that nobody waits for it.
    while database.blocked_backends().await != 2 {
        assert!(!request.is_finished(), "{}", request.await.unwrap().text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lock.release().await;
    assert_eq!(request.await.unwrap().ok()["total_due"], "60000.00");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_it_rested_costs_no_answer() {
    let database = TestDatabase::demo().await;
    if database.server_version().await < 14 {
        return; // idle_session_timeout does not exist
    }
    database
        .execute(format!(
            "ALTER DATABASE {} SET idle_session_timeout = '200ms'",
            database.name()
        ))
        .await;
    let service = patient_service(database.url());
    for rest in [0, 300, 400] {
        tokio::time::sleep(Duration::from_millis(rest)).await; // not long enough to be doubted
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_in_transaction_timeout_ends_no_request() {
    let database = TestDatabase::demo().await;
    let slow = Route::To(shared_cluster().socket_folder(), Duration::from_millis(30));
    let gateway = Gateway::start(slow).await;
    let service = patient_service(gateway.url(database.name()));
    assert_well(&service).await;
    database
        .execute(format!(
            "ALTER DATABASE {} SET idle_in_transaction_session_timeout = '10ms'",
            database.name()
        ))
        .await;
    database
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'tenant-orders' AND datname = current_database()",
        )
        .await;
    // No transaction waits for a message, even if each message takes longer than the timeout.
    assert_well(&service).await;
}

/// What a full disk means to a service that only reads: no room for a sort or a hash.
#[tokio::test]
async fn a_server_without_room_for_temporary_files_is_unavailable() {
    let database = TestDatabase::demo().await;
    database
        .execute(
            "INSERT INTO client1.items SELECT 'i' || n, NULL, repeat('x', 500), 1 FROM generate_series(1, 20000) n;
             INSERT INTO client1.orders SELECT 'o' || n, NULL, 1, '1', 'i' || n FROM generate_series(1, 20000) n;
             ANALYZE client1.items; ANALYZE client1.orders;
             CREATE ROLE cramped LOGIN; GRANT USAGE ON SCHEMA client1, client2 TO cramped;
             GRANT SELECT ON ALL TABLES IN SCHEMA public, client1, client2 TO cramped;
             ALTER ROLE cramped SET work_mem = '64kB'; ALTER ROLE cramped SET temp_file_limit = '64kB';",
        )
        .await;
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
async fn a_service_that_started_before_its_database_serves_when_it_comes() {
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
