//! One order of a user.

use sqlx::postgres::PgRow;

use super::query::{ORDER_BY_ID, TABLES, has_unusable_row, order_rows};
use super::{InvalidTenantData, OrderLine, OrderRows, OrdersError};
use crate::tenancy::{DatabaseError, Query, RequestTimings, TenantQuery, Value};
use crate::users::{UserDirectory, UserError};

/// Reads the order `order_id` of the user `user_id`: see [`OrderRows::order`].
///
/// If `organization` is given, the user has to belong to it. Dropping the future is safe: it closes the
/// connection in use.
pub(crate) async fn find_for_user(
    users: &UserDirectory,
    timings: &RequestTimings,
    user_id: &str,
    organization: Option<&str>,
    order_id: &str,
) -> Result<OrderRows, OrdersError> {
    // PostgreSQL's text cannot contain a NUL, so no order has such an id. The user is still looked up.
    let is_possible = !order_id.contains('\0');
    let order_id = if is_possible { order_id } else { "" };
    let query = TenantQuery {
        tables: TABLES,
        query: Query {
            statement: &ORDER_BY_ID,
            values: &[Value::Text(user_id), Value::Text(order_id)],
        },
    };
    let read = users.query_tenant(timings, user_id, organization, query).await;
    let (user, rows) = read.map_err(|error| match error {
        UserError::Tenant {
            source: DatabaseError::Unencodable(_),
            ..
        } => OrdersError::OrderNotFound,
        error => error.into(),
    })?;
    Ok(OrderRows {
        user,
        rows: if is_possible { rows } else { Vec::new() },
        has_total: false,
    })
}

impl OrderRows {
    /// Makes the only order.
    ///
    /// # Errors
    ///
    /// [`OrdersError::OrderNotFound`], [`OrdersError::Data`].
    pub(crate) fn order(&self) -> Result<OrderLine<'_>, OrdersError> {
        let order = find_order(&self.rows).map_err(|source| self.invalid(source))?;
        order.ok_or(OrdersError::OrderNotFound)
    }
}

fn find_order(rows: &[PgRow]) -> Result<Option<OrderLine<'_>>, InvalidTenantData> {
    if has_unusable_row(rows)? {
        return Err(InvalidTenantData::Ambiguous);
    }
    match order_rows(rows)?.as_slice() {
        [] => Ok(None),
        [(id, row)] => OrderLine::from_row(id, row).map(Some),
        _ => Err(InvalidTenantData::Ambiguous),
    }
}
