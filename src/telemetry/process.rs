//! What the process takes of the machine, by the names that all Prometheus clients use.

use std::time::Duration;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo};
use prometheus::proto::MetricFamily;

use super::snapshot::{counter, gauge, number};

/// None where the operating system does not tell.
pub(super) fn families() -> Vec<MetricFamily> {
    read().unwrap_or_default()
}

fn read() -> ProcResult<Vec<MetricFamily>> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let cpu_time = ticks(stat.utime + stat.stime);
    let started = Duration::from_secs(procfs::boot_time_secs()?) + ticks(stat.starttime);
    let mut families = vec![
        counter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            [(None, cpu_time.as_secs_f64())],
        ),
        gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            [(None, number(stat.rss_bytes().get()))],
        ),
        gauge(
            "process_open_fds",
            "Number of open file descriptors.",
            [(None, number(process.fd_count()?))],
        ),
        gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            [(None, started.as_secs_f64())],
        ),
    ];
    if let LimitValue::Value(limit) = process.limits()?.max_open_files.soft_limit {
        families.push(gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            [(None, number(limit))],
        ));
    }
    Ok(families)
}

/// A time that the kernel tells in ticks.
fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1000) / procfs::ticks_per_second().max(1))
}
