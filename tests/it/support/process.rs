//! The service as its users run it: the binary, its output, its signals.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tenant_orders::config::program_folders;

/// Long enough for a cluster to be made and started on a busy machine.
const TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) struct ServiceProcess {
    child: Child,
    errors: Receiver<String>,
    told: Vec<String>,
}

impl ServiceProcess {
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-orders"));
        command
            .current_dir(std::env::temp_dir())
            .env_clear()
            .env("PATH", std::env::join_paths(program_folders()).unwrap())
            .env("HOME", std::env::temp_dir())
            .env("PORT", "0");
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
            told: Vec::new(),
        }
    }

    /// Waits for the line that tells where it listens.
    pub(crate) fn url(&mut self) -> String {
        let line = self.line_with("listening on ");
        let (_, url) = line.split_once("listening on ").unwrap();
        url.split('"').next().unwrap().to_owned()
    }

    /// Waits for a line that holds `text`.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.errors.recv_timeout(left) else {
                panic!("it did not tell {text:?}, but:\n{}", self.told.join("\n"));
            };
            self.told.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// What it has told so far, and what it tells until it ends.
    pub(crate) fn all_it_told(&mut self) -> String {
        while let Ok(line) = self.errors.recv() {
            self.told.push(line);
        }
        self.told.join("\n")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Bytes of memory in use.
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
        ended(&mut self.child).expect("it did not end")
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

/// Runs a command to its end: its exit status, standard output and standard error.
pub(crate) fn finished(command: &mut Command) -> (Option<i32>, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = read_aside(child.stdout.take().unwrap());
    let errors = read_aside(child.stderr.take().unwrap());
    let status = ended(&mut child);
    let [output, errors] = [output, errors].map(|text| text.join().unwrap());
    (
        status
            .unwrap_or_else(|| panic!("it did not end; it told:\n{output}{errors}"))
            .code(),
        output,
        errors,
    )
}

fn read_aside(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

/// Waits for the end of `child`; one that does not end is killed.
fn ended(child: &mut Child) -> Option<ExitStatus> {
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
