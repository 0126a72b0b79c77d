//! The server process: made, started and stopped with PostgreSQL's own programs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::account::NOT_THROUGH_A_LINK;
use super::{Binaries, DataDir, DataDirError};
use crate::config::DatabaseUrl;

/// Runs beside the server and stops it when its standard input ends, which happens when this
/// process does, even by SIGKILL. Before it starts the server it stops one that outlived both.
const SUPERVISOR: &str = r#"
pg_ctl=$1 cluster=$2 log=$3
trap '' HUP INT TERM PIPE
exec 3>&1 1>&2
if [ -e "$cluster/postmaster.pid" ]; then
    "$pg_ctl" -D "$cluster" -m fast -w stop || exit 1
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

/// The previous run's server has this long to stop.
const HANDOVER_TIMEOUT: Duration = Duration::from_mins(2);
const LINES_OF_LOG_TOLD: usize = 15;

/// Only a unix socket, inside the cluster's own folder, which is closed to everyone else; that is
/// why no password is asked for.
const CONFIGURATION: &str = "
# Set by tenant-orders
listen_addresses = ''
unix_socket_directories = '.'
unix_socket_permissions = 0700
port = 5432
max_connections = 200
";

/// A running server. Stop it by [`EmbeddedPostgres::stop`]; dropped, it stops by itself soon after.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    supervisor: Child,
    pg_ctl: PathBuf,
    url: DatabaseUrl,
    data_dir: DataDir,
}

/// The server could not be made, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// One of PostgreSQL's programs failed.
    #[error("PostgreSQL could not {action}; its log, {}, ends:\n\n{tail}", log.display())]
    Failed {
        /// What it was to do.
        action: &'static str,
        /// The log's file.
        log: PathBuf,
        /// The last lines that this run added to it.
        tail: String,
    },
    /// The server of an earlier run does not stop.
    #[error("the server of an earlier run is still stopping in {}", .0.display())]
    StillStopping(PathBuf),
    /// Anything else.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

impl DataDir {
    /// Makes a cluster. One that was begun and not finished is begun anew.
    ///
    /// # Errors
    ///
    /// [`ServerError`].
    pub fn make_cluster(&self, binaries: &Binaries) -> Result<(), ServerError> {
        let log = self.open_log()?;
        let unfinished = self.path().join("unfinished-cluster");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(|error| self.failed(error))?;
        }
        let made = self
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
            .process_group(0) // out of reach of the terminal's Ctrl-C
            .stdin(Stdio::null())
            .stdout(log.child_output(self)?)
            .stderr(log.child_output(self)?)
            .status()
            .map_err(|error| self.failed(error))?;
        if !made.success() {
            return Err(log.failure(self, "make a cluster"));
        }
        OpenOptions::new()
            .append(true)
            .custom_flags(NOT_THROUGH_A_LINK)
            .open(unfinished.join("postgresql.conf"))
            .and_then(|mut file| file.write_all(CONFIGURATION.as_bytes()))
            .and_then(|()| fs::rename(&unfinished, self.cluster()))
            .map_err(|error| self.failed(error).into())
    }

    /// Starts the folder's cluster, and waits until it takes connections.
    ///
    /// # Errors
    ///
    /// [`ServerError`].
    pub fn start(self, binaries: &Binaries) -> Result<EmbeddedPostgres, ServerError> {
        let log = self.open_log()?;
        self.forget_stale_server()?;
        let mut supervisor = self
            .account
            .command("/bin/sh", self.path())
            .args(["-c", SUPERVISOR, "tenant-orders-supervisor"])
            .arg(binaries.program("pg_ctl"))
            .arg(self.cluster())
            .arg(self.log())
            .process_group(0) // out of reach of the terminal's Ctrl-C
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.child_output(&self)?)
            .spawn()
            .map_err(|error| self.failed(error))?;
        let mut answer = String::new();
        if let Some(output) = supervisor.stdout.take() {
            BufReader::new(output)
                .read_line(&mut answer)
                .map_err(|error| self.failed(error))?;
        }
        if answer.trim() != "ready" {
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

    /// Removes the pid files of a server that no longer runs. Its process id may be somebody else's by
    /// now, whom PostgreSQL's programs would take for the server. Whether one runs, its socket tells.
    fn forget_stale_server(&self) -> Result<(), DataDirError> {
        let cluster = self.cluster();
        if UnixStream::connect(cluster.join(".s.PGSQL.5432")).is_ok() {
            return Ok(());
        }
        for file in ["postmaster.pid", ".s.PGSQL.5432.lock"] {
            match fs::remove_file(cluster.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Opens the log and holds its lock, which children inherit: so an earlier run's server that is
    /// still stopping, or a cluster still being made, is waited for.
    fn open_log(&self) -> Result<Log, ServerError> {
        let path = self.log();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .custom_flags(NOT_THROUGH_A_LINK)
            .open(&path)
            .map_err(|error| self.failed(error))?;
        self.account.own(&file).map_err(|error| self.failed(error))?;
        let deadline = Instant::now() + HANDOVER_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(ServerError::StillStopping(self.path().to_owned()));
                }
                Err(TryLockError::Error(error)) => return Err(self.failed(error).into()),
            }
        }
        let start = file.seek(SeekFrom::End(0)).map_err(|error| self.failed(error))?;
        Ok(Log { file, start })
    }
}

impl EmbeddedPostgres {
    /// How to connect to it.
    #[must_use]
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// A command that connects to it, for a terminal.
    #[must_use]
    pub fn psql_command(&self) -> String {
        let socket = self.data_dir.cluster();
        format!("psql -h '{}' -U postgres", socket.display())
    }

    /// Stops the server, and waits until it has stopped.
    ///
    /// # Errors
    ///
    /// Where the processes could not be waited for, or the server did not stop.
    pub fn stop(mut self) -> Result<(), ServerError> {
        drop(self.supervisor.stdin.take());
        let stopped = self
            .supervisor
            .wait()
            .map_err(|error| self.data_dir.failed(error))?;
        if stopped.success() {
            return Ok(());
        }
        // The supervisor was killed, so the server still runs.
        let log = self.data_dir.open_log()?;
        let stopped = self
            .data_dir
            .account
            .command(&self.pg_ctl, self.data_dir.path())
            .args(["-m", "fast", "-w", "stop", "-D"])
            .arg(self.data_dir.cluster())
            .stdin(Stdio::null())
            .stdout(log.child_output(&self.data_dir)?)
            .stderr(log.child_output(&self.data_dir)?)
            .status()
            .map_err(|error| self.data_dir.failed(error))?;
        if stopped.success() {
            return Ok(());
        }
        Err(log.failure(&self.data_dir, "stop"))
    }
}

/// The server's log, locked.
struct Log {
    file: File,
    /// Where this run's part begins.
    start: u64,
}

impl Log {
    fn child_output(&self, data_dir: &DataDir) -> Result<Stdio, DataDirError> {
        let file = self.file.try_clone().map_err(|error| data_dir.failed(error))?;
        Ok(Stdio::from(file))
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
        let from = lines.len().saturating_sub(LINES_OF_LOG_TOLD);
        Ok(lines.get(from..).unwrap_or_default().join("\n"))
    }
}
