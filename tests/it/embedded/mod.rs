//! The embedded PostgreSQL.

#[cfg(target_os = "linux")]
use std::path::Path;

#[cfg(target_os = "linux")]
use crate::support::block_until;

mod data_dir;
mod lifecycle;

/// Returns the processes with the folder in their command line: the server and its supervisor.
#[cfg(target_os = "linux")]
fn processes(data_dir: &Path) -> Vec<i32> {
    let named = data_dir.join("cluster");
    let named = named.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid = path.file_name()?.to_str()?.parse().ok()?;
            let command = std::fs::read(path.join("cmdline")).ok()?;
            String::from_utf8_lossy(&command).contains(named).then_some(pid)
        })
        .collect()
}

#[cfg(target_os = "linux")]
fn assert_all_processes_end(data_dir: &Path) {
    block_until("PostgreSQL has ended", || processes(data_dir).is_empty());
}
