//! Requirements of the orders statements on a tenant's schema.

use super::query::{NEWEST_ORDERS, ORDER_BY_ID, PAGE_AND_TOTAL};
use crate::tenancy::{Query, Value};

/// The tables and columns that the statements read.
pub(crate) const COLUMNS: [(&str, &[&str]); 2] = [
    ("items", &["id", "description", "price"]),
    (
        "orders",
        &["id", "creation_timestamp", "quantity", "user_id", "item_id"],
    ),
];

/// Returns all statements over a tenant's tables, with values of a user that does not exist.
pub(crate) fn statements() -> [String; 3] {
    let (id, limit) = (Value::Text(""), Value::Number(1));
    let time = Value::Text("infinity");
    [
        (&NEWEST_ORDERS, &[id, limit][..]),
        (&ORDER_BY_ID, &[id, id]),
        (&PAGE_AND_TOTAL, &[id, limit, Value::NullText, time]),
    ]
    .map(|(statement, values)| Query { statement, values }.to_sql())
}
