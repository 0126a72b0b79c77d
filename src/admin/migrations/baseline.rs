//! Adoption with the compiled-in migrations: the tables of version 1, with the differences that later migrations
//! and the service can work with.

use sqlx::{PgConnection, raw_sql};

use super::error::MigrationError;
use crate::admin::drift::fixes::without_modifier;
use crate::admin::drift::snapshot::{SchemaSnapshot, TableSnapshot};
use crate::admin::error::AdminError;

/// Version at which schemas are adopted with the compiled-in migrations.
pub(super) const BASELINE_VERSION: i64 = 1;

const IDS: &[&str] = &[
    "character varying",
    "text",
    "citext",
    "uuid",
    "integer",
    "bigint",
    "smallint",
];
const TEXTS: &[&str] = &["character varying", "text", "citext"];
const TIMESTAMPS: &[&str] = &["timestamp without time zone"];
const QUANTITIES: &[&str] = &[
    "integer",
    "bigint",
    "smallint",
    "numeric",
    "double precision",
    "real",
];
/// Migration 2 converts each of these to the same `numeric`, through its text.
const PRICES: &[&str] = &[
    "double precision",
    "real",
    "numeric",
    "integer",
    "bigint",
    "smallint",
];

/// Columns, each with its accepted types. Migration 1 creates it with the first one.
type Columns = &'static [(&'static str, &'static [&'static str])];

/// Tables and columns that a tenant's schema must have, with the types that the migrations and the service
/// can work with.
const REQUIRED: [(&str, Columns); 2] = [
    (
        "items",
        &[
            ("id", IDS),
            ("creation_timestamp", TIMESTAMPS),
            ("description", TEXTS),
            ("price", PRICES),
        ],
    ),
    (
        "orders",
        &[
            ("id", IDS),
            ("creation_timestamp", TIMESTAMPS),
            ("quantity", QUANTITIES),
            ("user_id", IDS),
            ("item_id", IDS),
        ],
    ),
];

const PRIMARY_KEY: &str = "PRIMARY KEY (id)";
const FOREIGN_KEYS: [&str; 2] = [
    "FOREIGN KEY (user_id) REFERENCES public.users(id)",
    "FOREIGN KEY (item_id) REFERENCES items(id)",
];

/// Name of the index of migration 3, which is also PostgreSQL's default name for an index on
/// `orders (user_id)`.
const ORDERS_INDEX: &str = "orders_user_id_idx";
/// Name to which an adopted index of that name is renamed.
const ADOPTED_INDEX: &str = "orders_user_id_idx_adopted";

/// The result of an adoption.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Adoption {
    pub(crate) version: i64,
    /// Objects that the migrations up to this version do not create. They are kept.
    pub(crate) extras: Vec<String>,
    /// Names that the migrations create and that a renamed object has had.
    pub(crate) freed: Vec<String>,
}

/// Checks that the tables of migration 1 exist, and renames an index that has the name of the one that
/// migration 3 creates.
pub(super) async fn adopt(
    transaction: &mut PgConnection,
    snapshot: &SchemaSnapshot,
) -> Result<Adoption, AdminError> {
    let obstacles = obstacles(snapshot);
    if !obstacles.is_empty() {
        return Err(MigrationError::NotAdoptable { obstacles }.into());
    }
    let mut extras = extras(snapshot);
    let mut freed = Vec::new();
    if snapshot.has_index(ORDERS_INDEX) {
        raw_sql("ALTER INDEX orders_user_id_idx RENAME TO orders_user_id_idx_adopted")
            .execute(transaction)
            .await?;
        extras.push(format!("index {ORDERS_INDEX}, renamed to {ADOPTED_INDEX}"));
        freed.push(ORDERS_INDEX.to_owned());
    }
    Ok(Adoption {
        version: BASELINE_VERSION,
        extras,
        freed,
    })
}

/// Returns the reasons why a schema cannot be adopted.
fn obstacles(snapshot: &SchemaSnapshot) -> Vec<String> {
    let mut obstacles = Vec::new();
    for (name, columns) in REQUIRED {
        match snapshot.tables.get(name) {
            None => obstacles.push(format!("there is no table {name}")),
            Some(table) if !matches!(table.kind, "table" | "partitioned table") => {
                obstacles.push(format!("{name} is a {}", table.kind));
            }
            Some(table) => add_obstacles_of_table(name, columns, table, &mut obstacles),
        }
    }
    // The index is renamed; other relations of its name would make migration 3 fail.
    let name = if snapshot.has_index(ORDERS_INDEX) {
        ADOPTED_INDEX
    } else {
        ORDERS_INDEX
    };
    if let Some(relation) = describe_relation(snapshot, name) {
        obstacles.push(format!(
            "{relation} has the name of an index of the migrations; rename it"
        ));
    }
    obstacles
}

/// Describes the relation with this name: a table, a view, an index, or a constraint with an index.
fn describe_relation(snapshot: &SchemaSnapshot, name: &str) -> Option<String> {
    let has_index = |definition: String| {
        ["PRIMARY KEY", "UNIQUE", "EXCLUDE"]
            .iter()
            .any(|kind| definition.starts_with(kind))
    };
    snapshot.tables.iter().find_map(|(table, found)| {
        if table == name {
            Some(format!("{} {name}", found.kind))
        } else if found.indexes.contains_key(name) {
            Some(format!("index {name}"))
        } else if found
            .constraints
            .get(name)
            .is_some_and(|constraint| has_index(constraint.unqualified()))
        {
            Some(format!("constraint {table}.{name}"))
        } else {
            None
        }
    })
}

fn add_obstacles_of_table(name: &str, columns: Columns, table: &TableSnapshot, obstacles: &mut Vec<String>) {
    for (column, types) in columns {
        let Some(found) = table.columns.get(*column) else {
            obstacles.push(format!("there is no column {name}.{column}"));
            continue;
        };
        let data_type = found.data_type.unqualified();
        if !contains_type(types, &data_type) {
            obstacles.push(format!(
                "{name}.{column} is {data_type}, not {}",
                types.join(" or ")
            ));
        }
    }
    if !has_constraint(table, PRIMARY_KEY) {
        obstacles.push(format!("{name} has no primary key (id)"));
    }
}

/// Returns whether `data_type` is one of `types`. Length, precision and collation do not matter, nor does the
/// schema of an extension's type.
fn contains_type(types: &[&str], data_type: &str) -> bool {
    let (data_type, _) = data_type.split_once(" COLLATE ").unwrap_or((data_type, ""));
    let data_type = without_modifier(data_type);
    let name = if data_type.ends_with(".citext") {
        "citext"
    } else {
        &data_type
    };
    types.contains(&name)
}

/// Returns whether a schema with a column of the type `found` is adopted, if `expected` is the type that migration 1
/// creates. `column` is named with its table.
pub(in crate::admin) fn accepts_type(column: &str, expected: &str, found: &str) -> bool {
    let Some((table, column)) = column.split_once('.') else {
        return false;
    };
    let columns = REQUIRED.iter().filter(|(name, _)| *name == table);
    let mut columns = columns.flat_map(|(_, columns)| *columns);
    columns.any(|(name, types)| {
        *name == column && types.first() == Some(&expected) && contains_type(types, found)
    })
}

fn has_constraint(table: &TableSnapshot, definition: &str) -> bool {
    table
        .constraints
        .values()
        .any(|constraint| constraint.unqualified() == definition)
}

/// Returns the objects of a schema that migration 1 does not create.
fn extras(snapshot: &SchemaSnapshot) -> Vec<String> {
    let mut extras = Vec::new();
    for (name, table) in &snapshot.tables {
        let Some((_, columns)) = REQUIRED.iter().find(|(required, _)| required == name) else {
            extras.push(format!("{} {name}", table.kind));
            continue;
        };
        for (column, found) in &table.columns {
            if !columns.iter().any(|(required, _)| required == column) {
                extras.push(format!(
                    "column {name}.{column} {}",
                    found.data_type.unqualified()
                ));
            }
        }
        for (constraint, definition) in &table.constraints {
            let definition = definition.unqualified();
            if definition != PRIMARY_KEY && !FOREIGN_KEYS.contains(&definition.as_str()) {
                extras.push(format!("constraint {name}.{constraint} {definition}"));
            }
        }
        for index in table.indexes.keys().filter(|index| *index != ORDERS_INDEX) {
            extras.push(format!("index {index}"));
        }
    }
    extras
}
