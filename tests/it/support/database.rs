//! Databases in the shared cluster, one for each test.

use sqlx::{Connection, PgConnection};
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::users::UserDirectory;

use super::cluster::{create_database, execute, next_number, shared, sql};
use super::wait_until;

/// A database of a single test.
pub(crate) struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// Creates a database with the demo, made by the service's migrations.
    pub(crate) async fn demo() -> Self {
        Self::from_template("demo").await
    }

    /// Creates a database with the demo's data in tables that are older than the service.
    pub(crate) async fn existing() -> Self {
        Self::from_template("existing").await
    }

    /// Creates an empty database.
    pub(crate) async fn empty() -> Self {
        Self::from_template("template1").await
    }

    /// Creates an empty database with an encoding that lacks most of Unicode.
    pub(crate) async fn latin1() -> Self {
        Self::from_template("template0 ENCODING 'LATIN1' LOCALE 'C'").await
    }

    /// Creates an empty database with another encoding or locale provider, which `options` of `CREATE DATABASE` name.
    pub(crate) async fn with_options(options: &str) -> Self {
        Self::from_template(&format!("template0 {options}")).await
    }

    /// Creates a database with the demo and runs `statements` in it.
    pub(crate) async fn demo_with(statements: impl Into<String>) -> Self {
        Self::demo().await.after(statements).await
    }

    /// Creates a database with tables that are older than the service, and runs `statements` in it.
    pub(crate) async fn existing_with(statements: impl Into<String>) -> Self {
        Self::existing().await.after(statements).await
    }

    /// Creates an empty database and runs `statements` in it.
    pub(crate) async fn empty_with(statements: impl Into<String>) -> Self {
        Self::empty().await.after(statements).await
    }

    /// Creates an empty database with an encoding that lacks most of Unicode, and runs `statements` in it.
    pub(crate) async fn latin1_with(statements: impl Into<String>) -> Self {
        Self::latin1().await.after(statements).await
    }

    async fn after(self, statements: impl Into<String>) -> Self {
        self.execute(statements).await;
        self
    }

    async fn from_template(template: &str) -> Self {
        let name = format!("test_{}", next_number());
        let mut connection = shared().connect("postgres").await;
        create_database(&mut connection, &name, template).await;
        Self { name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the URL for the superuser.
    pub(crate) fn url(&self) -> String {
        self.url_as("postgres")
    }

    pub(crate) fn url_as(&self, role: &str) -> String {
        shared().url(&self.name, role)
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        shared().connect(&self.name).await
    }

    /// Runs one or more statements as the superuser.
    pub(crate) async fn execute(&self, statements: impl Into<String>) {
        let mut connection = self.connect().await;
        execute(&mut connection, statements.into()).await;
        connection.close().await.unwrap();
    }

    /// Returns the server's major version. Tests that need newer SQL skip that part on an older server.
    pub(crate) async fn server_version(&self) -> u32 {
        let version = self.text("SHOW server_version_num").await;
        version.parse::<u32>().unwrap() / 10_000
    }

    /// Returns the text that `statement` selects: one row, one column.
    pub(crate) async fn text(&self, statement: &str) -> String {
        let mut connection = self.connect().await;
        let text = sqlx::query_scalar(sql(statement))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        text
    }

    /// Locks a table exclusively until the returned lock is released.
    pub(crate) async fn lock(&self, table: &str) -> TableLock {
        let mut connection = self.connect().await;
        execute(&mut connection, format!("BEGIN; LOCK {table}")).await;
        TableLock(connection)
    }

    /// Returns the number of the service's backends that wait for a lock.
    pub(crate) async fn blocked_backends(&self) -> usize {
        let blocked = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database()
                       AND wait_event_type = 'Lock' AND application_name = 'tenant-orders'";
        self.text(blocked).await.parse().unwrap()
    }

    /// Waits until exactly `backends` of the service's backends wait for a lock.
    pub(crate) async fn backends_are_blocked(&self, backends: usize) {
        wait_until("backends wait for a lock", async || {
            self.blocked_backends().await == backends
        })
        .await;
    }

    /// Waits until at least one of the service's backends waits for a lock.
    pub(crate) async fn service_is_blocked(&self) {
        wait_until("the service waits for a lock", async || {
            self.blocked_backends().await > 0
        })
        .await;
    }

    pub(crate) fn database(&self) -> UserDirectory {
        self.database_with(&PoolSettings::default())
    }

    pub(crate) fn database_with(&self, settings: &PoolSettings) -> UserDirectory {
        UserDirectory::open(&DatabaseUrl::from(self.url()), settings).unwrap()
    }
}

/// An exclusive lock on a table, held by an open transaction.
pub(crate) struct TableLock(PgConnection);

impl TableLock {
    pub(crate) async fn release(self) {
        self.0.close().await.unwrap();
    }
}
