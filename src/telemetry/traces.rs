//! Trace export over OTLP, the OpenTelemetry protocol.

use axum::http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::config::{TRACE_TARGET, TraceSettings};

/// Exports traces to a collector in the background. Dropping it exports the remaining traces and takes at
/// most five seconds.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the export. Returns `None` if `settings` name no collector. OpenTelemetry's own code reads the
    /// other `OTEL_*` variables. Returns an error if one of them has an invalid value.
    pub(crate) fn start(settings: &TraceSettings) -> Result<Option<Self>, ExporterBuildError> {
        if !settings.is_enabled {
            return Ok(None);
        }
        // The exporter's HTTP client uses the process's default provider. An error means that one is set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder().with_http().build()?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource(settings))
            .build();
        Ok(Some(Self(provider)))
    }

    /// Returns a layer that receives the spans with the target of traces and no other events.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(Targets::new().with_target(TRACE_TARGET, Level::INFO))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "failed to export the last traces");
        }
    }
}

fn resource(settings: &TraceSettings) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    if settings.has_service_name {
        return resource.build();
    }
    resource.with_service_name(env!("CARGO_PKG_NAME")).build()
}

/// Makes `span` a child of the client's span if the request has a `traceparent` header (W3C Trace Context).
/// Returns the trace id, or `None` if the span is disabled.
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    if headers.contains_key("traceparent") {
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // Fails only for a span that has started already.
        let _ = span.set_parent(parent);
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| context.trace_id().to_string())
}
