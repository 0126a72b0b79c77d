//! The process: its environment, its log, its runtime and its exit status.

use std::process::ExitCode;

use tenant_orders::cli::{Cli, output, start_log};

/// Requests allocate much and from all threads: see docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything reads the environment, and before there is a second thread.
    match dotenvy::dotenv() {
        // Its text may be a secret.
        Err(dotenvy::Error::LineParse(..)) => {
            output::refuse("the file .env has a line that is not of the form NAME=value");
            return ExitCode::from(2);
        }
        Err(error) if !error.not_found() => {
            output::refuse(&format!("the file .env cannot be read: {error}"));
            return ExitCode::from(2);
        }
        _ => {}
    }
    let cli = Cli::read();
    let _log = match start_log(&cli.log) {
        Ok(log) => log,
        Err(reason) => {
            output::refuse(&reason);
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::failure(&error);
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(cli.run());
    // A read of standard input cannot be called off: one that nobody waits for must not hold up the end.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure(&error);
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}
