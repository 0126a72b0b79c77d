//! A user's orders: reads them in the user's tenant and computes the totals.

mod cursor;
mod money;
mod query;
mod timestamp;

use serde::Serialize;
use utoipa::ToSchema;

pub use cursor::{Cursor, InvalidCursor};
pub use money::{InvalidNumber, Money, Quantity};
pub use timestamp::{InvalidTimestamp, Timestamp};

use crate::tenancy::{DatabaseError, Query, RequestTimings, TenantQuery, Value};
use crate::users::{User, UserDirectory, UserError};
use query::{NEWEST_ORDERS, OrderRow, PAGE_AND_TOTAL, TABLES, TotalRow, order_rows, total_row};

/// A page of a user's orders to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Maximum number of orders.
    pub limit: u16,
    /// The cursor behind which the page begins; `None` for the newest orders.
    pub after: Option<Cursor>,
}

/// A page of a user's orders, and the total of all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Orders)]
pub struct OrdersPage {
    /// The user.
    pub user: User,
    /// Newest first; orders without a time last.
    #[schema(max_items = 1000)]
    pub orders: Vec<OrderLine>,
    /// The sum of the line totals of all the user's orders, on this page or not.
    pub total_due: Money,
    /// The `cursor` of the next page, if there is one.
    #[schema(required, value_type = Option<String>, example = json!(null))]
    pub next_cursor: Option<Cursor>,
}

/// One order, with its item's price at this tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OrderLine {
    /// Opaque text, unique within the tenant only.
    pub id: String,
    /// The time of the order, as the database has it: without a time zone.
    #[schema(required)]
    pub created_at: Option<Timestamp>,
    /// The item that was ordered.
    pub item: Item,
    /// The price of one.
    #[schema(required)]
    pub unit_price: Option<Money>,
    /// The number of items, exactly as the database has it.
    #[schema(required)]
    pub quantity: Option<Quantity>,
    /// Unit price × quantity; null if either is unknown.
    #[schema(required)]
    pub line_total: Option<Money>,
}

/// The item of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Item {
    /// Opaque text; null if the order names no item.
    #[schema(required)]
    pub id: Option<String>,
    /// The description; null if the item has none or does not exist.
    #[schema(required)]
    pub description: Option<String>,
}

/// The reason why a user's orders cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// The user's tenant could not be read.
    #[error(transparent)]
    User(#[from] UserError),
    /// The cursor has a character that the database's encoding lacks.
    #[error("the cursor is not one of this database")]
    Cursor(#[source] DatabaseError),
    /// The tenant's data cannot be represented exactly.
    #[error("failed to represent the orders of tenant {tenant:?}")]
    Data {
        /// The tenant's name, for the log.
        tenant: String,
        /// The invalid value.
        source: InvalidTenantData,
    },
}

/// A value or row of a tenant that has no exact representation.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTenantData {
    /// A price, a quantity, a line total or the total due.
    #[error(transparent)]
    Number(#[from] InvalidNumber),
    /// The time of an order.
    #[error(transparent)]
    Timestamp(#[from] InvalidTimestamp),
    /// An order or an item occurs more than once, so that totals would count it more than once.
    #[error("an order or its item occurs more than once")]
    Duplicate,
    /// A text is not valid in its encoding.
    #[error("a value is not valid text")]
    Text(#[from] sqlx::Error),
}

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
                OrdersPage::new(user, order_rows(&rows)?, page.limit, None)
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
        let total = rows.first().map(total_row).transpose()?;
        OrdersPage::new(user, order_rows(&rows)?, page.limit, total)
    })
}

/// Names the tenant in the error.
fn with_tenant(
    user: User,
    read: impl FnOnce(User) -> Result<OrdersPage, InvalidTenantData>,
) -> Result<OrdersPage, OrdersError> {
    let tenant = user.organization_id.clone();
    read(user).map_err(|source| OrdersError::Data { tenant, source })
}

impl OrdersPage {
    /// A page of at most `limit` of `rows`. Without `total`, `rows` are all orders of the user.
    fn new(
        user: User,
        rows: Vec<OrderRow>,
        limit: u16,
        total: Option<TotalRow>,
    ) -> Result<Self, InvalidTenantData> {
        let mut ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        ids.sort_unstable();
        if !ids.is_sorted_by(|a, b| a < b) || total.as_ref().is_some_and(|total| !total.is_unique) {
            return Err(InvalidTenantData::Duplicate);
        }
        let has_more = rows.len() > usize::from(limit);
        let orders = rows
            .into_iter()
            .take(limit.into())
            .map(OrderLine::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        let total_due = match total {
            None => Money::sum(orders.iter().filter_map(|line| line.line_total))?,
            Some(TotalRow { due: None, .. }) => Money::ZERO, // no order has a line total
            Some(TotalRow { due: Some(due), .. }) => Money::parse(&due)?,
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

impl TryFrom<OrderRow> for OrderLine {
    type Error = InvalidTenantData;

    fn try_from(row: OrderRow) -> Result<Self, Self::Error> {
        let unit_price = row.price.as_deref().map(Money::parse).transpose()?;
        let quantity = row.quantity.as_deref().map(Quantity::parse).transpose()?;
        let line_total = match (unit_price, quantity) {
            (Some(unit_price), Some(quantity)) => Some(unit_price.checked_mul(quantity)?),
            _ => None,
        };
        let created_at = row.creation_timestamp.as_deref();
        Ok(Self {
            id: row.id,
            created_at: created_at.map(Timestamp::parse_postgres).transpose()?,
            item: Item {
                id: row.item_id,
                description: row.description,
            },
            unit_price,
            quantity,
            line_total,
        })
    }
}
