//! PostgreSQL clusters, thrown away when this process ends: one for all tests, which gives each a
//! database, and more for those that stop or kill theirs.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::{Connection, Executor, PgConnection};
use tenant_orders::admin::AdminDatabase;
use tenant_orders::config::{DatabaseUrl, PoolSettings};
use tenant_orders::embedded::{Binaries, DataDir, EmbeddedPostgres};
use tenant_orders::seed;
use tenant_orders::users::UserDirectory;

/// Nothing here has to survive a power cut.
const FAST_AND_FORGETFUL: &str = "
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
";

/// The tables as databases have them that are older than this service: see the file.
const EXISTING: &str = include_str!("existing.sql");

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A database of a test's own.
pub(crate) struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// With the demo in it, made by our own migrations.
    pub(crate) async fn demo() -> Self {
        Self::from_template("demo").await
    }

    /// With the demo's data, made by somebody else, years ago.
    pub(crate) async fn existing() -> Self {
        Self::from_template("existing").await
    }

    /// With nothing in it.
    pub(crate) async fn empty() -> Self {
        Self::from_template("template1").await
    }

    /// With nothing in it, and an encoding that lacks most of Unicode.
    pub(crate) async fn latin1() -> Self {
        Self::from_template("template0 ENCODING 'LATIN1' LOCALE 'C'").await
    }

    async fn from_template(template: &str) -> Self {
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = shared().connect("postgres").await;
        create(&mut connection, &name, template).await;
        Self { name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// As the superuser.
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

    /// What one row of one text column says.
    pub(crate) async fn text(&self, statement: &str) -> String {
        let mut connection = self.connect().await;
        let text = sqlx::query_scalar(sqlx_text(statement))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        text
    }

    /// Locks a table against everybody, until the lock is released.
    pub(crate) async fn lock(&self, table: &str) -> TableLock {
        let mut connection = self.connect().await;
        execute(&mut connection, format!("BEGIN; LOCK {table}")).await;
        TableLock(connection)
    }

    /// How many of the service's backends wait for a lock.
    pub(crate) async fn blocked_backends(&self) -> usize {
        let blocked = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database()
                       AND wait_event_type = 'Lock' AND application_name = 'tenant-orders'";
        self.text(blocked).await.parse().unwrap()
    }

    /// Waits until so many of the service's backends wait for a lock.
    pub(crate) async fn backends_are_blocked(&self, backends: usize) {
        while self.blocked_backends().await != backends {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the service waits for a lock.
    pub(crate) async fn service_is_blocked(&self) {
        while self.blocked_backends().await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn database(&self) -> UserDirectory {
        self.database_with(&PoolSettings::default())
    }

    pub(crate) fn database_with(&self, settings: &PoolSettings) -> UserDirectory {
        UserDirectory::open(&DatabaseUrl::from(self.url()), settings).unwrap()
    }
}

/// A table that nobody else can read.
pub(crate) struct TableLock(PgConnection);

impl TableLock {
    pub(crate) async fn release(self) {
        self.0.close().await.unwrap();
    }
}

/// A folder for a cluster of a test's own, removed when this process has ended and its server too.
pub(crate) fn data_dir_for_a_test() -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("tenant-orders-test-{}-{number}", std::process::id()));
    remove_when_this_process_ends(&path);
    path
}

/// A running PostgreSQL.
pub(crate) struct Cluster {
    pub(super) folder: PathBuf,
    /// Where PostgreSQL's programs are.
    pub(super) programs: PathBuf,
    pub(super) server: Mutex<Option<EmbeddedPostgres>>,
}

impl Cluster {
    /// A new one.
    pub(crate) async fn start() -> Self {
        let data_dir = DataDir::claim(Some(&data_dir_for_a_test())).unwrap();
        let binaries = match Binaries::find(&data_dir) {
            Some(binaries) => binaries,
            None => Binaries::fetch(&data_dir).await.unwrap(),
        };
        data_dir.make_cluster(&binaries).unwrap();
        let mut configuration = OpenOptions::new()
            .append(true)
            .open(data_dir.cluster().join("postgresql.conf"))
            .unwrap();
        configuration.write_all(FAST_AND_FORGETFUL.as_bytes()).unwrap();
        let folder = data_dir.path().to_owned();
        let server = Mutex::new(Some(data_dir.start(&binaries).unwrap()));
        // Beside the programs themselves, which may have been found through links.
        let pg_ctl = binaries.folder.join("pg_ctl").canonicalize().unwrap();
        Self {
            folder,
            programs: pg_ctl.parent().unwrap().to_owned(),
            server,
        }
    }

    /// One of PostgreSQL's programs, of the version that runs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Stops it: it cuts its clients off, and ends well.
    pub(crate) fn stop(&self) {
        self.server.lock().unwrap().take().unwrap().stop().unwrap();
    }

    /// Kills it, as a power cut would.
    pub(crate) fn kill(&self) {
        let pid_file = std::fs::read_to_string(self.socket_folder().join("postmaster.pid")).unwrap();
        let postmaster = Pid::from_raw(pid_file.lines().next().unwrap().parse().unwrap());
        kill(postmaster, Signal::SIGKILL).unwrap();
        while kill(postmaster, None).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // What watched over it finds nothing left to stop.
        drop(self.server.lock().unwrap().take());
    }

    /// Starts it again. Where it was killed, its last processes may still hold its memory, and a process
    /// that is just being made the claim to its folder.
    pub(crate) fn start_again(&self) {
        for _ in 0..100 {
            if let Ok(data_dir) = DataDir::claim(Some(&self.folder))
                && let Some(binaries) = Binaries::find(&data_dir)
                && let Ok(server) = data_dir.start(&binaries)
            {
                self.server.lock().unwrap().replace(server);
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it does not start again");
    }

    /// The folder of its socket.
    pub(crate) fn socket_folder(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("postgres.log")).unwrap()
    }

    pub(crate) fn url(&self, database: &str, role: &str) -> String {
        let socket = self.socket_folder();
        let socket = utf8_percent_encode(socket.to_str().unwrap(), NON_ALPHANUMERIC);
        format!("postgres:///{database}?host={socket}&port=5432&user={role}")
    }

    /// Connects as the superuser.
    pub(crate) async fn connect(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.url(database, "postgres"))
            .await
            .unwrap()
    }

    /// Makes the demo in `database`.
    pub(crate) async fn seed_demo(&self, database: &str) {
        let url = DatabaseUrl::from(self.url(database, "postgres"));
        seed::demo(&AdminDatabase::new(&url).unwrap()).await.unwrap();
    }
}

/// A command that runs as the owner of `folder`, inside it: PostgreSQL and the like refuse root.
pub(super) fn command_as_owner(folder: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let owner = std::fs::metadata(folder).unwrap();
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .uid(owner.uid())
        .gid(owner.gid())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The cluster of all tests that need none of their own.
pub(crate) fn shared() -> &'static Cluster {
    CLUSTER.get_or_init(|| {
        // On a thread of its own, since a runtime cannot be started inside a test's.
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let cluster = Cluster::start().await;
                let mut connection = cluster.connect("postgres").await;
                create(&mut connection, "demo", "template1").await;
                create(&mut connection, "existing", "template1").await;
                connection.close().await.unwrap();
                cluster.seed_demo("demo").await;
                let mut connection = cluster.connect("existing").await;
                connection.execute(EXISTING).await.unwrap();
                connection.close().await.unwrap();
                cluster
            })
        })
        .join()
        .unwrap()
    })
}

fn remove_when_this_process_ends(path: &Path) {
    const REMOVER: &str = r#"
        while read -r _; do :; done
        for _ in $(seq 300); do [ -e "$0/cluster/postmaster.pid" ] || break; sleep 0.1; done
        rm -rf "$0""#;
    let remover = Command::new("sh")
        .args(["-c", REMOVER])
        .arg(path)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::mem::forget(remover); // holds its standard input open
}

async fn create(connection: &mut PgConnection, name: &str, template: &str) {
    execute(connection, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
}

async fn execute(connection: &mut PgConnection, statements: String) {
    if let Err(error) = connection.execute(sqlx_text(&statements)).await {
        panic!("{statements}\n{error}");
    }
}

fn sqlx_text(statement: &str) -> impl sqlx::SqlSafeStr + use<> {
    sqlx::AssertSqlSafe(statement.to_owned())
}
