//! The process: environment, log, runtime and exit status.

use std::process::ExitCode;

use tenant_orders::cli::{Cli, output, start_log};

/// Requests allocate on all threads, which is slow with the system's allocator: see docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything reads the environment, and while the process has a single thread.
    match dotenvy::dotenv() {
        // The message leaves out the line, which can be a secret.
        Err(dotenvy::Error::LineParse(..)) => {
            output::print_error_message("failed to parse .env: a line is not of the form NAME=value");
            return ExitCode::from(2);
        }
        Err(error) if !error.not_found() => {
            output::print_error_message(&format!("failed to read .env: {error}"));
            return ExitCode::from(2);
        }
        _ => {}
    }
    let cli = Cli::read();
    let _log = match start_log(&cli.log) {
        Ok(log) => log,
        Err(reason) => {
            output::print_error_message(&reason);
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::print_error(&error);
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(cli.run());
    // Does not wait for a pending read of stdin, which cannot be cancelled.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}
