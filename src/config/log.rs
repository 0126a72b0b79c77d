//! What is logged and how.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Spans of this target are for traces alone, and never in the log: docs/observability.md has both.
pub(crate) const TRACE_TARGET: &str = "otel";

/// What is logged and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// How log lines look [default: pretty on a terminal, else json]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", global = true)]
    log_format: Option<LogFormat>,

    /// What is logged: a level, or levels by module, such as info,sqlx=debug
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info", value_parser = log_filter, global = true)]
    log_filter: String,
}

impl LogSettings {
    /// The format asked for, or the one that fits where the log goes.
    #[must_use]
    pub fn format(&self) -> LogFormat {
        self.log_format.unwrap_or(if std::io::stderr().is_terminal() {
            LogFormat::Pretty
        } else {
            LogFormat::Json
        })
    }

    /// Whether log lines may be coloured: on a terminal, unless `NO_COLOR` says otherwise.
    #[must_use]
    pub fn coloured(&self) -> bool {
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// The filter; its text was checked when it was read. What PostgreSQL remarks on migrations, such
    /// as that a table exists already, is left out unless it is asked for.
    #[must_use]
    pub fn filter(&self) -> EnvFilter {
        EnvFilter::new(format!(
            "sqlx::postgres::notice=warn,{},{TRACE_TARGET}=off",
            self.log_filter
        ))
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: a line of text, coloured on a terminal
    Pretty,
    /// For programs: a JSON object a line
    Json,
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}
