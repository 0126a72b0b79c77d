//! The process: environment, log, runtime and exit status.

use std::process::ExitCode;
use std::sync::Mutex;
use std::{io, thread};

use tenant_orders::cli::{Cli, Failure, output, start_log};
use tenant_orders::{config, server};
use tokio::runtime::Runtime;

/// Requests allocate on all threads, which is slow with the system's allocator: see docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::print_error(&failure.message);
            ExitCode::from(failure.exit_status)
        }
    }
}

fn run() -> Result<(), Failure> {
    // Before anything reads the environment, and while the process has a single thread.
    read_env_file().map_err(Failure::from_usage)?;
    let cli = Cli::read();
    let worker_threads = config::worker_threads().map_err(Failure::from_usage)?;
    // Dropped on return, so that the log's last line precedes the error.
    let _log = start_log(&cli.log).map_err(Failure::from_usage)?;
    let signals = server::stop_signals()
        .map_err(|error| Failure::from_message(format!("failed to install the signal handlers: {error}")))?;
    let runtime = start_runtime(worker_threads).map_err(Failure::from_message)?;
    let result = runtime.block_on(cli.run(signals));
    // Does not wait for a pending read of stdin, which cannot be cancelled.
    runtime.shutdown_background();
    result.and_then(|()| output::finish())
}

fn read_env_file() -> Result<(), String> {
    match dotenvy::dotenv() {
        // The message leaves out the line, which can be a secret.
        Err(dotenvy::Error::LineParse(..)) => {
            Err("failed to parse .env: a line is not of the form NAME=value".to_owned())
        }
        Err(error) if !error.not_found() => Err(format!("failed to read .env: {error}")),
        _ => Ok(()),
    }
}

fn start_runtime(worker_threads: usize) -> Result<Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(worker_threads).enable_all();
    require_threads(worker_threads)
        .and_then(|()| builder.build())
        .map_err(|error| {
            format!(
                "failed to start {worker_threads} threads: {error}; raise the limits of memory and threads, or lower \
                 TOKIO_WORKER_THREADS"
            )
        })
}

/// Checks that the operating system allows this number of threads. Tokio would panic, and never return.
fn require_threads(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let _closed = gate.lock();
        (0..count).try_for_each(|_| {
            let waiting = thread::Builder::new().spawn_scoped(scope, || drop(gate.lock()));
            waiting.map(drop)
        })
    })
}
