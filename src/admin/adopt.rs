//! Adoption: a schema that is older than this program gets a history, as if migration 1 had made it.

use sqlx::migrate::Migrate;
use sqlx::{Connection, PgConnection, raw_sql};

use super::shape::{self, Shape, Table, without_modifier};
use super::{AdminError, migrations};
use crate::admin::{history, schema};
use crate::tenancy::SchemaName;

/// The version that is adopted.
pub(super) const VERSION: i64 = 1;

const TEXTS: &[&str] = &["character varying", "text"];
const TIMESTAMPS: &[&str] = &["timestamp without time zone"];
const INTEGERS: &[&str] = &["integer", "bigint", "smallint"];
/// Migration 2 makes the same numeric of each of these, by way of its text.
const NUMBERS: &[&str] = &[
    "double precision",
    "real",
    "numeric",
    "integer",
    "bigint",
    "smallint",
];

/// Columns, and the types that each of them may have.
type Columns = &'static [(&'static str, &'static [&'static str])];

/// What a tenant's schema must have, and the types that migrations and service can work with.
const NEEDED: [(&str, Columns); 2] = [
    (
        "items",
        &[
            ("id", TEXTS),
            ("creation_timestamp", TIMESTAMPS),
            ("description", TEXTS),
            ("price", NUMBERS),
        ],
    ),
    (
        "orders",
        &[
            ("id", TEXTS),
            ("creation_timestamp", TIMESTAMPS),
            ("quantity", INTEGERS),
            ("user_id", TEXTS),
            ("item_id", TEXTS),
        ],
    ),
];

const PRIMARY_KEY: &str = "PRIMARY KEY (id)";
const FOREIGN_KEYS: [&str; 2] = [
    "FOREIGN KEY (user_id) REFERENCES public.users(id)",
    "FOREIGN KEY (item_id) REFERENCES items(id)",
];

/// What PostgreSQL itself calls an index on `orders (user_id)`, and what migration 2 calls its own.
const INDEX_OF_MIGRATION_2: &str = "orders_user_id_idx";

/// What came of an adoption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// What the schema has beyond what migration 1 makes. It is kept.
    pub extras: Vec<String>,
}

/// Adopts `schema`, which the connection has locked: what is there stays as it is, and a history says that
/// migration 1 was applied. All or nothing. The search path names the schema afterwards.
///
/// Tables, columns and primary keys must be there. What does not stand in the way of the migrations may
/// differ: lengths, the width of integers, text for varchar, any type of number for a price, NOT NULL,
/// defaults, foreign keys. An index that has the name of the one which migration 2 makes gets another
/// name.
///
/// # Errors
///
/// [`AdminError::NotAdoptable`] where the schema lacks something or has it in another type.
pub(super) async fn adopt(connection: &mut PgConnection, schema: &SchemaName) -> Result<Adopted, AdminError> {
    let mut transaction = connection.begin().await?;
    let mut read = shape::read(&mut transaction, std::slice::from_ref(schema)).await?;
    let shape = read.remove(schema.as_str()).unwrap_or_default();
    let lacks = lacks(&shape);
    if !lacks.is_empty() {
        return Err(AdminError::NotAdoptable { lacks });
    }
    schema::set_search_path(&mut transaction, schema).await?;
    let mut extras = extras(&shape);
    if shape.has_index(INDEX_OF_MIGRATION_2) {
        raw_sql("ALTER INDEX orders_user_id_idx RENAME TO orders_user_id_idx_adopted")
            .execute(&mut *transaction)
            .await?;
        extras.push(format!(
            "index {INDEX_OF_MIGRATION_2}, renamed to {INDEX_OF_MIGRATION_2}_adopted"
        ));
    }
    let migration = migrations::TENANT
        .get(VERSION)
        .ok_or(AdminError::UnknownMigration { version: VERSION })?;
    transaction.ensure_migrations_table(history::TABLE).await?;
    transaction.skip(history::TABLE, migration).await?;
    transaction.commit().await?;
    Ok(Adopted { extras })
}

/// What stands in the way of adopting a schema of this shape.
fn lacks(shape: &Shape) -> Vec<String> {
    let mut lacks = Vec::new();
    for (name, columns) in NEEDED {
        match shape.tables.get(name) {
            None => lacks.push(format!("there is no table {name}")),
            Some(table) if !matches!(table.kind, "table" | "partitioned table") => {
                lacks.push(format!("{name} is a {}", table.kind));
            }
            Some(table) => lacks_of_table(name, columns, table, &mut lacks),
        }
    }
    lacks
}

fn lacks_of_table(name: &str, columns: Columns, table: &Table, lacks: &mut Vec<String>) {
    for (column, types) in columns {
        let Some(there) = table.columns.get(*column) else {
            lacks.push(format!("there is no column {name}.{column}"));
            continue;
        };
        let data_type = there.data_type.unqualified();
        let (plain_type, _) = data_type.split_once(" COLLATE ").unwrap_or((&data_type, ""));
        if !types.contains(&without_modifier(plain_type).as_str()) {
            lacks.push(format!(
                "{name}.{column} is {data_type}, not {}",
                types.join(" or ")
            ));
        }
    }
    if !has_constraint(table, PRIMARY_KEY) {
        lacks.push(format!("{name} has no primary key (id)"));
    }
}

fn has_constraint(table: &Table, definition: &str) -> bool {
    table
        .constraints
        .values()
        .any(|constraint| constraint.unqualified() == definition)
}

/// What a schema of this shape has and migration 1 does not make.
fn extras(shape: &Shape) -> Vec<String> {
    let mut extras = Vec::new();
    for (name, table) in &shape.tables {
        let Some((_, columns)) = NEEDED.iter().find(|(needed, _)| needed == name) else {
            extras.push(format!("{} {name}", table.kind));
            continue;
        };
        for (column, there) in &table.columns {
            if !columns.iter().any(|(needed, _)| needed == column) {
                extras.push(format!(
                    "column {name}.{column} {}",
                    there.data_type.unqualified()
                ));
            }
        }
        for (constraint, definition) in &table.constraints {
            let definition = definition.unqualified();
            if definition != PRIMARY_KEY && !FOREIGN_KEYS.contains(&definition.as_str()) {
                extras.push(format!("constraint {name}.{constraint} {definition}"));
            }
        }
        for index in table
            .indexes
            .keys()
            .filter(|index| *index != INDEX_OF_MIGRATION_2)
        {
            extras.push(format!("index {index}"));
        }
    }
    extras
}
