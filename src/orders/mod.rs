//! A user's orders: reads them in the user's tenant and computes the totals.

mod cursor;
mod find;
mod list;
mod money;
mod query;
pub(crate) mod requirements;
mod timestamp;

use serde::Serialize;
use sqlx::postgres::PgRow;
use utoipa::ToSchema;

pub(crate) use cursor::Cursor;
pub(crate) use find::find_for_user;
pub use list::list_for_user;
use money::{InvalidNumber, Money, Quantity};
use timestamp::{InvalidTimestamp, Timestamp};

use crate::tenancy::DatabaseError;
use crate::users::{User, UserError};

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
pub struct OrdersPage<'r> {
    /// The user.
    pub user: &'r User,
    /// Newest first; orders without a time last.
    #[schema(max_items = 1000)]
    pub orders: Vec<OrderLine<'r>>,
    /// The sum of the line totals of all the user's orders, on this page or not.
    pub total_due: Money,
    /// The `cursor` of the next page, if there is one.
    #[schema(required, value_type = Option<String>, example = json!(null))]
    pub next_cursor: Option<Cursor>,
}

/// One order, with its item's price at this tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OrderLine<'r> {
    /// Opaque text, unique within the tenant only.
    pub id: &'r str,
    /// The time of the order, as the database has it: without a time zone.
    #[schema(required)]
    pub created_at: Option<Timestamp>,
    /// The item that was ordered.
    pub item: Item<'r>,
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
pub struct Item<'r> {
    /// Opaque text; null if the order names no item.
    #[schema(required)]
    pub id: Option<&'r str>,
    /// The description; null if the item has none or does not exist.
    #[schema(required)]
    pub description: Option<&'r str>,
}

/// The reason why orders cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// The user's tenant could not be read.
    #[error(transparent)]
    User(#[from] UserError),
    /// The user has no order with this id.
    #[error("the order does not exist")]
    OrderNotFound,
    /// The cursor has a character that the database's encoding lacks.
    #[error("the cursor is not valid for this database")]
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
    /// An order or an item occurs more than once.
    #[error("an order or an item exists more than once")]
    Ambiguous,
    /// A text is not valid in its encoding.
    #[error("a value is not valid text")]
    Text(#[from] sqlx::Error),
}

/// The orders of a user as PostgreSQL returned them. Pages and orders borrow their texts from them.
#[derive(Debug)]
pub struct OrderRows {
    user: User,
    rows: Vec<PgRow>,
    /// Each row has the total of all of the user's orders.
    has_total: bool,
}

impl OrderRows {
    fn invalid(&self, source: InvalidTenantData) -> OrdersError {
        OrdersError::Data {
            tenant: self.user.organization_id.clone(),
            source,
        }
    }
}
