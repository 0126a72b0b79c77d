//! The measured programs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Failure, Plan};

/// The product and its embedded PostgreSQL, which all measurements use. Stopped on drop.
pub struct Service {
    child: Child,
    pub url: String,
    pub pid: u32,
    /// The folder of PostgreSQL's socket.
    pub socket: PathBuf,
    pub postmaster: u32,
}

impl Service {
    pub fn start(program: &Path, data: &Path, plan: &Plan) -> Result<Self, Failure> {
        let settings = plan.settings.iter().filter_map(|setting| setting.split_once('='));
        let mut child = Command::new(program)
            .env("DATA_DIR", data)
            .env("PORT", "0")
            .env("RUST_LOG", "warn,tenant_orders::server=info")
            .env("LOG_FORMAT", "json")
            .env("DATABASE_MAX_CONNECTIONS", plan.connections.to_string())
            .envs(settings)
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
        let url = loop {
            let line = lines.next().ok_or("the service failed to start")??;
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split('"').next().unwrap_or_default().to_owned();
            }
        };
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        let socket = data.join("cluster");
        let postmaster = std::fs::read_to_string(socket.join("postmaster.pid"))?;
        let postmaster = postmaster.lines().next().unwrap_or_default().parse()?;
        Ok(Self {
            pid: child.id(),
            child,
            url,
            socket,
            postmaster,
        })
    }

    /// Returns the URL of the embedded PostgreSQL.
    fn database_url(&self) -> String {
        let socket = self.socket.display().to_string().replace('/', "%2F");
        format!("postgres:///postgres?host={socket}&port=5432&user=postgres")
    }

    /// Returns the pids of PostgreSQL's backends.
    pub fn backends(&self) -> Vec<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.postmaster);
        std::fs::read_to_string(children)
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .filter(|pid: &u32| {
                let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                title.contains("[local]")
            })
            .collect()
    }
}

impl Drop for Service {
    /// Stops the service and waits for it. The service stops PostgreSQL.
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.pid.to_string()).status();
        let _ = self.child.wait();
    }
}

/// The naive port. Stopped on drop.
pub struct Naive {
    child: Child,
    pub url: String,
    pub pid: u32,
}

impl Naive {
    pub fn start(program: &Path, service: &Service, plan: &Plan) -> Result<Self, Failure> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(program)
            .env("DATABASE_URL", service.database_url())
            .env("DATABASE_MAX_CONNECTIONS", plan.connections.to_string())
            .env("PORT", port.to_string())
            .spawn()?;
        let naive = Self {
            pid: child.id(),
            child,
            url: format!("http://127.0.0.1:{port}"),
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("the naive port failed to start within 10 s".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(naive)
    }
}

impl Drop for Naive {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
