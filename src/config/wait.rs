//! Wait for the database at the start of a command.

use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;

/// Wait for the database at the start of a command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct WaitSettings {
    /// Maximum wait for a database that is not up yet; 0s to fail at once
    #[arg(long, env = "DATABASE_WAIT", value_name = "DURATION", default_value = "30s", value_parser = parse_wait)]
    pub database_wait: Duration,
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    if text == "0s" {
        return Ok(Duration::ZERO);
    }
    parse_duration(text)
}
