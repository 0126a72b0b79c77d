//! Initialization of the log and of trace export.

use std::fmt;

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

#[cfg(feature = "otel")]
use crate::config::TraceSettings;
use crate::config::{LogFormat, LogSettings};
use crate::telemetry::LogQueue;
#[cfg(feature = "otel")]
use crate::telemetry::Traces;

/// A guard of the log. Dropping it exports the remaining traces and writes the remaining lines, in this order,
/// because a failed export is logged.
#[must_use]
pub struct Log {
    #[cfg(feature = "otel")]
    _traces: Option<Traces>,
    _lines: FlushOnDrop,
}

struct FlushOnDrop(LogQueue);

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Starts the log on stderr and, if configured, the export of traces. Panics are logged too: the default hook
/// writes to stderr, which can block.
///
/// # Errors
///
/// Returns a message for the operator if a setting is invalid.
pub fn start_log(settings: &LogSettings) -> Result<Log, String> {
    let queue = LogQueue::start().map_err(|error| format!("failed to start the log: {error}"))?;
    let lines = FlushOnDrop(queue.clone());
    #[cfg(feature = "otel")]
    let traces = Traces::start(&TraceSettings::read()?).map_err(|error| error.to_string())?;
    #[cfg(feature = "otel")]
    if let Some(traces) = &traces {
        // Traces have spans that the log's filter disables, so each layer has its own filter.
        let log = format_layer(settings, queue).with_filter(settings.filter());
        tracing_subscriber::registry()
            .with(traces.layer())
            .with(log)
            .init();
    } else {
        init_without_traces(settings, queue);
    }
    #[cfg(not(feature = "otel"))]
    init_without_traces(settings, queue);
    log_panics();
    Ok(Log {
        #[cfg(feature = "otel")]
        _traces: traces,
        _lines: lines,
    })
}

fn init_without_traces(settings: &LogSettings, queue: LogQueue) {
    let registry = tracing_subscriber::registry().with(settings.filter());
    registry.with(format_layer(settings, queue)).init();
}

fn log_panics() {
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a thread panicked")));
}

/// The time of a log line, with microseconds. Written in one piece, it makes the formatter's buffer grow only once.
struct UtcTime;

impl FormatTime for UtcTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.6}", jiff::Timestamp::now())
    }
}

fn format_layer<S>(settings: &LogSettings, queue: LogQueue) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(queue)
        .with_timer(UtcTime)
        .log_internal_errors(false)
        .with_ansi(settings.is_colored());
    match settings.format() {
        LogFormat::Pretty => layer.with_target(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}
