//! Where traces go, by the variables that all programs with OpenTelemetry share.

use std::env::var;

/// What the variables `OTEL_*` say, as far as OpenTelemetry's own code does not read them itself: see its
/// specification, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter". They are no
/// flags, since all programs with OpenTelemetry are set by them.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    are_exported: bool,
    names_the_service: bool,
}

impl TraceSettings {
    /// Reads the variables. Unlike in the specification, there are no traces where no endpoint is named: a
    /// program that nobody set up does not look for a collector.
    ///
    /// # Errors
    ///
    /// What is asked for that this program has not got.
    pub fn read() -> Result<Self, String> {
        let is_off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || set("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let endpoint =
            set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let are_exported = endpoint.is_some() && !is_off;
        for variable in [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ] {
            if are_exported && set(variable).is_some_and(|protocol| protocol != "http/protobuf") {
                return Err(format!(
                    "{variable} must be http/protobuf: there is no other here"
                ));
            }
        }
        Ok(Self {
            are_exported,
            names_the_service: set("OTEL_SERVICE_NAME").is_some()
                || set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|list| list.contains("service.name=")),
        })
    }

    /// Whether traces go anywhere.
    #[must_use]
    pub fn are_exported(&self) -> bool {
        self.are_exported
    }

    /// Whether the service has a name of its own in them.
    #[must_use]
    pub fn names_the_service(&self) -> bool {
        self.names_the_service
    }
}

/// The value of a variable; an empty one counts as unset.
fn set(variable: &str) -> Option<String> {
    var(variable).ok().filter(|value| !value.is_empty())
}
