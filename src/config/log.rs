//! Log settings.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Target of the spans that are exported as traces and never logged.
pub(crate) const TRACE_TARGET: &str = "otel";

/// Log settings.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// Format of log lines [default: pretty on a terminal, otherwise json]
    #[arg(long, env, value_name = "FORMAT", global = true)]
    log_format: Option<LogFormat>,

    /// Log level, optionally by module, such as info,sqlx=debug
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info", value_parser = log_filter, global = true)]
    log_filter: String,
}

impl LogSettings {
    /// Returns the configured format. The default depends on whether stderr is a terminal.
    pub(crate) fn format(&self) -> LogFormat {
        self.log_format.unwrap_or(if std::io::stderr().is_terminal() {
            LogFormat::Pretty
        } else {
            LogFormat::Json
        })
    }

    /// Returns whether stderr is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn is_colored(&self) -> bool {
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Returns the filter. Notices of PostgreSQL, such as `relation already exists, skipping`, are left out by
    /// default.
    pub(crate) fn filter(&self) -> EnvFilter {
        EnvFilter::new(format!(
            "sqlx::postgres::notice=warn,{},{TRACE_TARGET}=off",
            self.log_filter
        ))
    }
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Readable text, colored on a terminal
    Pretty,
    /// One JSON object per line
    Json,
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}
