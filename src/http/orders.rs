//! `GET /users/{id}/orders`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::authentication::CallersOrganization;
use super::extract::{Page, UserId};
use super::observe::DatabaseWork;
use super::problem::Problem;
use crate::orders::{self, Money, OrderLine, OrdersPage};
use crate::tenancy::Database;

#[derive(Serialize)]
struct Body {
    user: User,
    orders: Vec<OrderLine>,
    total_due: Money,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct User {
    id: String,
    name: Option<String>,
    organization_id: String,
}

pub(super) async fn list(
    State(database): State<Database>,
    Extension(work): Extension<Arc<DatabaseWork>>,
    UserId(id): UserId,
    Page(page): Page,
    organization: Option<Extension<CallersOrganization>>,
) -> Result<Response, Problem> {
    let organization = organization
        .as_deref()
        .map(|CallersOrganization(name)| name.as_str());
    let answer = orders::list_for_user(&database, &work.trace, &id, organization, &page).await?;
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
