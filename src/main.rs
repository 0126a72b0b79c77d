//! The process: its environment, its log, its runtime and its exit status.

use std::process::ExitCode;

use clap::Parser;
use tenant_orders::cli::{Cli, output};

fn main() -> ExitCode {
    // Before anything reads the environment, and before there is a second thread.
    if let Err(error) = dotenvy::dotenv()
        && !error.not_found()
    {
        output::failure(&error);
        return ExitCode::from(2);
    }
    let cli = Cli::parse();
    output::start_log(&cli.log);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::failure(&error);
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure(&error);
            ExitCode::FAILURE
        }
    }
}
