//! PostgreSQL clusters that are removed when this process ends: one shared by all tests, and separate ones
//! for tests that stop or kill the server.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::{Connection, Executor, PgConnection};
use tenant_orders::admin::AdminDatabase;
use tenant_orders::config::{DatabaseUrl, program_folders};
use tenant_orders::embedded::{Binaries, DataDir, EmbeddedPostgres};
use tenant_orders::seed;

use super::block_until;

/// Server settings without durability, which tests do not need.
const NO_DURABILITY: &str = "
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
";

/// Tables of a database that is older than the service.
const EXISTING_DATABASE: &str = include_str!("existing.sql");

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(1);

/// Returns a number that is unique in this process.
pub(super) fn next_number() -> u32 {
    NEXT_NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Returns the path of a new data folder, which is removed after this process and its server have ended.
pub(crate) fn data_dir_for_a_test() -> PathBuf {
    let number = next_number();
    let path = std::env::temp_dir().join(format!("tenant-orders-test-{}-{number}", std::process::id()));
    remove_after_exit(&path);
    path
}

/// A running PostgreSQL.
pub(crate) struct Cluster {
    pub(super) folder: PathBuf,
    /// Folder of PostgreSQL's programs.
    pub(super) programs: PathBuf,
    pub(super) server: Mutex<Option<EmbeddedPostgres>>,
}

impl Cluster {
    /// Creates and starts a cluster.
    pub(crate) async fn start() -> Self {
        let data_dir = DataDir::claim(Some(&data_dir_for_a_test())).unwrap();
        let binaries = match Binaries::find(&data_dir) {
            Some(binaries) => binaries,
            None => Binaries::download(&data_dir).await.unwrap(),
        };
        data_dir.create_cluster(&binaries).unwrap();
        let mut configuration = OpenOptions::new()
            .append(true)
            .open(data_dir.cluster().join("postgresql.conf"))
            .unwrap();
        configuration.write_all(NO_DURABILITY.as_bytes()).unwrap();
        let folder = data_dir.path().to_owned();
        let server = Mutex::new(Some(data_dir.start(&binaries).unwrap()));
        // Resolves links, because the other programs are only next to the original.
        let pg_ctl = binaries.folder.join("pg_ctl").canonicalize().unwrap();
        Self {
            folder,
            programs: pg_ctl.parent().unwrap().to_owned(),
            server,
        }
    }

    /// Returns the path of one of PostgreSQL's programs, in the server's version if it has the program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let folders = std::iter::once(self.programs.clone()).chain(program_folders());
        let mut paths = folders.map(|folder| folder.join(name));
        paths.find(|path| path.is_file()).unwrap()
    }

    /// Stops the server cleanly, which disconnects its clients.
    pub(crate) fn stop(&self) {
        self.server.lock().unwrap().take().unwrap().stop().unwrap();
    }

    /// Kills the server without a clean shutdown.
    pub(crate) fn kill(&self) {
        let pid_file = std::fs::read_to_string(self.socket_folder().join("postmaster.pid")).unwrap();
        let postmaster = Pid::from_raw(pid_file.lines().next().unwrap().parse().unwrap());
        kill(postmaster, Signal::SIGKILL).unwrap();
        block_until("the server has ended", || kill(postmaster, None).is_err());
        drop(self.server.lock().unwrap().take());
    }

    /// Starts the server again. After a kill, its last processes can still hold shared memory or the lock of
    /// the data folder for a moment.
    pub(crate) fn start_again(&self) {
        block_until("the server starts again", || {
            let data_dir = DataDir::claim(Some(&self.folder)).ok();
            let server = data_dir.and_then(|data_dir| {
                let binaries = Binaries::find(&data_dir)?;
                data_dir.start(&binaries).ok()
            });
            *self.server.lock().unwrap() = server;
            self.server.lock().unwrap().is_some()
        });
    }

    /// Returns the folder of the server's socket.
    pub(crate) fn socket_folder(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    /// Returns the server's log.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join("postgres.log")).unwrap()).into_owned()
    }

    pub(crate) fn url(&self, database: &str, role: &str) -> String {
        let socket = self.socket_folder();
        let socket = utf8_percent_encode(socket.to_str().unwrap(), NON_ALPHANUMERIC);
        format!("postgres:///{database}?host={socket}&port=5432&user={role}")
    }

    /// Connects to `database` as the superuser.
    pub(crate) async fn connect(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.url(database, "postgres"))
            .await
            .unwrap()
    }

    /// Creates the demo in `database`.
    pub(crate) async fn seed_demo(&self, database: &str) {
        let url = DatabaseUrl::from(self.url(database, "postgres"));
        seed::demo(&AdminDatabase::new(&url).unwrap()).await.unwrap();
    }
}

/// Returns a command that runs in `folder` as its owner. PostgreSQL and PgBouncer refuse to run as root.
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

/// Returns the cluster that tests share.
pub(crate) fn shared() -> &'static Cluster {
    CLUSTER.get_or_init(|| {
        in_own_runtime(async || {
            let cluster = Cluster::start().await;
            let mut connection = cluster.connect("postgres").await;
            create_database(&mut connection, "demo", "template1").await;
            create_database(&mut connection, "existing", "template1").await;
            connection.close().await.unwrap();
            cluster.seed_demo("demo").await;
            let mut connection = cluster.connect("existing").await;
            connection.execute(EXISTING_DATABASE).await.unwrap();
            connection.close().await.unwrap();
            cluster
        })
    })
}

/// Runs `work` in a new thread, because a runtime cannot be started inside a test's runtime.
pub(super) fn in_own_runtime<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(work())
        });
        work.join().unwrap()
    })
}

fn remove_after_exit(path: &Path) {
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

pub(super) async fn create_database(connection: &mut PgConnection, name: &str, template: &str) {
    execute(connection, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
}

pub(super) async fn execute(connection: &mut PgConnection, statements: String) {
    if let Err(error) = connection.execute(sql(&statements)).await {
        panic!("{statements}\n{error}");
    }
}

pub(super) fn sql(statement: &str) -> impl sqlx::SqlSafeStr + use<> {
    sqlx::AssertSqlSafe(statement.to_owned())
}
