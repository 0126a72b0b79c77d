//! `GET /users/{id}/orders/{order_id}`.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::authentication::TokenOrganization;
use super::extract::{OrderId, UserId};
use super::problem::Problem;
use super::problem_responses::OrderProblems;
use super::request_log::DatabaseWork;
use crate::orders::{self, OrderLine};
use crate::users::UserDirectory;

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
    responses((status = 200, description = "The order", body = OrderLine), OrderProblems),
)]
pub(super) async fn find(
    State(users): State<UserDirectory>,
    Extension(work): Extension<Arc<DatabaseWork>>,
    UserId(id): UserId,
    OrderId(order_id): OrderId,
    organization: Option<Extension<TokenOrganization>>,
) -> Result<Json<OrderLine>, Problem> {
    let organization = organization
        .as_deref()
        .map(|TokenOrganization(name)| name.as_str());
    let order = orders::find_for_user(&users, &work.timings, &id, organization, &order_id).await?;
    Ok(Json(order))
}
