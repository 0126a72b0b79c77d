//! Error responses in the API document.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::IntoResponses;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};

use super::problem::ProblemBody;
use super::problem_type::ProblemType;

type Responses = BTreeMap<String, RefOr<Response>>;

/// Error responses of all endpoints that read a tenant's data.
pub(super) struct ApiProblems;

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

impl IntoResponses for ApiProblems {
    fn responses() -> Responses {
        responses("/users/1/orders", &API_PROBLEMS)
    }
}

/// Error responses of `GET /users/{id}/orders/{order_id}`.
pub(super) struct OrderProblems;

impl IntoResponses for OrderProblems {
    fn responses() -> Responses {
        let problems = [&[ProblemType::OrderNotFound][..], &API_PROBLEMS].concat();
        responses("/users/1/orders/1", &problems)
    }
}

/// Problems of endpoints that do not use the database.
const PROBE_PROBLEMS: [ProblemType; 3] = [
    ProblemType::MethodNotAllowed,
    ProblemType::Internal,
    ProblemType::Timeout,
];

/// Error responses of `GET /livez`.
pub(super) struct LivenessProblems;

impl IntoResponses for LivenessProblems {
    fn responses() -> Responses {
        responses("/livez", &PROBE_PROBLEMS)
    }
}

/// Error responses of `GET /metrics`.
pub(super) struct MetricsProblems;

impl IntoResponses for MetricsProblems {
    fn responses() -> Responses {
        responses("/metrics", &PROBE_PROBLEMS)
    }
}

/// Error responses of `GET /readyz`.
pub(super) struct ReadinessProblems;

impl IntoResponses for ReadinessProblems {
    fn responses() -> Responses {
        responses(
            "/readyz",
            &[
                ProblemType::MethodNotAllowed,
                ProblemType::Internal,
                ProblemType::DatabaseUnavailable,
                ProblemType::AuthenticationUnavailable,
                ProblemType::Overloaded,
                ProblemType::Timeout,
            ],
        )
    }
}

/// Returns a response for each status, with an example of each problem that has it.
fn responses(instance: &str, kinds: &[ProblemType]) -> Responses {
    let mut by_status = BTreeMap::<u16, Vec<ProblemType>>::new();
    for kind in kinds {
        by_status
            .entry(kind.definition().status.as_u16())
            .or_default()
            .push(*kind);
    }
    by_status
        .into_iter()
        .map(|(status, kinds)| (status.to_string(), response(instance, &kinds).into()))
        .collect()
}

/// Returns the response for problems that share a status.
fn response(instance: &str, kinds: &[ProblemType]) -> Response {
    let titles: Vec<_> = kinds.iter().map(|kind| kind.definition().title).collect();
    let examples = kinds.iter().map(|kind| {
        let definition = kind.definition();
        let request_id = "7f0c1a3e-52d4-4be9-9a50-1d3f8f6f0c7b";
        let example = ProblemBody::new(*kind, definition.detail, instance, request_id);
        let example = ExampleBuilder::new()
            .summary(definition.title)
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
        let definition = kind.definition();
        if definition.is_retryable {
            let retry_after = header("Seconds to wait before the next attempt.", Type::Integer);
            response = response.header("Retry-After", retry_after);
        }
        if definition.status == StatusCode::METHOD_NOT_ALLOWED {
            let allow = header("The methods that this path supports.", Type::String);
            response = response.header("Allow", allow);
        }
        if definition.status == StatusCode::UNAUTHORIZED {
            let challenge = header("The required authentication (RFC 6750, section 3).", Type::String);
            response = response.header("WWW-Authenticate", challenge);
        }
    }
    response.build()
}

/// Returns a response header for the API document.
pub(super) fn header(description: &str, value: Type) -> Header {
    HeaderBuilder::new()
        .schema(Some(Object::with_type(value)))
        .description(Some(description))
        .build()
}
