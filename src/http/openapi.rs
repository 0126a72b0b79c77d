//! The document of the API (OpenAPI 3.1), made from the handlers and from what they answer.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi, PartialSchema};

use super::problem::Body;
use super::problem_type::ProblemType;

/// The document, as JSON.
pub(super) fn openapi() -> String {
    // All that it is made of is fixed, so that it can be written is seen by its tests.
    Document::openapi().to_json().unwrap_or_default()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tenant-orders",
        description = "The orders of users, each read from the schema of the user's tenant.\n\n\
            `HEAD` works where `GET` does. Each answer has an `x-request-id`, under which the log has the \
            cause of a failure. A failure is a problem document (RFC 9457), whose `type` says of what kind it is.",
        license(name = "MIT", identifier = "MIT")
    ),
    servers((url = "/", description = "This service")),
    tags(
        (name = "orders", description = "What users ordered, and what they owe"),
        (name = "probes", description = "For whoever watches over the service"),
    ),
    paths(super::orders::list, super::health::livez, super::health::readyz, super::metrics::show),
    components(schemas(Body<'_>)),
    modifiers(&Everywhere),
)]
struct Document;

/// What holds for all operations.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("Needed where the service is set up to ask for it."))
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
                    "The request's id: the caller's where that is sane, else a new one.",
                    Type::String,
                );
                response.headers.insert("x-request-id".to_owned(), RefOr::T(id));
            }
        }
    }
}

/// The problems that a request for orders may be answered.
pub(super) struct OrdersProblems;

impl IntoResponses for OrdersProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(
            "/users/1/orders",
            &[
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
                ProblemType::Overloaded,
                ProblemType::Timeout,
            ],
        )
    }
}

/// What may be answered where no database is asked.
const WITHOUT_DATABASE: [ProblemType; 3] = [
    ProblemType::MethodNotAllowed,
    ProblemType::Internal,
    ProblemType::Timeout,
];

/// The problems that the question whether the process lives may be answered.
pub(super) struct LivenessProblems;

impl IntoResponses for LivenessProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses("/livez", &WITHOUT_DATABASE)
    }
}

/// The problems that the question for metrics may be answered.
pub(super) struct MetricsProblems;

impl IntoResponses for MetricsProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses("/metrics", &WITHOUT_DATABASE)
    }
}

/// The problems that the question whether requests can be answered may be answered.
pub(super) struct ReadinessProblems;

impl IntoResponses for ReadinessProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(
            "/readyz",
            &[
                ProblemType::MethodNotAllowed,
                ProblemType::Internal,
                ProblemType::DatabaseUnavailable,
                ProblemType::Overloaded,
                ProblemType::Timeout,
            ],
        )
    }
}

/// An answer of `path` for each status, with an example of each problem that has it.
fn responses(path: &str, kinds: &[ProblemType]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status = BTreeMap::<u16, Vec<ProblemType>>::new();
    for kind in kinds {
        by_status
            .entry(kind.row().status.as_u16())
            .or_default()
            .push(*kind);
    }
    by_status
        .into_iter()
        .map(|(status, kinds)| (status.to_string(), response(path, &kinds).into()))
        .collect()
}

/// An answer that is one of `kinds`, which share a status.
fn response(path: &str, kinds: &[ProblemType]) -> Response {
    let titles: Vec<_> = kinds.iter().map(|kind| kind.row().title).collect();
    let examples = kinds.iter().map(|kind| {
        let row = kind.row();
        let example = Body::new(*kind, row.detail, path, "7f0c1a3e-52d4-4be9-9a50-1d3f8f6f0c7b");
        let example = ExampleBuilder::new()
            .summary(row.title)
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
        let row = kind.row();
        if row.retry {
            let retry_after = header("Seconds after which it makes sense to try again.", Type::Integer);
            response = response.header("Retry-After", retry_after);
        }
        if row.status == StatusCode::METHOD_NOT_ALLOWED {
            response = response.header(
                "Allow",
                header("The methods that this path answers.", Type::String),
            );
        }
        if row.status == StatusCode::UNAUTHORIZED {
            let challenge = header("What is wanted (RFC 6750, section 3).", Type::String);
            response = response.header("WWW-Authenticate", challenge);
        }
    }
    response.build()
}

fn header(description: &str, value: Type) -> Header {
    HeaderBuilder::new()
        .schema(Some(Object::with_type(value)))
        .description(Some(description))
        .build()
}

/// The `type` of a problem: one of those that there are.
pub(super) fn problem_type() -> Schema {
    let RefOr::T(Schema::Object(names)) = ProblemType::schema() else {
        return Schema::default();
    };
    let types = names
        .enum_values
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| name.as_str().map(|name| format!("/problems/{name}")));
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uri-reference".to_owned())))
        .description(Some(
            "What kind of failure it is: a name, under which there is nothing to be fetched.",
        ))
        .enum_values(Some(types))
        .into()
}
