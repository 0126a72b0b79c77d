//! SQL that removes differences which are safe to remove.

use super::definition::Definition;
use super::difference::DifferenceKind;
use super::snapshot::ColumnSnapshot;
use crate::tenancy::SchemaName;

/// Types without a modifier, to which stricter types of the same kind convert without reading the rows.
const LOOSE_TYPES: [&str; 3] = ["character varying", "numeric", "timestamp without time zone"];

/// SQL for the properties of a column.
pub(super) struct ColumnFixes {
    /// `ALTER TABLE … ALTER COLUMN …`
    alter: String,
}

impl ColumnFixes {
    pub(super) fn new(schema: &SchemaName, table: &str, column: &str) -> Self {
        let alter = format!("ALTER TABLE {}.{table} ALTER COLUMN {column}", schema.quoted());
        Self { alter }
    }

    /// Returns `None` unless every value of the type `found` is one of the type `expected`, so that the rows
    /// need not be rewritten (PostgreSQL manual, ALTER TABLE, notes).
    pub(super) fn set_type(&self, expected: &str, found: &str) -> Option<String> {
        let is_stricter = LOOSE_TYPES.contains(&expected)
            && (without_modifier(found) == expected || (found, expected) == ("text", "character varying"));
        is_stricter.then(|| format!("{} TYPE {expected};", self.alter))
    }

    pub(super) fn set_nullability(&self, is_not_null: bool) -> String {
        let action = if is_not_null { "SET" } else { "DROP" };
        format!("{} {action} NOT NULL;", self.alter)
    }

    /// Returns `None` if one of the columns is generated, or the default names its schema in a string.
    pub(super) fn set_default(
        &self,
        schema: &SchemaName,
        expected: &ColumnSnapshot,
        found: &ColumnSnapshot,
    ) -> Option<String> {
        let defaults = [&expected.default, &found.default];
        if defaults.into_iter().flatten().any(Definition::is_generated) {
            return None;
        }
        match &expected.default {
            Some(default) => {
                let default = default.in_schema(schema)?;
                Some(format!("{} SET DEFAULT {default};", self.alter))
            }
            None => Some(format!("{} DROP DEFAULT;", self.alter)),
        }
    }
}

/// Returns a type without its length or precision.
pub(in crate::admin) fn without_modifier(data_type: &str) -> String {
    match (data_type.find('('), data_type.find(')')) {
        (Some(from), Some(to)) if from < to => {
            let (before, after) = (data_type.get(..from), data_type.get(to + 1..));
            [before, after].into_iter().flatten().collect()
        }
        _ => data_type.to_owned(),
    }
}

/// A kind of object that belongs to a table and has a name of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum TablePart {
    Constraint,
    Index,
}

impl TablePart {
    pub(super) fn kind(self) -> DifferenceKind {
        match self {
            Self::Constraint => DifferenceKind::Constraint,
            Self::Index => DifferenceKind::Index,
        }
    }

    /// Returns the name inside the schema. Constraints are named within their table, indexes within their schema.
    pub(super) fn object(self, table: &str, name: &str) -> String {
        match self {
            Self::Constraint => format!("{table}.{name}"),
            Self::Index => name.to_owned(),
        }
    }

    pub(super) fn describe(self, name: &str, definition: &Definition) -> String {
        match self {
            Self::Constraint => format!("CONSTRAINT {name} {}", definition.unqualified()),
            Self::Index => definition.with_index_name(name).unqualified(),
        }
    }

    pub(super) fn create(
        self,
        schema: &SchemaName,
        table: &str,
        name: &str,
        definition: &Definition,
    ) -> Option<String> {
        Some(match self {
            Self::Constraint => format!(
                "ALTER TABLE {}.{table} ADD CONSTRAINT {name} {};",
                schema.quoted(),
                definition.in_schema(schema)?
            ),
            Self::Index => format!("{};", definition.with_index_name(name).in_schema(schema)?),
        })
    }

    pub(super) fn rename(self, schema: &SchemaName, table: &str, from: &str, to: &str) -> String {
        let schema = schema.quoted();
        match self {
            Self::Constraint => format!("ALTER TABLE {schema}.{table} RENAME CONSTRAINT {from} TO {to};"),
            Self::Index => format!("ALTER INDEX {schema}.{from} RENAME TO {to};"),
        }
    }

    /// Returns SQL that validates a constraint or rebuilds an index, or `None` if `found` differs from
    /// `expected` in more than that.
    pub(super) fn validate(
        self,
        schema: &SchemaName,
        table: &str,
        name: &str,
        expected: &Definition,
        found: &Definition,
    ) -> Option<String> {
        let schema = schema.quoted();
        let (suffix, fix) = match self {
            Self::Constraint => (
                " NOT VALID",
                format!("ALTER TABLE {schema}.{table} VALIDATE CONSTRAINT {name};"),
            ),
            Self::Index => (" INVALID", format!("REINDEX INDEX {schema}.{name};")),
        };
        (expected.with_suffix(suffix) == *found).then_some(fix)
    }
}
