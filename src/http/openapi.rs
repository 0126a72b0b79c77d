//! The API document (OpenAPI 3.1), generated from the handlers.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::problem::ProblemBody;
use super::problem_responses::header;
use super::{health, metrics, order, orders};

/// Renders the document as JSON, without the probes and metrics if they have a port of their own.
pub(super) fn render(has_probes: bool) -> String {
    let mut document = Document::openapi();
    if !has_probes {
        document.paths.paths.retain(|path, _| path.starts_with("/users/"));
    }
    // The document is fixed: its tests show that it can be rendered.
    document.to_json().unwrap_or_default()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tenant-orders",
        description = "Orders of users, each read from the schema of the user's tenant.\n\n\
            `HEAD` works wherever `GET` does. Every response has an `x-request-id`, under which the log has the \
            cause of a failure. Failures are problem documents (RFC 9457) with a stable `type`.",
        license(name = "MIT", identifier = "MIT")
    ),
    servers((url = ".", description = "This service, relative to this document")),
    tags(
        (name = "orders", description = "Orders of users, and the total due"),
        (name = "probes", description = "Health and metrics, for operators"),
    ),
    paths(orders::list, order::find, health::livez, health::readyz, metrics::scrape),
    components(schemas(ProblemBody<'_>)),
    modifiers(&CommonParts),
)]
struct Document;

/// The parts that all operations share.
struct CommonParts;

impl Modify for CommonParts {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("Required if the service has a key that verifies tokens."))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let operations = document
            .paths
            .paths
            .values_mut()
            .filter_map(|path| path.get.as_mut());
        for response in operations.flat_map(|operation| operation.responses.responses.values_mut()) {
            if let RefOr::T(response) = response {
                let id = header(
                    "The request id: the client's if it is valid, otherwise a new one.",
                    Type::String,
                );
                response.headers.insert("x-request-id".to_owned(), RefOr::T(id));
            }
        }
    }
}
