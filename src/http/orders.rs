//! `GET /users/{id}/orders`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

use super::authentication::TokenOrganization;
use super::extract::{Page, PageParameters, UserId};
use super::problem::Problem;
use super::problem_responses::ApiProblems;
use super::request_log::DatabaseWork;
use crate::orders::{self, Money, OrderLine, OrdersPage};
use crate::tenancy::Database;

/// A page of a user's orders, and what all of them come to.
#[derive(Serialize, ToSchema)]
#[schema(as = Orders)]
struct Body {
    /// Whose orders.
    user: User,
    /// Newest first; those without a time last.
    #[schema(max_items = 1000)]
    orders: Vec<OrderLine>,
    /// The sum of all the user's line totals, on this page or not.
    total_due: Money,
    /// The `cursor` of the next page, if there is one.
    #[schema(required, example = json!(null))]
    next_cursor: Option<String>,
}

/// Whose orders these are.
#[derive(Serialize, ToSchema)]
struct User {
    /// Opaque text.
    #[schema(example = "1")]
    id: String,
    /// The display name, if there is one.
    #[schema(required, example = "rich_dude")]
    name: Option<String>,
    /// The user's tenant: the name of its schema.
    #[schema(example = "client1")]
    organization_id: String,
}

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
            description = "An id for this request, of 1 to 128 letters, digits and `-_.:`. Another is replaced"),
    ),
    security((), ("bearer" = [])),
    responses(
        (
            status = 200, description = "A page of orders", body = Body,
            headers(("Link" = String, description = "Where the next page is, if there is one: `rel=\"next\"` (RFC 8288)")),
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
        ),
        ApiProblems,
    ),
)]
pub(super) async fn list(
    State(database): State<Database>,
    Extension(work): Extension<Arc<DatabaseWork>>,
    UserId(id): UserId,
    Page(page): Page,
    organization: Option<Extension<TokenOrganization>>,
) -> Result<Response, Problem> {
    let organization = organization
        .as_deref()
        .map(|TokenOrganization(name)| name.as_str());
    let answer = orders::list_for_user(&database, &work.timings, &id, organization, &page).await?;
    let body = Body::from(answer);
    Ok(match &body.next_cursor {
        None => Json(body).into_response(),
        Some(cursor) => {
            let next = next_link(&id, page.limit, cursor);
            ([(LINK, next)], Json(body)).into_response()
        }
    })
}

/// Where the next page is (RFC 8288).
fn next_link(id: &str, limit: u16, cursor: &str) -> String {
    let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
    format!(r#"</users/{id}/orders?limit={limit}&cursor={cursor}>; rel="next""#)
}

impl From<OrdersPage> for Body {
    fn from(page: OrdersPage) -> Self {
        Self {
            user: User {
                id: page.user.id,
                name: page.user.name,
                organization_id: page.user.organization_id,
            },
            orders: page.orders,
            total_due: page.total_due,
            next_cursor: page.next_cursor.map(|cursor| cursor.to_string()),
        }
    }
}
