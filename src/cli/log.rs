//! Starts the log, and the traces.

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

#[cfg(feature = "otel")]
use crate::config::TraceSettings;
use crate::config::{LogFormat, LogSettings};
#[cfg(feature = "otel")]
use crate::telemetry::Traces;

/// What is to be kept as long as anything is logged: dropped, it sends the last traces.
#[must_use]
pub struct Log {
    #[cfg(feature = "otel")]
    _traces: Option<Traces>,
}

/// Starts the log, on standard error, and traces, where they are wanted.
///
/// # Errors
///
/// What cannot be done as the settings say, for the user.
pub fn start_log(settings: &LogSettings) -> Result<Log, String> {
    #[cfg(not(feature = "otel"))]
    {
        let log = tracing_subscriber::registry().with(settings.filter());
        log.with(lines(settings)).init();
        Ok(Log {})
    }
    #[cfg(feature = "otel")]
    {
        let traces = Traces::start(&TraceSettings::read()?).map_err(|error| error.to_string())?;
        tracing_subscriber::registry()
            .with(traces.as_ref().map(Traces::layer))
            .with(lines(settings).with_filter(settings.filter()))
            .init();
        Ok(Log { _traces: traces })
    }
}

fn lines<S>(settings: &LogSettings) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_ansi(settings.coloured());
    match settings.format() {
        LogFormat::Pretty => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
}
