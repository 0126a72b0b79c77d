//! One measurement: a load, and what it cost whom.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::servers::Service;
use crate::{Failure, Plan};

#[derive(Debug, Clone, Copy)]
pub enum Contender {
    Pgbench,
    Service,
    Naive,
}

/// What one measurement found.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Requests, or runs of the statements, per second.
    pub rate: f64,
    /// Milliseconds; those of pgbench are not measured, but its average.
    pub p50: f64,
    pub p99: f64,
    /// Milliseconds of CPU time for each.
    pub program_cpu: f64,
    pub database_cpu: f64,
    /// MiB resident.
    pub program_memory: f64,
    /// MiB of memory of its own, on average.
    pub backend_memory: f64,
    pub failed: u64,
    /// The share of the machine that went to programs that have nothing to do with it.
    pub others: f64,
}

/// Runs the tutorial's statements as they are.
pub fn pgbench(here: &Path, service: &Service, plan: &Plan, seconds: u32) -> Result<Round, Failure> {
    let script = std::fs::read_to_string(here.join("tutorial.sql"))?;
    let script = if plan.zipf > 0.0 {
        // It takes no exponent below 1.001.
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
        .arg(format!("--host={}", service.socket.display()))
        .arg(format!("--file={}", path.display()))
        .arg("postgres");
    let (output, mut round) = measured(service, &mut command, None, &service.backends())?;
    let number = |before: &str| {
        let (_, rest) = output.split_once(before)?;
        rest.trim_start()
            .split([' ', '\n', '/'])
            .next()?
            .parse::<f64>()
            .ok()
    };
    round.rate = number("tps =").ok_or_else(|| format!("pgbench said: {output}"))?;
    round.p50 = number("latency average =").unwrap_or(f64::NAN);
    round.p99 = f64::NAN;
    let done = number("transactions actually processed:").unwrap_or(f64::NAN);
    round.per_request(done);
    Ok(round)
}

/// Asks over HTTP, as fast as answers come.
pub fn wrk(
    here: &Path,
    (url, pid): (&str, u32),
    service: &Service,
    resting: &[u32],
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
            url,
            "--",
            &plan.tenants.to_string(),
            &plan.users.to_string(),
            &plan.zipf.to_string(),
        ]);
    let (output, mut round) = measured(service, &mut command, Some(pid), resting)?;
    let figures: Vec<f64> = output
        .lines()
        .find_map(|line| line.strip_prefix("result "))
        .ok_or_else(|| format!("wrk said: {output}"))?
        .split(' ')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [requests, microseconds, p50, p99, failed] = figures[..] else {
        return Err(format!("wrk said: {output}").into());
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

/// Runs a load to its end, and takes down what `program` and PostgreSQL did meanwhile. Without a program
/// it is the load's own CPU time that counts. CPU times are those of all requests. `resting` backends are
/// somebody else's.
fn measured(
    service: &Service,
    load: &mut Command,
    program: Option<u32>,
    resting: &[u32],
) -> Result<(String, Round), Failure> {
    let database = || -> f64 {
        let backends = service.backends();
        // What backends that have ended had used is their parent's children's.
        process_cpu(service.postmaster, true)
            + backends.iter().map(|pid| process_cpu(*pid, false)).sum::<f64>()
    };
    // Backends of whoever was measured before, and later of this load, must have ended and been reaped:
    // only then does their parent have their CPU time.
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
                let memory: Vec<f64> = service
                    .backends()
                    .iter()
                    .filter(|pid| !resting.contains(pid))
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

/// Seconds of CPU time of a process, or with `of_children` of it and of those children that have ended.
fn process_cpu(pid: u32, of_children: bool) -> f64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return 0.0;
    };
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let last = if of_children { 14 } else { 12 };
    (11..=last)
        .filter_map(|field| fields.get(field)?.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS_PER_SECOND
}

/// Seconds of CPU time of the whole machine.
fn machine_cpu() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let times: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    // All but idle, waiting for disks, and what a host took.
    let busy = times
        .iter()
        .enumerate()
        .filter(|(place, _)| ![3, 4, 7].contains(place))
        .map(|(_, time)| time);
    Ok(busy.sum::<f64>() / TICKS_PER_SECOND)
}

fn resident_memory(pid: u32) -> f64 {
    kibibytes(&format!("/proc/{pid}/status"), &["VmRSS:"])
}

fn private_memory(pid: u32) -> f64 {
    kibibytes(
        &format!("/proc/{pid}/smaps_rollup"),
        &["Private_Clean:", "Private_Dirty:"],
    )
}

/// The sum of some lines of a file of `/proc`, in MiB.
fn kibibytes(path: &str, names: &[&str]) -> f64 {
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
