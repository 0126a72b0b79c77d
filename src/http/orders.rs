//! `GET /users/{id}/orders` and `GET /users/{id}/orders/{order_id}`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::authentication::TokenOrganization;
use super::extract::{OrderPath, Page, PageParameters, PathParameters, UserPath};
use super::problem::Problem;
use super::problem_type::ProblemType;
use super::request_log::DatabaseWork;
use crate::orders::{self, Cursor, OrderLine, OrdersPage};
use crate::users::UserDirectory;

/// Expected size of an order in a response, and of all other fields together. A buffer that is large enough is not
/// copied while it grows.
const EXPECTED_BYTES: usize = 256;

/// The orders of a user
///
/// Newest first, each with its item at the price of the user's tenant, and the total of all of them.
/// Page and total are of the same moment.
#[utoipa::path(
    get,
    path = "/users/{id}/orders",
    tag = "orders",
    operation_id = "listOrders",
    params(
        ("id" = String, Path, description = "The user's id: opaque text", min_length = 1, example = "1"),
        PageParameters,
        ("x-request-id" = Option<String>, Header, nullable = false,
            description = "Id of this request: 1 to 128 letters, digits and `-_.:`. Any other value is replaced"),
    ),
    security((), ("bearer" = [])),
    responses((
        status = 200, description = "A page of orders", body = OrdersPage<'_>,
        headers(("Link" = String, description = "URL of the next page, if there is one: `rel=\"next\"` (RFC 8288)")),
        example = json!({
            "user": { "id": "1", "name": "rich_dude", "organization_id": "client1" },
            "orders": [{
                "id": "1",
                "created_at": null,
                "item": { "id": "1", "description": "Tesla" },
                "unit_price": "5000.00",
                "quantity": 10,
                "line_total": "50000.00"
            }],
            "total_due": "50000.00",
            "next_cursor": null
        })
    )),
)]
pub(super) async fn list(
    State(users): State<UserDirectory>,
    Extension(work): Extension<Arc<DatabaseWork>>,
    PathParameters(UserPath { id }): PathParameters<UserPath>,
    Page(page): Page,
    organization: Option<Extension<TokenOrganization>>,
) -> Result<Response, Problem> {
    let organization = organization.map(|Extension(TokenOrganization(name))| name);
    let organization = organization.as_deref();
    let rows = orders::list_for_user(&users, &work.timings, &id, organization, &page).await?;
    let found = rows.page(page.limit)?;
    let mut json = Vec::with_capacity(EXPECTED_BYTES * (1 + found.orders.len()));
    serde_json::to_writer(&mut json, &found)
        .map_err(|error| Problem::from_cause(ProblemType::Internal, error))?;
    let response = ([(CONTENT_TYPE, "application/json")], json);
    Ok(match &found.next_cursor {
        None => response.into_response(),
        Some(cursor) => ([(LINK, next_link(page.limit, cursor))], response).into_response(),
    })
}

/// One order of a user
///
/// With its item at the price of the user's tenant.
#[utoipa::path(
    get,
    path = "/users/{id}/orders/{order_id}",
    tag = "orders",
    operation_id = "getOrder",
    params(
        ("id" = String, Path, description = "The user's id: opaque text", min_length = 1, example = "1"),
        ("order_id" = String, Path, description = "The order's id: opaque text", min_length = 1, example = "1"),
        ("x-request-id" = Option<String>, Header, nullable = false,
            description = "Id of this request: 1 to 128 letters, digits and `-_.:`. Any other value is replaced"),
    ),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The order", body = OrderLine<'_>)),
)]
pub(super) async fn find(
    State(users): State<UserDirectory>,
    Extension(work): Extension<Arc<DatabaseWork>>,
    PathParameters(OrderPath { id, order_id }): PathParameters<OrderPath>,
    organization: Option<Extension<TokenOrganization>>,
) -> Result<Response, Problem> {
    let organization = organization.map(|Extension(TokenOrganization(name))| name);
    let organization = organization.as_deref();
    let rows = orders::find_for_user(&users, &work.timings, &id, organization, &order_id).await?;
    Ok(Json(rows.order()?).into_response())
}

/// Returns the link to the next page (RFC 8288). It is relative to the address of the request, which can have a
/// prefix that a proxy removes.
fn next_link(limit: u16, cursor: &Cursor) -> String {
    format!(r#"<?limit={limit}&cursor={cursor}>; rel="next""#)
}
