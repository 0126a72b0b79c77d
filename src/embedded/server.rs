//! The server process, controlled with `initdb` and `pg_ctl`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use backon::{BlockingRetryable, ConstantBuilder};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::account::NO_FOLLOW;
use super::{Binaries, DataDir, DataDirError};
use crate::config::DatabaseUrl;

/// Script of a process that starts the server, and stops it when its stdin is closed. That happens whenever
/// this process ends, even by SIGKILL. It first stops a server that outlived an earlier supervisor.
const SUPERVISOR: &str = r#"
pg_ctl=$1 cluster=$2 log=$3
trap '' HUP INT TERM PIPE
exec 3>&1 1>&2
if [ -e "$cluster/postmaster.pid" ]; then
    # A server that crashes meanwhile leaves its pid file, which the stop takes for a failure and the start does not.
    "$pg_ctl" -D "$cluster" -m fast -w stop || ! "$pg_ctl" -D "$cluster" status || exit 1
fi
if ! "$pg_ctl" -D "$cluster" -l "$log" -w -t 300 start 3>&-; then
    "$pg_ctl" -D "$cluster" -m immediate -w stop
    exit 1
fi
echo ready >&3
exec 3>&-
while read -r _; do :; done
"$pg_ctl" -D "$cluster" -m fast -w -t 60 stop || "$pg_ctl" -D "$cluster" -m immediate -w stop
"#;

/// Interval of checks if an earlier run's server has stopped.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of these checks: two minutes in total.
const MAX_LOCK_RETRIES: usize = 2400;
/// Lines of PostgreSQL's log in an error message.
const MAX_LOG_LINES: usize = 15;

/// Server settings. Connections need no password, because the server listens only on a Unix socket in the
/// cluster's folder, which other users cannot open.
const CONFIGURATION: &str = "
# Set by tenant-orders
listen_addresses = ''
unix_socket_directories = '.'
unix_socket_permissions = 0700
port = 5432
max_connections = 200
";

/// A running server. [`EmbeddedPostgres::stop`] waits until it has stopped; after a drop it stops in the
/// background.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    supervisor: Child,
    pg_ctl: PathBuf,
    url: DatabaseUrl,
    data_dir: DataDir,
}

/// Error while creating, starting or stopping the server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("PostgreSQL failed to {action}; the end of its log ({}):\n\n{tail}", log.display())]
    Failed {
        action: &'static str,
        log: PathBuf,
        /// Last lines of this run in the log.
        tail: String,
    },
    /// An earlier run's server did not stop in time.
    #[error("the PostgreSQL server of an earlier run is still running in {}", .0.display())]
    StillRunning(PathBuf),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

impl DataDir {
    /// Creates a cluster. Files of an earlier, interrupted attempt are removed first.
    ///
    /// # Errors
    ///
    /// Returns an error if `initdb` fails.
    pub fn create_cluster(&self, binaries: &Binaries) -> Result<(), ServerError> {
        let failed = DataDirError::with_path(self.path());
        let log = self.open_log()?;
        let unfinished = self.path().join("unfinished-cluster");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(failed)?;
        }
        let created = self
            .account
            .command(binaries.program("initdb"), self.path())
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .arg("--pgdata")
            .arg(&unfinished)
            .process_group(0) // not interrupted by Ctrl-C in the terminal
            .stdin(Stdio::null())
            .stdout(log.child_output().map_err(failed)?)
            .stderr(log.child_output().map_err(failed)?)
            .status()
            .map_err(failed)?;
        if !created.success() {
            return Err(log.failure(self, "create a cluster"));
        }
        OpenOptions::new()
            .append(true)
            .custom_flags(NO_FOLLOW)
            .open(unfinished.join("postgresql.conf"))
            .and_then(|mut file| file.write_all(CONFIGURATION.as_bytes()))
            .and_then(|()| fs::rename(&unfinished, self.cluster()))
            .map_err(|error| failed(error).into())
    }

    /// Starts the folder's cluster and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not start.
    pub fn start(self, binaries: &Binaries) -> Result<EmbeddedPostgres, ServerError> {
        let failed = DataDirError::with_path(self.path());
        let log = self.open_log()?;
        self.remove_stale_pid_files()?;
        let mut supervisor = self
            .account
            .command("/bin/sh", self.path())
            .args(["-c", SUPERVISOR, "tenant-orders-supervisor"])
            .arg(binaries.program("pg_ctl"))
            .arg(self.cluster())
            .arg(self.log())
            .process_group(0) // not interrupted by Ctrl-C in the terminal
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.child_output().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let mut status = String::new();
        if let Some(output) = supervisor.stdout.take() {
            BufReader::new(output).read_line(&mut status).map_err(failed)?;
        }
        if status.trim() != "ready" {
            return Err(log.failure(&self, "start"));
        }
        let socket = self.cluster();
        let socket = utf8_percent_encode(&socket.to_string_lossy(), NON_ALPHANUMERIC).to_string();
        let url = DatabaseUrl::from(format!(
            "postgres:///postgres?host={socket}&port=5432&user=postgres&sslmode=disable"
        ));
        Ok(EmbeddedPostgres {
            supervisor,
            pg_ctl: binaries.program("pg_ctl"),
            url,
            data_dir: self,
        })
    }

    /// Removes the pid files if no server accepts connections on the socket. The process id in a stale file can
    /// belong to another process by now, which `pg_ctl` would take for the server.
    fn remove_stale_pid_files(&self) -> Result<(), DataDirError> {
        let cluster = self.cluster();
        if UnixStream::connect(cluster.join(".s.PGSQL.5432")).is_ok() {
            return Ok(());
        }
        for file in ["postmaster.pid", ".s.PGSQL.5432.lock"] {
            match fs::remove_file(cluster.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(DataDirError::with_path(self.path())(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Opens and locks the log. Child processes inherit the lock, so this waits for an earlier run's server or
    /// `initdb` to end.
    fn open_log(&self) -> Result<Log, ServerError> {
        let failed = DataDirError::with_path(self.path());
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .custom_flags(NO_FOLLOW)
            .open(self.log())
            .map_err(failed)?;
        self.account.take_ownership(&file).map_err(failed)?;
        let retries = ConstantBuilder::default()
            .with_delay(LOCK_RETRY_INTERVAL)
            .with_max_times(MAX_LOCK_RETRIES);
        (|| file.try_lock())
            .retry(retries)
            .when(|error| matches!(error, TryLockError::WouldBlock))
            .call()
            .map_err(|error| match error {
                TryLockError::WouldBlock => ServerError::StillRunning(self.path().to_owned()),
                TryLockError::Error(error) => failed(error).into(),
            })?;
        let start = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Log { file, start })
    }
}

impl EmbeddedPostgres {
    /// Returns the server's connection URL.
    #[must_use]
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Returns a shell command that connects to the server.
    pub(crate) fn psql_command(&self) -> String {
        let socket = self.data_dir.cluster();
        format!("psql -h '{}' -U postgres", socket.display())
    }

    /// Stops the server and waits until it has stopped.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not stop.
    pub fn stop(mut self) -> Result<(), ServerError> {
        let data_dir = self.data_dir;
        let failed = DataDirError::with_path(data_dir.path());
        drop(self.supervisor.stdin.take());
        let stopped = self.supervisor.wait().map_err(failed)?;
        if stopped.success() {
            return Ok(());
        }
        // The supervisor was killed, so the server is still running.
        let log = data_dir.open_log()?;
        let stopped = data_dir
            .account
            .command(&self.pg_ctl, data_dir.path())
            .args(["-m", "fast", "-w", "stop", "-D"])
            .arg(data_dir.cluster())
            .stdin(Stdio::null())
            .stdout(log.child_output().map_err(failed)?)
            .stderr(log.child_output().map_err(failed)?)
            .status()
            .map_err(failed)?;
        if stopped.success() {
            return Ok(());
        }
        Err(log.failure(&data_dir, "stop"))
    }
}

/// The server's log, locked.
struct Log {
    file: File,
    /// Offset of this run's first line.
    start: u64,
}

impl Log {
    fn child_output(&self) -> io::Result<Stdio> {
        Ok(self.file.try_clone()?.into())
    }

    fn failure(mut self, data_dir: &DataDir, action: &'static str) -> ServerError {
        ServerError::Failed {
            action,
            log: data_dir.log(),
            tail: self
                .tail()
                .unwrap_or_else(|error| format!("(unreadable: {error})")),
        }
    }

    fn tail(&mut self) -> io::Result<String> {
        self.file.seek(SeekFrom::Start(self.start))?;
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        let from = lines.len().saturating_sub(MAX_LOG_LINES);
        Ok(lines.get(from..).unwrap_or_default().join("\n"))
    }
}
