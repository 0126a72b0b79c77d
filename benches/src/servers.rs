//! The measured programs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Failure, Plan, delay};

const TCP_SETTING: &str = "listen_addresses = '127.0.0.1'\n";

/// PostgreSQL, which all measurements use: the product's embedded one. Stopped on drop.
pub struct Host {
    child: Child,
    /// The folder of PostgreSQL's socket.
    pub socket: PathBuf,
    pub postmaster: u32,
    /// The TCP port: of the server, or of the proxy that delays messages.
    pub port: Option<u16>,
}

impl Host {
    pub fn start(
        program: &Path,
        data: &Path,
        round_trip: Option<Duration>,
        tcp: bool,
    ) -> Result<Self, Failure> {
        let configuration = data.join("cluster/postgresql.conf");
        let text = std::fs::read_to_string(&configuration)?;
        let text = text.replace(TCP_SETTING, "") + if tcp { TCP_SETTING } else { "" };
        std::fs::write(configuration, text)?;
        let mut command = Command::new(program);
        let (child, _) = start(command.env("DATA_DIR", data).env("PORT", "0"))?;
        let socket = data.join("cluster");
        let postmaster = std::fs::read_to_string(socket.join("postmaster.pid"))?;
        let postmaster = postmaster.lines().next().unwrap_or_default().parse()?;
        let proxy = |round_trip| delay::start(socket.join(".s.PGSQL.5432"), round_trip);
        let port = round_trip.map(proxy).transpose()?.or(tcp.then_some(5432));
        Ok(Self {
            child,
            socket,
            postmaster,
            port,
        })
    }

    /// Returns the URL of the embedded PostgreSQL.
    fn database_url(&self) -> String {
        match self.port {
            Some(port) => format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable"),
            None => {
                let socket = self.socket.display().to_string().replace('/', "%2F");
                format!("postgres:///postgres?host={socket}&port=5432&user=postgres")
            }
        }
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
                title.contains("[local]") || title.contains("127.0.0.1(")
            })
            .collect()
    }
}

impl Drop for Host {
    /// Stops the product and waits for it. It stops PostgreSQL.
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A measured program. Stopped on drop.
pub struct Server {
    child: Child,
    pub url: String,
    pub pid: u32,
}

impl Server {
    pub fn start(program: &Path, host: &Host, plan: &Plan) -> Result<Self, Failure> {
        let settings = plan.settings.iter().filter_map(|setting| setting.split_once('='));
        let mut command = Command::new(program);
        let (child, url) = start(
            command
                .env("DATABASE_URL", host.database_url())
                .env("DATABASE_MAX_CONNECTIONS", plan.connections.to_string())
                .env("PORT", "0")
                .envs(settings),
        )?;
        Ok(Self {
            pid: child.id(),
            child,
            url,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Starts a program and waits until it prints its URL.
fn start(command: &mut Command) -> Result<(Child, String), Failure> {
    let mut child = command
        .env("RUST_LOG", "warn,tenant_orders::server=info")
        .env("LOG_FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
    let url = loop {
        let line = lines.next().ok_or("the program failed to start")??;
        if let Some((_, rest)) = line.split_once("listening on ") {
            break rest.split('"').next().unwrap_or_default().to_owned();
        }
    };
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
    Ok((child, url))
}

fn stop(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
}
