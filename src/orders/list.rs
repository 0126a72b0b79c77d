//! The orders of a user, a page at a time.

use sqlx::postgres::PgRow;

use super::query::{NEWEST_ORDERS, PAGE_AND_TOTAL, TABLES, has_unusable_row, order_rows, read_total_due};
use super::{Cursor, InvalidTenantData, Money, OrderLine, OrdersError, OrdersPage, PageRequest, with_tenant};
use crate::tenancy::{DatabaseError, Query, RequestTimings, TenantQuery, Value};
use crate::users::{User, UserDirectory, UserError};

/// Reads a page of the orders of the user `user_id`.
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
) -> Result<OrdersPage, OrdersError> {
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
            return with_tenant(user, |user| {
                if has_unusable_row(&rows)? {
                    return Err(InvalidTenantData::Ambiguous);
                }
                OrdersPage::new(user, &rows, page.limit, None)
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
    with_tenant(user, |user| {
        let total_due = rows.first().map(read_total_due).transpose()?;
        OrdersPage::new(user, &rows, page.limit, total_due)
    })
}

impl OrdersPage {
    /// Creates a page of at most `limit` of `rows`. Without `total_due`, `rows` are all orders of the user.
    fn new(
        user: User,
        rows: &[PgRow],
        limit: u16,
        total_due: Option<Money>,
    ) -> Result<Self, InvalidTenantData> {
        let rows = order_rows(rows)?;
        let mut ids: Vec<&str> = rows.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        if !ids.is_sorted_by(|a, b| a < b) {
            return Err(InvalidTenantData::Ambiguous);
        }
        let has_more = rows.len() > usize::from(limit);
        let orders = rows
            .iter()
            .take(limit.into())
            .map(|(id, row)| OrderLine::from_row(id, row))
            .collect::<Result<Vec<_>, _>>()?;
        let total_due = match total_due {
            Some(total_due) => total_due,
            None => Money::sum(orders.iter().filter_map(|line| line.line_total))?,
        };
        let next_cursor = orders
            .last()
            .filter(|_| has_more)
            .map(|line| Cursor(line.created_at, line.id.clone()));
        Ok(Self {
            user,
            orders,
            total_due,
            next_cursor,
        })
    }
}
