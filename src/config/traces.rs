//! Trace settings, from the environment variables of the OpenTelemetry specification.

/// The `OTEL_*` variables that OpenTelemetry's own code does not read: see its specification, "Environment
/// Variable Specification" and "OpenTelemetry Protocol Exporter". They have no flags, because they
/// configure every program that uses OpenTelemetry.
#[derive(Debug, Clone)]
pub(crate) struct TraceSettings {
    /// Traces are exported.
    pub(crate) is_enabled: bool,
    /// A variable sets the service's name.
    pub(crate) has_service_name: bool,
}

impl TraceSettings {
    /// Reads the variables. Unlike the specification, it has no default endpoint: without one, no traces are
    /// exported. Returns a message if a variable selects an unsupported protocol.
    pub(crate) fn read() -> Result<Self, String> {
        let is_off = read("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || read("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let endpoint =
            read("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| read("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let is_enabled = endpoint.is_some() && !is_off;
        for variable in [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ] {
            if is_enabled && read(variable).is_some_and(|protocol| protocol != "http/protobuf") {
                return Err(format!(
                    "{variable} must be http/protobuf, the only supported protocol"
                ));
            }
        }
        Ok(Self {
            is_enabled,
            has_service_name: read("OTEL_SERVICE_NAME").is_some()
                || read("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|list| list.contains("service.name=")),
        })
    }
}

/// Returns the value of `variable`, or `None` if it is unset or empty.
fn read(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}
