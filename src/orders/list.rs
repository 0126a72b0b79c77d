//! The orders of a user, a page at a time.

use super::query::{NEWEST_ORDERS, PAGE_AND_TOTAL, TABLES, has_unusable_row, order_rows, read_total_due};
use super::{Cursor, InvalidTenantData, Money, OrderLine, OrderRows, OrdersError, OrdersPage, PageRequest};
use crate::tenancy::{DatabaseError, Query, RequestTimings, TenantQuery, Value};
use crate::users::{UserDirectory, UserError};

/// Reads a page of the orders of the user `user_id`: see [`OrderRows::page`].
///
/// If `organization` is given, the user has to belong to it. See [`UserDirectory`] for how the user's tenant is
/// determined.
///
/// Dropping the future is safe: it closes the connection in use. `timings` then has the steps until that time.
///
/// # Errors
///
/// [`OrdersError`].
pub async fn list_for_user(
    users: &UserDirectory,
    timings: &RequestTimings,
    user_id: &str,
    organization: Option<&str>,
    page: &PageRequest,
) -> Result<OrderRows, OrdersError> {
    // One more than the page shows whether there is a next one.
    let limit = Value::Number(u32::from(page.limit) + 1);
    if page.after.is_none() {
        let query = TenantQuery {
            tables: TABLES,
            query: Query {
                statement: &NEWEST_ORDERS,
                values: &[Value::Text(user_id), limit],
            },
        };
        let (user, rows) = users.query_tenant(timings, user_id, organization, query).await?;
        if rows.len() <= usize::from(page.limit) {
            return Ok(OrderRows {
                user,
                rows,
                has_total: false,
            });
        }
    }
    let after = page.after.as_ref();
    let time = match after {
        None => Some("infinity".to_owned()),
        Some(Cursor(time, _)) => time.map(|time| time.to_string()),
    };
    let query = TenantQuery {
        tables: TABLES,
        query: Query {
            statement: &PAGE_AND_TOTAL,
            values: &[
                Value::Text(user_id),
                limit,
                after.map(|Cursor(_, id)| id.as_str()).into(),
                time.as_deref().into(),
            ],
        },
    };
    let read = users.query_tenant(timings, user_id, organization, query).await;
    let (user, rows) = read.map_err(|error| match error {
        UserError::Tenant {
            source: source @ DatabaseError::Unencodable(_),
            ..
        } if after.is_some() => OrdersError::Cursor(source),
        error => error.into(),
    })?;
    Ok(OrderRows {
        user,
        rows,
        has_total: true,
    })
}

impl OrderRows {
    /// Makes a page of at most `limit` orders: the limit of the request.
    ///
    /// # Errors
    ///
    /// [`OrdersError::Data`].
    pub fn page(&self, limit: u16) -> Result<OrdersPage<'_>, OrdersError> {
        OrdersPage::new(self, limit.into()).map_err(|source| self.invalid(source))
    }
}

impl<'r> OrdersPage<'r> {
    fn new(rows: &'r OrderRows, limit: usize) -> Result<Self, InvalidTenantData> {
        let OrderRows {
            user,
            rows,
            has_total,
        } = rows;
        if !has_total && has_unusable_row(rows)? {
            return Err(InvalidTenantData::Ambiguous);
        }
        let total_due = if *has_total {
            rows.first().map(read_total_due).transpose()?
        } else {
            None
        };
        let rows = order_rows(rows)?;
        let mut ids: Vec<&str> = rows.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        if !ids.is_sorted_by(|a, b| a < b) {
            return Err(InvalidTenantData::Ambiguous);
        }
        let mut orders = Vec::with_capacity(rows.len().min(limit));
        for (id, row) in rows.iter().take(limit) {
            orders.push(OrderLine::from_row(id, row)?);
        }
        let total_due = match total_due {
            Some(total_due) => total_due,
            // These are all orders of the user.
            None => Money::sum(orders.iter().filter_map(|line| line.line_total))?,
        };
        let next_cursor = orders
            .last()
            .filter(|_| rows.len() > limit)
            .map(|line| Cursor(line.created_at, line.id.to_owned()));
        Ok(Self {
            user,
            orders,
            total_due,
            next_cursor,
        })
    }
}
