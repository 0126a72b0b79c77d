//! The pool's connections: opened, lost, refused, and the servers that they lead to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::{Cluster, CountingProxy, Service, TestDatabase, shared_cluster, wait_until};

async fn get_all(service: &Service, path: &'static str, requests: usize) -> Vec<u16> {
    let mut responses = JoinSet::new();
    for _ in 0..requests {
        let service = service.clone();
        responses.spawn(async move { service.get(path).await.status.as_u16() });
    }
    responses.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_after_all_connections_were_cut() {
    let database = TestDatabase::demo().await;
    let service = Service::new(database.database_with(&PoolSettings {
        database_max_connections: 4,
        ..PoolSettings::default()
    }));
    for _ in 0..3 {
        assert_eq!(get_all(&service, "/users/1/orders", 20).await, [200; 20]);
        database
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
    }
    assert_eq!(get_all(&service, "/users/1/orders", 20).await, [200; 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_hangs_up_is_asked_a_few_times_in_total() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&attempts);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let url = DatabaseUrl::from(format!(
        "postgres://postgres@127.0.0.1:{port}/shop?sslmode=disable"
    ));
    let settings = PoolSettings {
        acquire_timeout: Duration::from_millis(500),
        ..PoolSettings::default()
    };
    let service = Service::new(UserDirectory::open(&url, &settings).unwrap());
    for _ in 0..4 {
        assert_eq!(get_all(&service, "/users/1/orders", 6).await, [503; 6]);
    }
    // In 2 seconds: at 50 ms, then twice the delay, at most 1 s.
    let attempts = attempts.load(Ordering::SeqCst);
    assert!(attempts <= 12, "{attempts} attempts for 24 requests");
}

#[tokio::test]
async fn idle_connections_are_closed_without_traffic() {
    let database = TestDatabase::demo().await;
    let users = database.database();
    let service = Service::new(users.clone());
    service.get("/users/1/orders").await.ok();
    let backends = "SELECT count(*)::text FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'tenant-orders'";
    wait_until("one backend is idle", async || {
        database.text(backends).await == "1"
    })
    .await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(70)).await;
    for _ in 0..1000 {
        if users.database().pool_status().open == 0 {
            break;
        }
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(5));
    }
    tokio::time::resume();
    assert_eq!(users.database().pool_status().open, 0);
    wait_until("no backend is left", async || {
        database.text(backends).await == "0"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_tried_in_order() {
    let database = TestDatabase::demo().await;
    let socket = shared_cluster().socket_folder();
    let proxy = CountingProxy::start("[::1]:0", &socket.join(".s.PGSQL.5432")).await;
    let ipv6 = proxy.url(database.name());
    let in_brackets = ipv6.split('@').nth(1).unwrap().split('/').next().unwrap();
    let name = database.name();
    for url in [
        ipv6.clone(),
        format!("postgres://postgres@127.0.0.1:1,{in_brackets}/{name}?sslmode=disable"),
        format!("postgres://postgres:ignored@/{name}?host={}", socket.display()),
        format!(
            "postgres://postgres@/{name}?host=127.0.0.1,{}&port=1,5432",
            socket.display()
        ),
    ] {
        let users = UserDirectory::open(&DatabaseUrl::from(url.clone()), &PoolSettings::default());
        let service = Service::new(users.unwrap_or_else(|error| panic!("{url}: {error}")));
        assert_eq!(
            service.get("/users/1/orders").await.ok()["total_due"],
            "60000.00",
            "{url}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_is_found_again_after_a_failover() {
    let primary = Cluster::start().await;
    primary.seed_demo("postgres").await;
    let standby = primary.standby();
    let url = |attributes: &str| {
        DatabaseUrl::from(format!(
            "postgres://postgres@/postgres?host={},{}&target_session_attrs={attributes}",
            standby.socket_folder().display(),
            primary.socket_folder().display()
        ))
    };
    let open = |attributes: &str| UserDirectory::open(&url(attributes), &PoolSettings::default()).unwrap();
    let (read_write, standby_first) = (open("read-write"), open("prefer-standby"));
    for users in [&read_write, &standby_first] {
        let service = Service::new(users.clone());
        assert_eq!(service.get("/users/1/orders").await.ok()["total_due"], "60000.00");
    }
    let backends = async |cluster: &Cluster| -> i64 {
        let mut connection = cluster.connect("postgres").await;
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tenant-orders'")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    };
    assert!(backends(&primary).await > 0);
    assert!(backends(&standby).await > 0);
    primary.kill();
    let service = Service::new(read_write);
    service
        .get("/users/1/orders")
        .await
        .problem(503, "database-unavailable");
    let mut connection = standby.connect("postgres").await;
    sqlx::query("SELECT pg_promote()")
        .execute(&mut connection)
        .await
        .unwrap();
    wait_until("the new primary serves", async || {
        service.get("/users/1/orders").await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn password_file_is_read_for_each_connection() {
    let cluster = Cluster::start().await;
    cluster.seed_demo("postgres").await;
    let mut owner = cluster.connect("postgres").await;
    let execute = async |owner: &mut sqlx::PgConnection, sql: &'static str| {
        sqlx::raw_sql(sql).execute(owner).await.unwrap();
    };
    let encryption = "SET password_encryption TO 'scram-sha-256'"; // the default since version 14
    execute(&mut owner, encryption).await;
    execute(&mut owner, "CREATE ROLE rotated LOGIN SUPERUSER PASSWORD 'first'").await;
    let rules = cluster.socket_folder().join("pg_hba.conf");
    std::fs::write(&rules, "local all postgres trust\nlocal all all scram-sha-256\n").unwrap();
    execute(&mut owner, "SELECT pg_reload_conf()").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    let url = DatabaseUrl::from(cluster.url("postgres", "rotated")).with_password_file(file.path());
    let service = Service::new(UserDirectory::open(&url, &PoolSettings::default()).unwrap());
    service.get("/users/1/orders").await.ok();
    execute(&mut owner, "ALTER ROLE rotated PASSWORD 'second'").await;
    std::fs::write(file.path(), "second").unwrap();
    execute(
        &mut owner,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'",
    )
    .await;
    service.get("/users/1/orders").await.ok();
}
