//! What belongs to a table and has a name of its own, and the SQL that makes it.

use super::{Definition, DifferenceKind};
use crate::tenancy::SchemaName;

/// A kind of what belongs to a table and has a name of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Constraint,
    Index,
}

impl Part {
    pub(super) fn kind(self) -> DifferenceKind {
        match self {
            Self::Constraint => DifferenceKind::Constraint,
            Self::Index => DifferenceKind::Index,
        }
    }

    /// The name of a constraint is its table's, that of an index the schema's.
    pub(super) fn object(self, table: &str, name: &str) -> String {
        match self {
            Self::Constraint => format!("{table}.{name}"),
            Self::Index => name.to_owned(),
        }
    }

    pub(super) fn text(self, name: &str, definition: &Definition) -> String {
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

    /// What completes one that was begun and not validated, or not built to its end.
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
        (expected.followed_by(suffix) == *found).then_some(fix)
    }
}
