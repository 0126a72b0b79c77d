//! The orders statements. Each reads everything that it returns from one snapshot.
//!
//! Tables are named without a schema: the message's search path decides whose they are. Every column is cast to
//! a fixed type, so that a migration that changes a column's type does not change the type of a prepared
//! statement's result. Both sides of every operator have types for which `pg_catalog` has the operator, mostly by
//! a cast. It is searched first, so that an operator of the tenant cannot replace it.

use sqlx::postgres::PgRow;

use super::{InvalidTenantData, Item, Money, OrderLine, Quantity, Timestamp};
use crate::tenancy::{IdComparison, Statement, is_true, read_text, select_id_type};

/// The tables that the statements read.
pub(super) const TABLES: &str = "items, orders";

/// Returns the types of the id columns, in the order of the constants below.
const SELECT_ID_TYPES: &str = concat!(
    "SELECT ",
    select_id_type!("(NULL::orders).user_id"),
    ", ",
    select_id_type!("(NULL::orders).id"),
    ", ",
    select_id_type!("(NULL::orders).item_id"),
    ", ",
    select_id_type!("(NULL::items).id")
);
const USER_ID: usize = 0;
const ORDER_ID: usize = 1;
const ITEM_IDS: [usize; 2] = [2, 3];

const ORDERS_OF_USER: IdComparison = IdComparison {
    columns: &[USER_ID],
    of_texts: "o.user_id::text = $1",
    in_type: ["o.user_id", "$1"],
    value: Some(0),
};
const ORDER_OF_ID: IdComparison = IdComparison {
    columns: &[ORDER_ID],
    of_texts: "o.id::text = $2",
    in_type: ["o.id", "$2"],
    value: Some(1),
};
const ITEMS_OF_ORDERS: IdComparison = IdComparison {
    columns: &ITEM_IDS,
    of_texts: "i.id::text = o.item_id::text /*collation*/",
    in_type: ["i.id", "o.item_id"],
    value: None,
};
const ITEMS_OF_PAGE: IdComparison = IdComparison {
    of_texts: "i.id::text = o.item_id /*collation*/",
    ..ITEMS_OF_ORDERS
};
const ITEMS_OF_TOTAL: IdComparison = IdComparison {
    of_texts: "i.id::text = ordered.item_id /*collation*/",
    in_type: ["i.id", "ordered.item_id"],
    ..ITEMS_OF_ORDERS
};

/// Orders with their items.
///
/// The last column is true if the row must not be used: its id is only equal by its collation, which the condition
/// excludes if the type of the column is not known to be exact.
macro_rules! select_orders {
    ($differs:literal, $condition:literal) => {
        concat!(
            "\
SELECT o.id::text, o.creation_timestamp::timestamp::text, o.quantity::text, o.item_id::text,
       i.description::text, i.price::text, ",
            $differs,
            "
FROM orders o LEFT JOIN items i ON i.id::text = o.item_id::text /*collation*/
",
            $condition
        )
    };
}

/// The newest orders of the user `$1`, at most `$2`.
pub(super) const NEWEST_ORDERS: Statement = Statement::new(
    "newest_orders",
    select_orders!(
        "o.user_id::text COLLATE \"C\" <> $1",
        "WHERE o.user_id::text = $1 /*if inexact*/ AND o.user_id::text COLLATE \"C\" = $1 /*end*/
         ORDER BY o.creation_timestamp DESC NULLS LAST, o.id::text /*if inexact*/, o.id::text COLLATE \"C\" /*end*/
         LIMIT $2"
    ),
)
.with_ids(SELECT_ID_TYPES, &[ORDERS_OF_USER, ITEMS_OF_ORDERS]);

/// The order `$2` of the user `$1`. Two rows if it, or its item, occurs more than once.
pub(super) const ORDER_BY_ID: Statement = Statement::new(
    "order_by_id",
    select_orders!(
        "o.id::text COLLATE \"C\" <> $2",
        "WHERE o.id::text = $2 /*if inexact*/ AND o.id::text COLLATE \"C\" = $2 /*end*/
           AND o.user_id::text COLLATE \"C\" = $1
         LIMIT 2"
    ),
)
.with_ids(SELECT_ID_TYPES, &[ORDER_OF_ID, ITEMS_OF_ORDERS]);

/// The orders of the user `$1` behind a cursor, at most `$2`, and the total due of all orders of the user. If no
/// order is behind the cursor, the only row has no order.
///
/// The total multiplies each item's price by the sum of its quantities, which takes half the time of a
/// multiplication for each order. Prices are converted by way of text, because a direct cast of a float to
/// numeric rounds it to 15 digits. `is_unique` is false if an item's id occurs more than once, which would count
/// an order more than once, or if a row must not be used, as in `select_orders`.
///
/// `$3` and `$4` are the id and the time of the last order before the page: NULL and `infinity` for the first
/// page, and a NULL time among the orders without one, which come last. Orders with and without a time are read
/// separately, so that the index finds where each part begins, however deep the page is. Ids that are equal by
/// their collation are in the order of their bytes.
pub(super) const PAGE_AND_TOTAL: Statement = Statement::new(
    "page_and_total",
    "\
SELECT page.id, page.creation_timestamp::text, page.quantity, page.item_id, page.description, page.price,
       total.due, total.is_unique
FROM (
    SELECT sum(i.price::text::numeric * ordered.quantity)::text AS due,
           count(*) = count(DISTINCT ordered.item_id) + count(*) FILTER (WHERE ordered.item_id IS NULL)
           AND COALESCE(pg_catalog.bool_and(ordered.is_of_user), true) AS is_unique
    FROM (
        SELECT o.item_id::text, sum(o.quantity::text::numeric) AS quantity,
               pg_catalog.bool_and(o.user_id::text COLLATE \"C\" = $1) AS is_of_user
        FROM orders o
        WHERE o.user_id::text = $1 /*if inexact*/ AND o.user_id::text COLLATE \"C\" = $1 /*end*/
        GROUP BY o.item_id::text
    ) AS ordered LEFT JOIN items i ON i.id::text = ordered.item_id /*collation*/
) AS total
LEFT JOIN (
    SELECT o.id, o.creation_timestamp, o.quantity, o.item_id, i.description::text, i.price::text
    FROM (
        (SELECT o.id::text, o.creation_timestamp::timestamp, o.quantity::text, o.item_id::text
             /*if inexact*/, o.id::text COLLATE \"C\" AS bytes /*end*/
         FROM orders o
         WHERE o.user_id::text = $1 /*if inexact*/ AND o.user_id::text COLLATE \"C\" = $1 /*end*/
           AND o.creation_timestamp::timestamp <= $4::timestamp
           AND ($3::text IS NULL OR o.creation_timestamp::timestamp < $4::timestamp OR o.id::text > $3
               /*if inexact*/ OR o.id::text = $3 AND o.id::text COLLATE \"C\" > $3 /*end*/)
         ORDER BY o.creation_timestamp DESC NULLS LAST, o.id::text /*if inexact*/, bytes /*end*/
         LIMIT $2)
        UNION ALL
        (SELECT o.id::text, o.creation_timestamp::timestamp, o.quantity::text, o.item_id::text
             /*if inexact*/, o.id::text COLLATE \"C\" AS bytes /*end*/
         FROM orders o
         WHERE o.user_id::text = $1 /*if inexact*/ AND o.user_id::text COLLATE \"C\" = $1 /*end*/
           AND o.creation_timestamp IS NULL
           AND o.id::text >= CASE WHEN $4::text IS NULL THEN $3 ELSE '' END
           AND ($4::text IS NOT NULL OR o.id::text > $3
               /*if inexact*/ OR o.id::text = $3 AND o.id::text COLLATE \"C\" > $3 /*end*/)
         ORDER BY o.creation_timestamp DESC NULLS LAST, o.id::text /*if inexact*/, bytes /*end*/
         LIMIT $2)
        ORDER BY creation_timestamp DESC NULLS LAST, id /*if inexact*/, bytes /*end*/
        LIMIT $2
    ) AS o LEFT JOIN items i ON i.id::text = o.item_id /*collation*/
) AS page ON TRUE
ORDER BY page.creation_timestamp DESC NULLS LAST, page.id /*if inexact*/, page.id COLLATE \"C\" /*end*/",
)
.with_ids(SELECT_ID_TYPES, &[ORDERS_OF_USER, ITEMS_OF_TOTAL, ITEMS_OF_PAGE]);

/// Returns the rows that have an order, each with its id. A total without orders is a row without one.
pub(super) fn order_rows(rows: &[PgRow]) -> Result<Vec<(&str, &PgRow)>, sqlx::Error> {
    let mut orders = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(id) = read_text(row, 0)? {
            orders.push((id, row));
        }
    }
    Ok(orders)
}

/// Returns whether a row of [`NEWEST_ORDERS`] or [`ORDER_BY_ID`] must not be used, as its last column says.
pub(super) fn has_unusable_row(rows: &[PgRow]) -> Result<bool, sqlx::Error> {
    rows.iter()
        .try_fold(false, |is_unusable, row| Ok(is_unusable || is_true(row, 6)?))
}

impl<'r> OrderLine<'r> {
    /// Reads a row that has the order `id`.
    pub(super) fn from_row(id: &'r str, row: &'r PgRow) -> Result<Self, InvalidTenantData> {
        let quantity = read_text(row, 2)?.map(Quantity::parse).transpose()?;
        let unit_price = read_text(row, 5)?.map(Money::parse).transpose()?;
        let line_total = match (unit_price, quantity) {
            (Some(unit_price), Some(quantity)) => Some(unit_price.checked_mul(quantity)?),
            _ => None,
        };
        Ok(Self {
            id,
            created_at: read_text(row, 1)?.map(Timestamp::parse_postgres).transpose()?,
            item: Item {
                id: read_text(row, 3)?,
                description: read_text(row, 4)?,
            },
            unit_price,
            quantity,
            line_total,
        })
    }
}

/// Reads the total due from a row of [`PAGE_AND_TOTAL`].
pub(super) fn read_total_due(row: &PgRow) -> Result<Money, InvalidTenantData> {
    if !is_true(row, 7)? {
        return Err(InvalidTenantData::Ambiguous);
    }
    match read_text(row, 6)? {
        Some(due) => Ok(Money::parse(due)?),
        None => Ok(Money::ZERO), // no order has a line total
    }
}
