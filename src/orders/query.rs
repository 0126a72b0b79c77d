//! The orders statement, in its two forms. Both read everything they tell from one snapshot.
//!
//! Tables are named unqualified: the transaction's search path decides whose they are. Every column
//! is cast to a fixed type, so that a migration which changes a column's type does not change the
//! type of a prepared statement's result, and both sides of every operator to one type that has this
//! operator in `pg_catalog`, which is searched first: so no operator of a tenant's own takes its place.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::{Cursor, PageRequest};
use crate::tenancy::{DatabaseError, TenantTransaction};

/// The user's newest orders, each with the user's name. No row where there is no order, or where the user is
/// not of this tenant. The user is joined to the orders, as that keeps them in the order of their index: no sort.
const NEWEST: &str = "\
SELECT u.name::text, o.id::text, o.creation_timestamp::timestamp, o.quantity::bigint, o.item_id::text,
       i.description::text, i.price::text
FROM public.users u, orders o LEFT JOIN items i ON i.id::text = o.item_id::text
WHERE u.id::text = $1 AND u.organization_id::text = $2 AND o.user_id::text = $1
ORDER BY o.creation_timestamp DESC NULLS LAST, o.id::text
LIMIT $3";

/// The user's name, the orders behind a cursor, and the total due of all the user's orders: of each item as
/// many as were ordered in all, since that takes half the time of a line at a time. Prices go by way of text,
/// as a float's own cast to numeric rounds it to 15 digits. A row without an order where there is none, and
/// no row where the user is not of this tenant.
///
/// `$4` and `$5` are the id and the time of the last order before the page: no id and `infinity` at the
/// beginning, and no time among the orders without one, which come last. Those with a time and those without
/// are read apart, so that both are found in the index by where they begin, however far behind that is.
const PAGE_AND_TOTAL: &str = "\
SELECT u.name::text, page.*, total.due
FROM public.users u CROSS JOIN (
    SELECT sum(i.price::text::numeric * ordered.quantity)::text AS due
    FROM (
        SELECT o.item_id::text, sum(o.quantity::bigint) AS quantity
        FROM orders o WHERE o.user_id::text = $1 GROUP BY o.item_id::text
    ) AS ordered LEFT JOIN items i ON i.id::text = ordered.item_id
) AS total
LEFT JOIN (
    SELECT o.*, i.description::text, i.price::text
    FROM (
        (SELECT o.id::text, o.creation_timestamp::timestamp, o.quantity::bigint, o.item_id::text
         FROM orders o
         WHERE o.user_id::text = $1
           AND o.creation_timestamp::timestamp <= $5::timestamp
           AND ($4::text IS NULL OR o.creation_timestamp::timestamp < $5::timestamp OR o.id::text > $4)
         ORDER BY o.creation_timestamp DESC NULLS LAST, o.id::text
         LIMIT $3)
        UNION ALL
        (SELECT o.id::text, o.creation_timestamp::timestamp, o.quantity::bigint, o.item_id::text
         FROM orders o
         WHERE o.user_id::text = $1
           AND o.creation_timestamp IS NULL
           AND o.id::text >= CASE WHEN $5::text IS NULL THEN $4 ELSE '' END
           AND ($5::text IS NOT NULL OR o.id::text > $4)
         ORDER BY o.creation_timestamp DESC NULLS LAST, o.id::text
         LIMIT $3)
        ORDER BY creation_timestamp DESC NULLS LAST, id
        LIMIT $3
    ) AS o LEFT JOIN items i ON i.id::text = o.item_id
) AS page ON TRUE
WHERE u.id::text = $1 AND u.organization_id::text = $2
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

/// What a statement found of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: Option<String>,
    pub(super) selection: Selection,
}

/// Which of the user's orders were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of them, one or more.
    All(Vec<OrderRow>),
    /// Some of them, one more than asked for where more follow, and the total due of all.
    Page {
        rows: Vec<OrderRow>,
        total_due: Option<String>,
    },
}

/// Reads the orders of `user_id` in the transaction's tenant. None where the user is not of this tenant,
/// by the very snapshot that the orders come from.
pub(super) async fn select(
    transaction: &mut TenantTransaction,
    user_id: &str,
    page: &PageRequest,
) -> Result<Option<Found>, DatabaseError> {
    let tenant = transaction.tenant().to_owned();
    let one_more = i64::from(page.limit) + 1;
    if page.after.is_none() {
        let rows = transaction
            .fetch_all(NEWEST, |statement| {
                statement.bind(user_id).bind(&tenant).bind(one_more)
            })
            .await?;
        if !rows.is_empty() && rows.len() <= usize::from(page.limit) {
            return found(&rows, |rows, _| Ok(Selection::All(rows)));
        }
    }
    let (id, timestamp) = match &page.after {
        None => (None, Some("infinity".to_owned())),
        Some(Cursor(timestamp, id)) => (
            Some(id.as_str()),
            timestamp.map(|timestamp| timestamp.to_string()),
        ),
    };
    let rows = transaction
        .fetch_all(PAGE_AND_TOTAL, |statement| {
            statement
                .bind(user_id)
                .bind(&tenant)
                .bind(one_more)
                .bind(id)
                .bind(timestamp)
        })
        .await?;
    found(&rows, |rows, first| {
        let total_due = first.try_get(7)?;
        Ok(Selection::Page { rows, total_due })
    })
}

fn found(
    rows: &[PgRow],
    selection: impl FnOnce(Vec<OrderRow>, &PgRow) -> Result<Selection, sqlx::Error>,
) -> Result<Option<Found>, DatabaseError> {
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let orders = if is_without_order(first)? { &[] } else { rows };
    let orders = orders.iter().map(order_row).collect::<Result<_, _>>()?;
    Ok(Some(Found {
        name: first.try_get(0)?,
        selection: selection(orders, first)?,
    }))
}

fn is_without_order(row: &PgRow) -> Result<bool, sqlx::Error> {
    Ok(row.try_get::<Option<&str>, _>(1)?.is_none())
}

fn order_row(row: &PgRow) -> Result<OrderRow, sqlx::Error> {
    Ok(OrderRow {
        id: row.try_get(1)?,
        // Unchecked, since the binary form of a timestamp is this number.
        creation_timestamp: row.try_get_unchecked(2)?,
        quantity: row.try_get(3)?,
        item_id: row.try_get(4)?,
        description: row.try_get(5)?,
        price: row.try_get(6)?,
    })
}
