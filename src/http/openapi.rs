//! The API document (OpenAPI 3.1), generated from the handlers and the problem types.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::problem::ProblemBody;
use super::problem_type::ProblemType;
use super::{orders, probes};

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
    paths(orders::list, orders::find, probes::livez, probes::readyz, probes::metrics),
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
        for (path, item) in &mut document.paths.paths {
            let Some(operation) = &mut item.get else { continue };
            let responses = &mut operation.responses.responses;
            responses.extend(error_responses(path));
            for response in responses.values_mut() {
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
}

/// Problems of all endpoints that read a tenant's data.
const API_PROBLEMS: [ProblemType; 14] = [
    ProblemType::BadRequest,
    ProblemType::Unauthorized,
    ProblemType::Forbidden,
    ProblemType::UserNotFound,
    ProblemType::NotFound,
    ProblemType::MethodNotAllowed,
    ProblemType::TenantOverloaded,
    ProblemType::TenantDataInvalid,
    ProblemType::Internal,
    ProblemType::TenantUnavailable,
    ProblemType::DatabaseUnavailable,
    ProblemType::AuthenticationUnavailable,
    ProblemType::Overloaded,
    ProblemType::Timeout,
];

/// Returns the problems of the endpoint at `path`.
fn list_problems(path: &str) -> Vec<ProblemType> {
    match path {
        "/users/{id}/orders" => API_PROBLEMS.to_vec(),
        "/users/{id}/orders/{order_id}" => [&[ProblemType::OrderNotFound], &API_PROBLEMS[..]].concat(),
        "/readyz" => vec![
            ProblemType::MethodNotAllowed,
            ProblemType::Internal,
            ProblemType::DatabaseUnavailable,
            ProblemType::AuthenticationUnavailable,
            ProblemType::Overloaded,
            ProblemType::Timeout,
        ],
        _ => vec![
            ProblemType::MethodNotAllowed,
            ProblemType::Internal,
            ProblemType::Timeout,
        ],
    }
}

/// Returns the error responses of the endpoint at `path`: one for each status, with an example of each problem that
/// has it.
fn error_responses(path: &str) -> BTreeMap<String, RefOr<Response>> {
    let instance = path.replace("{id}", "1").replace("{order_id}", "1");
    let mut by_status = BTreeMap::<u16, Vec<ProblemType>>::new();
    for kind in list_problems(path) {
        by_status.entry(kind.status().as_u16()).or_default().push(kind);
    }
    by_status
        .into_iter()
        .map(|(status, kinds)| (status.to_string(), response(&instance, &kinds).into()))
        .collect()
}

/// Returns the response for problems that share a status.
fn response(instance: &str, kinds: &[ProblemType]) -> Response {
    let titles: Vec<_> = kinds.iter().map(|kind| kind.title()).collect();
    let examples = kinds.iter().map(|kind| {
        let request_id = "7f0c1a3e-52d4-4be9-9a50-1d3f8f6f0c7b";
        let example = ProblemBody::new(*kind, kind.detail(), instance, request_id);
        let example = ExampleBuilder::new()
            .summary(kind.title())
            .value(serde_json::to_value(example).ok());
        (kind.to_string(), example)
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples);
    let mut response = ResponseBuilder::new()
        .description(titles.join(", or: "))
        .content("application/problem+json", content.build());
    for kind in kinds {
        if kind.is_retryable() {
            let retry_after = header("Seconds to wait before the next attempt.", Type::Integer);
            response = response.header("Retry-After", retry_after);
        }
        if kind.status() == StatusCode::METHOD_NOT_ALLOWED {
            let allow = header("The methods that this path supports.", Type::String);
            response = response.header("Allow", allow);
        }
        if kind.status() == StatusCode::UNAUTHORIZED {
            let challenge = header("The required authentication (RFC 6750, section 3).", Type::String);
            response = response.header("WWW-Authenticate", challenge);
        }
    }
    response.build()
}

/// Returns a response header for the API document.
fn header(description: &str, value: Type) -> Header {
    HeaderBuilder::new()
        .schema(Some(Object::with_type(value)))
        .description(Some(description))
        .build()
}
