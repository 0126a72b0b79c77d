//! Test databases on the Citus cluster that `CITUS_URL` names.

use std::fmt::Write;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, Row};
use tenant_orders::admin::AdminDatabase;
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use tokio::sync::Mutex;

use crate::support::{Service, ServiceProcess, finished};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Serializes the registration of nodes: Citus creates roles on the nodes, and fails if it does so concurrently.
static REGISTRATION: Mutex<()> = Mutex::const_new(());

/// A database of one test, on the coordinator and all workers. It remains if the test fails.
pub(super) struct CitusDatabase {
    name: String,
    coordinator: PgConnectOptions,
    pub(super) workers: Vec<Worker>,
}

/// A worker node.
pub(super) struct Worker {
    options: PgConnectOptions,
    /// Citus's name of the node, `host:port`.
    pub(super) name: String,
}

/// The URL of a node, where TLS is not tested.
fn url(options: &PgConnectOptions) -> String {
    format!(
        "postgres://{}@{}:{}/{}?sslmode=disable",
        options.get_username(),
        options.get_host(),
        options.get_port(),
        options.get_database().unwrap_or_default()
    )
}

impl CitusDatabase {
    /// Creates an empty database. Returns `None`, and prints that the test is skipped, if `CITUS_URL` is not set.
    pub(super) async fn empty() -> Option<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "CITUS_URL is a setting of the tests, not of the service"
        )]
        let Ok(url) = std::env::var("CITUS_URL") else {
            println!("skipped: CITUS_URL is not set");
            return None;
        };
        let given = PgConnectOptions::from_str(&url)
            .unwrap()
            .disable_statement_logging();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tenant_orders_test_{}_{number}", std::process::id());
        let mut connection = given.connect().await.unwrap();
        let nodes = connection
            .fetch_all("SELECT nodename, nodeport, groupid = 0 FROM pg_dist_node WHERE noderole = 'primary' ORDER BY 1, 2")
            .await
            .unwrap();
        connection.close().await.unwrap();
        let mut register = String::new();
        let mut workers = Vec::new();
        for node in &nodes {
            let (host, port): (String, i32) = (node.get(0), node.get(1));
            if node.get(2) {
                register.insert_str(
                    0,
                    &format!("SELECT citus_set_coordinator_host('{host}', {port});"),
                );
            } else {
                write!(register, "SELECT citus_add_node('{host}', {port});").unwrap();
                workers.push(Worker {
                    options: given.clone().host(&host).port(port.try_into().unwrap()),
                    name: format!("{host}:{port}"),
                });
            }
        }
        assert!(workers.len() > 1, "the cluster has fewer than two workers");
        for options in workers.iter().map(|worker| &worker.options).chain([&given]) {
            execute(options, "SET citus.enable_create_database_propagation TO off").await;
            execute(options, &format!("CREATE DATABASE {name}")).await;
            execute(&options.clone().database(&name), "CREATE EXTENSION citus").await;
        }
        let database = Self {
            coordinator: given.database(&name),
            workers: workers
                .into_iter()
                .map(|worker| Worker {
                    options: worker.options.database(&name),
                    ..worker
                })
                .collect(),
            name,
        };
        let registering = REGISTRATION.lock().await;
        database.execute(&register).await;
        drop(registering);
        Some(database)
    }

    /// Creates a database with the demo data.
    pub(super) async fn demo() -> Option<Self> {
        let database = Self::empty().await?;
        tenant_orders::seed::demo(&database.admin_database())
            .await
            .unwrap();
        Some(database)
    }

    /// Returns the coordinator's URL, as superuser.
    pub(super) fn url(&self) -> String {
        url(&self.coordinator)
    }

    /// Returns the URLs of the coordinator and each worker.
    pub(super) fn urls(&self) -> Vec<String> {
        let workers = self.workers.iter().map(|worker| url(&worker.options));
        [self.url()].into_iter().chain(workers).collect()
    }

    pub(super) fn admin_database(&self) -> AdminDatabase {
        AdminDatabase::new(&DatabaseUrl::from(self.url())).unwrap()
    }

    /// Returns an in-process service over this database.
    pub(super) fn service(&self) -> Service {
        service_over(self.url())
    }

    /// Executes statements as superuser at the coordinator.
    pub(super) async fn execute(&self, statements: &str) {
        execute(&self.coordinator, statements).await;
    }

    /// Returns the text in the only row and column of a query.
    pub(super) async fn text(&self, statement: &str) -> String {
        let mut connection = self.coordinator.connect().await.unwrap();
        let text = sqlx::query_scalar(sqlx::AssertSqlSafe(statement.to_owned()))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        text
    }

    /// Runs a command. Returns the exit status, standard output and standard error.
    pub(super) fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        finished(
            ServiceProcess::command()
                .args(arguments)
                .env("DATABASE_URL", self.url()),
        )
    }

    /// Runs a command that must succeed. Returns standard output.
    pub(super) fn run_ok(&self, arguments: &[&str]) -> String {
        let (status, output, errors) = self.run(arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {output}{errors}");
        output
    }

    /// Runs a command that must fail with `reason`.
    pub(super) fn assert_refused(&self, arguments: &[&str], reason: &str) {
        let (status, output, errors) = self.run(arguments);
        assert_eq!(status, Some(1), "{arguments:?}: {output}{errors}");
        assert!(errors.contains(reason), "{arguments:?}: {errors}");
    }

    /// Returns the node of a tenant, or `None` if it is not distributed.
    pub(super) fn node(&self, tenant: &str) -> Option<String> {
        let listed = self.run_ok(&["tenants", "list", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let listed = listed.as_array().unwrap();
        let tenant = listed.iter().find(|listed| listed["name"] == tenant).unwrap();
        Some(tenant["node"].as_str()?.to_owned())
    }

    /// Returns a worker that does not hold the tenant.
    pub(super) fn other_worker(&self, tenant: &str) -> &Worker {
        let node = self.node(tenant).unwrap();
        self.workers.iter().find(|worker| worker.name != node).unwrap()
    }

    /// Returns the worker that holds the tenant.
    pub(super) fn worker_of(&self, tenant: &str) -> &Worker {
        let node = self.node(tenant).unwrap();
        self.workers.iter().find(|worker| worker.name == node).unwrap()
    }

    /// Allows or forbids connections of `worker` to this database. Forbidding also terminates open ones.
    pub(super) async fn set_reachable(&self, worker: &Worker, is_reachable: bool) {
        let name = &self.name;
        execute(
            &worker.options.clone().database("postgres"),
            &format!(
                "ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {is_reachable};
                 SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = '{name}' AND NOT {is_reachable}"
            ),
        )
        .await;
    }

    /// Drops the database on all nodes.
    pub(super) async fn drop(self) {
        for options in [&self.coordinator]
            .into_iter()
            .chain(self.workers.iter().map(|worker| &worker.options))
        {
            let options = options.clone().database("postgres");
            execute(&options, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
        }
    }
}

pub(super) fn service_over(url: String) -> Service {
    let database = UserDirectory::open(&DatabaseUrl::from(url), &PoolSettings::default());
    Service::new(database.unwrap())
}

async fn execute(options: &PgConnectOptions, statements: &str) {
    let mut connection = options.connect().await.unwrap();
    let executed = sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
        .execute(&mut connection)
        .await;
    if let Err(error) = executed {
        panic!("{statements}\n{error}");
    }
    connection.close().await.unwrap();
}
