//! Initialization of the log and of trace export.

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

/// A guard that exports the remaining traces when it is dropped.
#[must_use]
pub struct Log {
    #[cfg(feature = "otel")]
    _traces: Option<Traces>,
}

/// Starts the log on stderr and, if configured, the export of traces.
///
/// # Errors
///
/// Returns a message for the operator if a setting is invalid.
pub fn start_log(settings: &LogSettings) -> Result<Log, String> {
    #[cfg(not(feature = "otel"))]
    {
        let log = tracing_subscriber::registry().with(settings.filter());
        log.with(format_layer(settings)).init();
        Ok(Log {})
    }
    #[cfg(feature = "otel")]
    {
        let traces = Traces::start(&TraceSettings::read()?).map_err(|error| error.to_string())?;
        tracing_subscriber::registry()
            .with(traces.as_ref().map(Traces::layer))
            .with(format_layer(settings).with_filter(settings.filter()))
            .init();
        Ok(Log { _traces: traces })
    }
}

fn format_layer<S>(settings: &LogSettings) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_ansi(settings.is_colored());
    match settings.format() {
        LogFormat::Pretty => layer.with_target(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}
