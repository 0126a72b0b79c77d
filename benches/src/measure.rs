//! One measurement: a load, and the CPU time and memory that it needs.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::servers::{Host, Server};
use crate::{Failure, Plan};

/// The result of one measurement.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Requests, or runs of the script, per second.
    pub rate: f64,
    /// Milliseconds. For pgbench, this is the average, and `p99` is unknown.
    pub p50: f64,
    pub p99: f64,
    /// Milliseconds of CPU time per request.
    pub program_cpu: f64,
    pub database_cpu: f64,
    /// Resident memory, in MiB.
    pub program_memory: f64,
    /// Average private memory of a backend, in MiB.
    pub backend_memory: f64,
    pub failed: u64,
    /// Share of the machine's CPU time that other programs used.
    pub others: f64,
}

/// Runs the tutorial's statements with pgbench.
pub fn pgbench(here: &Path, host: &Host, plan: &Plan, seconds: u32) -> Result<Round, Failure> {
    let script = std::fs::read_to_string(here.join("tutorial.sql"))?;
    let script = if plan.zipf > 0.0 {
        // pgbench requires an exponent of at least 1.001.
        script.replace(
            "random(1, :tenants)",
            &format!("random_zipfian(1, :tenants, {})", plan.zipf.max(1.001)),
        )
    } else {
        script
    };
    let path = plan.data.join("pgbench.sql");
    std::fs::write(&path, script)?;
    let mut command = Command::new("pgbench");
    command
        .args([
            "--no-vacuum",
            "--protocol=simple",
            "--jobs=1",
            "--username=postgres",
        ])
        .args([
            format!("--client={}", plan.connections),
            format!("--time={seconds}"),
        ])
        .args([
            format!("--define=tenants={}", plan.tenants),
            format!("--define=users={}", plan.users),
        ])
        .arg(match host.port {
            Some(_) => "--host=127.0.0.1".to_owned(),
            None => format!("--host={}", host.socket.display()),
        })
        .arg(format!("--port={}", host.port.unwrap_or(5432)))
        .arg(format!("--file={}", path.display()))
        .arg("postgres");
    let (output, mut round) = measure(host, &mut command, None, &host.backends())?;
    let number = |before: &str| {
        let (_, rest) = output.split_once(before)?;
        rest.trim_start()
            .split([' ', '\n', '/'])
            .next()?
            .parse::<f64>()
            .ok()
    };
    round.rate = number("tps =").ok_or_else(|| format!("unexpected output of pgbench: {output}"))?;
    round.p50 = number("latency average =").unwrap_or(f64::NAN);
    round.p99 = f64::NAN;
    let done = number("transactions actually processed:").unwrap_or(f64::NAN);
    round.per_request(done);
    Ok(round)
}

/// Sends HTTP requests with wrk, each connection as soon as it has its response.
pub fn wrk(
    here: &Path,
    server: &Server,
    host: &Host,
    ignored_backends: &[u32],
    plan: &Plan,
    seconds: u32,
) -> Result<Round, Failure> {
    let mut command = Command::new("wrk");
    command
        .args([
            "--threads=1",
            &format!("--connections={}", plan.clients),
            &format!("--duration={seconds}s"),
        ])
        .arg(format!("--script={}", here.join("users.lua").display()))
        .args([
            &server.url,
            "--",
            &plan.tenants.to_string(),
            &plan.users.to_string(),
            &plan.zipf.to_string(),
        ]);
    let (output, mut round) = measure(host, &mut command, Some(server.pid), ignored_backends)?;
    let figures: Vec<f64> = output
        .lines()
        .find_map(|line| line.strip_prefix("result "))
        .ok_or_else(|| format!("unexpected output of wrk: {output}"))?
        .split(' ')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [requests, microseconds, p50, p99, failed] = figures[..] else {
        return Err(format!("unexpected output of wrk: {output}").into());
    };
    round.rate = requests / (microseconds / 1e6);
    round.p50 = p50 / 1e3;
    round.p99 = p99 / 1e3;
    round.failed = failed as u64;
    round.per_request(requests);
    Ok(round)
}

impl Round {
    fn per_request(&mut self, requests: f64) {
        self.program_cpu *= 1000.0 / requests;
        self.database_cpu *= 1000.0 / requests;
    }
}

/// Runs a load and measures the CPU time and memory of `program` and PostgreSQL. Without a program, the CPU time is
/// that of the load itself. The CPU times are totals. `ignored_backends` belong to another program.
fn measure(
    host: &Host,
    load: &mut Command,
    program: Option<u32>,
    ignored_backends: &[u32],
) -> Result<(String, Round), Failure> {
    let database = || -> f64 {
        let backends = host.backends();
        // The postmaster's count of its children contains the CPU time of backends that have ended.
        process_cpu(host.postmaster, true) + backends.iter().map(|pid| process_cpu(*pid, false)).sum::<f64>()
    };
    // Backends of the previous load, and later of this load, must have ended and been reaped. Only then does the
    // postmaster's count contain their CPU time.
    let settle = || std::thread::sleep(Duration::from_millis(500));
    let mut private = 0.0_f64;
    settle();
    let children = process_cpu(std::process::id(), true);
    let (database_before, machine_before) = (database(), machine_cpu()?);
    let program_before = program.map(|pid| process_cpu(pid, false));
    let start = Instant::now();
    let (sender, receiver) = std::sync::mpsc::channel();
    let command_line = format!("{load:?}");
    let mut load = load
        .stdout(std::process::Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command_line}: {error}"))?;
    let mut stdout = load.stdout.take().ok_or("no output")?;
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = std::io::Read::read_to_string(&mut stdout, &mut text);
        let _ = sender.send(text);
    });
    let output = loop {
        match receiver.recv_timeout(Duration::from_millis(500)) {
            Ok(output) => break output,
            Err(_) => {
                let memory: Vec<f64> = host
                    .backends()
                    .iter()
                    .filter(|pid| !ignored_backends.contains(pid))
                    .map(|pid| private_memory(*pid))
                    .collect();
                if !memory.is_empty() {
                    private = memory.iter().sum::<f64>() / memory.len() as f64;
                }
            }
        }
    };
    if !load.wait()?.success() {
        return Err(format!("{command_line} failed: {output}").into());
    }
    let elapsed = start.elapsed().as_secs_f64();
    settle();
    let load_cpu = process_cpu(std::process::id(), true) - children;
    let database_cpu = database() - database_before;
    let program_cpu = match (program, program_before) {
        (Some(pid), Some(before)) => process_cpu(pid, false) - before,
        _ => load_cpu,
    };
    let known = database_cpu + load_cpu + if program.is_some() { program_cpu } else { 0.0 };
    let cores = std::thread::available_parallelism()?.get() as f64;
    Ok((
        output,
        Round {
            rate: f64::NAN,
            p50: f64::NAN,
            p99: f64::NAN,
            program_cpu,
            database_cpu,
            program_memory: program.map_or(f64::NAN, resident_memory),
            backend_memory: private,
            failed: 0,
            others: ((machine_cpu()? - machine_before - known) / elapsed / cores).max(0.0),
        },
    ))
}

const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the seconds of CPU time of a process, with `with_children` including its children that have ended.
fn process_cpu(pid: u32, with_children: bool) -> f64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return 0.0;
    };
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let last = if with_children { 14 } else { 12 };
    (11..=last)
        .filter_map(|field| fields.get(field)?.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS_PER_SECOND
}

/// Returns the seconds of CPU time of the whole machine.
fn machine_cpu() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let times: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    // All times except idle, iowait and steal.
    let busy = times
        .iter()
        .enumerate()
        .filter(|(index, _)| ![3, 4, 7].contains(index))
        .map(|(_, time)| time);
    Ok(busy.sum::<f64>() / TICKS_PER_SECOND)
}

fn resident_memory(pid: u32) -> f64 {
    sum_mebibytes(&format!("/proc/{pid}/status"), &["VmRSS:"])
}

fn private_memory(pid: u32) -> f64 {
    sum_mebibytes(
        &format!("/proc/{pid}/smaps_rollup"),
        &["Private_Clean:", "Private_Dirty:"],
    )
}

/// Returns the sum of the named lines of a file in `/proc`, in MiB.
fn sum_mebibytes(path: &str, names: &[&str]) -> f64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| names.iter().any(|name| line.starts_with(name)));
    lines
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
        .sum::<f64>()
        / 1024.0
}

pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => figures[middle],
        _ => (figures[middle - 1] + figures[middle]) / 2.0,
    }
}
