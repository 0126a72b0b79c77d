//! The orders statement, in its two forms. Both read everything they tell from one snapshot.
//!
//! Tables are named unqualified: the transaction's search path decides whose they are. Every column
//! is cast to a fixed type, so that a migration which changes a column's type does not change the
//! type of a prepared statement's result, and both sides of every operator to one type that has this
//! operator in `pg_catalog`, which is searched first: so no operator of a tenant's own takes its place.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PageRequest;
use crate::tenancy::{DatabaseError, TenantTransaction};

/// The user's newest orders: their sum is the total due where there are no more of them.
const NEWEST: &str = "\
SELECT o.id::text, o.creation_timestamp::timestamp, o.quantity::bigint, o.item_id::text,
       i.description::text, i.price::text
FROM orders o LEFT JOIN items i ON i.id::text = o.item_id::text
WHERE o.user_id::text = $1
ORDER BY o.creation_timestamp DESC NULLS LAST, o.id::text
LIMIT $2";

/// A page behind a cursor, and the total due of all the user's orders. A row without an order
/// carries the total where the page is empty. The sum goes by way of text, as a float's own cast to
/// numeric rounds it to 15 digits.
const PAGE_AND_TOTAL: &str = "\
SELECT page.*, total.due
FROM (
    SELECT sum(i.price::text::numeric * o.quantity::bigint::numeric)::text AS due
    FROM orders o LEFT JOIN items i ON i.id::text = o.item_id::text
    WHERE o.user_id::text = $1
) AS total
LEFT JOIN (
    SELECT o.id::text, o.creation_timestamp::timestamp, o.quantity::bigint, o.item_id::text,
           i.description::text, i.price::text
    FROM orders o LEFT JOIN items i ON i.id::text = o.item_id::text
    WHERE o.user_id::text = $1
      AND CASE WHEN $3::text IS NULL THEN TRUE
               WHEN $4::text IS NULL THEN o.creation_timestamp IS NULL AND o.id::text > $3
               ELSE o.creation_timestamp IS NULL
                    OR o.creation_timestamp::timestamp < $4::timestamp
                    OR (o.creation_timestamp::timestamp = $4::timestamp AND o.id::text > $3)
          END
    ORDER BY o.creation_timestamp DESC NULLS LAST, o.id::text
    LIMIT $2
) AS page ON TRUE
ORDER BY page.creation_timestamp DESC NULLS LAST, page.id";

/// An order as the database tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderRow {
    pub(super) id: String,
    /// Microseconds since 2000-01-01.
    pub(super) creation_timestamp: Option<i64>,
    pub(super) quantity: Option<i64>,
    pub(super) item_id: Option<String>,
    pub(super) description: Option<String>,
    pub(super) price: Option<String>,
}

/// What a statement found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of the user's orders.
    All(Vec<OrderRow>),
    /// Some of them, one more than asked for where more follow, and the total due of all.
    Page {
        rows: Vec<OrderRow>,
        total_due: Option<String>,
    },
}

/// Reads the orders of `user_id` in the transaction's tenant.
pub(super) async fn select(
    transaction: &mut TenantTransaction,
    user_id: &str,
    page: &PageRequest,
) -> Result<Selection, DatabaseError> {
    let one_more = i64::from(page.limit) + 1;
    if page.after.is_none() {
        let rows = transaction
            .fetch_all(NEWEST, |statement| statement.bind(user_id).bind(one_more))
            .await?;
        if rows.len() <= usize::from(page.limit) {
            let rows = rows.iter().map(order_row).collect::<Result<_, _>>()?;
            return Ok(Selection::All(rows));
        }
    }
    let after = page.after.as_ref();
    let rows = transaction
        .fetch_all(PAGE_AND_TOTAL, |statement| {
            statement
                .bind(user_id)
                .bind(one_more)
                .bind(after.map(|cursor| cursor.1.as_str()))
                .bind(
                    after
                        .and_then(|cursor| cursor.0)
                        .map(|timestamp| timestamp.to_string()),
                )
        })
        .await?;
    let total_due = match rows.first() {
        Some(row) => row.try_get(6)?,
        None => None,
    };
    let rows = rows
        .iter()
        .filter(|row| !is_without_order(row))
        .map(order_row)
        .collect::<Result<_, _>>()?;
    Ok(Selection::Page { rows, total_due })
}

fn is_without_order(row: &PgRow) -> bool {
    matches!(row.try_get::<Option<&str>, _>(0), Ok(None))
}

fn order_row(row: &PgRow) -> Result<OrderRow, sqlx::Error> {
    Ok(OrderRow {
        id: row.try_get(0)?,
        // Unchecked, since the binary form of a timestamp is this number.
        creation_timestamp: row.try_get_unchecked(1)?,
        quantity: row.try_get(2)?,
        item_id: row.try_get(3)?,
        description: row.try_get(4)?,
        price: row.try_get(5)?,
    })
}
