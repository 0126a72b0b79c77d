//! Extractors for path and query parameters. Their rejections are problems.

#![expect(
    clippy::disallowed_types,
    reason = "wraps axum's extractors so that their rejections become problems"
)]

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::problem::Problem;
use crate::orders::PageRequest;

const DEFAULT_LIMIT: u16 = 100;
const MAX_LIMIT: u16 = 1000;

/// The parameters of the path, percent-decoded. The path may have others than `T`.
pub(super) struct PathParameters<T>(pub(super) T);

#[derive(Deserialize)]
pub(super) struct UserPath {
    pub(super) id: String,
}

#[derive(Deserialize)]
pub(super) struct OrderPath {
    pub(super) id: String,
    pub(super) order_id: String,
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(parameters) = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("The id in the path must be percent-encoded UTF-8."))?;
        Ok(Self(parameters))
    }
}

/// The requested page.
pub(super) struct Page(pub(super) PageRequest);

/// The query parameters of a page. Other parameters are ignored.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParameters {
    /// Maximum number of orders.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, default = json!(DEFAULT_LIMIT))]
    limit: Option<String>,
    /// Start of the page: the `next_cursor` of an earlier response.
    #[param(value_type = Option<String>, format = "cursor", example = "W251bGwsIjEiXQ")]
    cursor: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(parameters) = Query::<PageParameters>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("The parameters limit and cursor must not be repeated."))?;
        let limit = match parameters.limit {
            None => DEFAULT_LIMIT,
            Some(limit) => parse_limit(&limit).ok_or_else(|| {
                Problem::bad_request("The parameter limit must be an integer from 1 to 1000.")
            })?,
        };
        let after = match parameters.cursor {
            None => None,
            Some(cursor) => Some(cursor.parse().map_err(|_| Problem::bad_cursor())?),
        };
        Ok(Self(PageRequest { limit, after }))
    }
}

fn parse_limit(text: &str) -> Option<u16> {
    // `parse` alone would accept a leading plus sign.
    let has_only_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|limit| has_only_digits && (1..=MAX_LIMIT).contains(limit))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn user_id_is_extracted_beside_other_parameters() {
        let handler = async |PathParameters(UserPath { id })| id;
        let router = Router::<()>::new().route("/users/{id}/orders/{order_id}", get(handler));
        let request = Request::get("/users/a%2Fb/orders/2").body(Body::empty());
        let response = router.oneshot(request.unwrap()).await.unwrap();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert_eq!(body, "a/b");
    }
}
