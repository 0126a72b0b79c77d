//! The binary: the service as a process, and commands that run to their end.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tenant_orders::config::program_folders;

use super::wait::TIMEOUT;

pub(crate) struct ServiceProcess {
    child: Child,
    errors: Receiver<String>,
    lines: Vec<String>,
}

impl ServiceProcess {
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-orders"));
        command
            .current_dir(std::env::temp_dir())
            .env_clear()
            .env("PATH", std::env::join_paths(program_folders()).unwrap())
            .env("HOME", std::env::temp_dir())
            .env("PORT", "0")
            .env("DATABASE_WAIT", "0s");
        command
    }

    pub(crate) fn embedded(data_dir: &Path) -> Self {
        Self::spawn(Self::command().env("DATA_DIR", data_dir))
    }

    pub(crate) fn over(database_url: &str) -> Self {
        Self::spawn(Self::command().env("DATABASE_URL", database_url))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, errors) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self {
            child,
            errors,
            lines: Vec::new(),
        }
    }

    /// Waits until the service listens and returns its URL.
    pub(crate) fn url(&mut self) -> String {
        let line = self.line_with("listening on ");
        let (_, url) = line.split_once("listening on ").unwrap();
        url.split('"').next().unwrap().to_owned()
    }

    /// Waits for a line on stderr that contains `text`.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.errors.recv_timeout(left) else {
                panic!(
                    "timed out waiting for {text:?}; stderr:\n{}",
                    self.lines.join("\n")
                );
            };
            self.lines.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits until the process closes stderr and returns all its lines.
    pub(crate) fn read_to_end(&mut self) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.errors.recv_timeout(left) {
                Ok(line) => self.lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.lines.join("\n"),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("stderr is still open; its lines:\n{}", self.lines.join("\n"))
                }
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Returns the resident memory in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 = line.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        files.count()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for_end(&mut self.child).expect("the process did not end")
    }

    pub(crate) fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a port that was free a moment ago, for a service with a log that the test cannot read.
pub(crate) fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

/// Runs a command to its end. Returns its exit status, stdout and stderr.
pub(crate) fn finished(command: &mut Command) -> (Option<i32>, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = read_in_background(child.stdout.take().unwrap());
    let errors = read_in_background(child.stderr.take().unwrap());
    let status = wait_for_end(&mut child);
    let [output, errors] = [output, errors].map(|text| text.join().unwrap());
    (
        status
            .unwrap_or_else(|| panic!("the process did not end; its output:\n{output}{errors}"))
            .code(),
        output,
        errors,
    )
}

fn read_in_background(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

/// Waits until `child` ends. Kills it and returns `None` after [`TIMEOUT`].
fn wait_for_end(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}
