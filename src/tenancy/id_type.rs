//! The types of id columns. Ids are compared as texts, which no index on a `bigint` or `uuid` supports: if the
//! types of the columns are known, statements compare in those types instead, and without the checks that only
//! other types need.

use sqlx::Row;
use sqlx::postgres::PgRow;

/// Maximum number of id columns that a statement compares.
const MAX_COLUMNS: usize = 4;

/// The types of the id columns of a tenant's tables, or of the shared tables.
pub(super) type IdTypes = [IdType; MAX_COLUMNS];

/// A type in which two ids are equal if their texts are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum IdType {
    /// `varchar` or `text`, whose values are equal only if their bytes are.
    Text,
    /// `smallint`, `integer` or `bigint`.
    Integer,
    Uuid,
    /// Any other type, such as `citext`, or a text with a collation of its own. For such a
    /// type, two texts may be the same id, but they are different ids for the service.
    #[default]
    Other,
}

/// A comparison of ids in the text of a statement, with another form for columns that are no texts.
#[derive(Debug)]
pub(crate) struct IdComparison {
    /// The positions of the compared columns among those whose types are known. If their types differ, their
    /// texts are compared.
    pub(crate) columns: &'static [usize],
    /// The comparison of texts, as it stands in the statement.
    pub(crate) of_texts: &'static str,
    /// The comparison in the type of the columns. The name of that type is appended, as a cast of its right side.
    pub(crate) in_type: &'static str,
    /// The position of the compared value in the statement's values, if one is compared.
    pub(crate) value: Option<usize>,
}

impl IdType {
    fn from_name(name: &str) -> Self {
        match name {
            "smallint" | "integer" | "bigint" => Self::Integer,
            "uuid" => Self::Uuid,
            "text" | "character varying" => Self::Text,
            _ => Self::Other,
        }
    }

    /// The type's name for a cast. A text needs none.
    pub(super) fn cast(self) -> Option<&'static str> {
        match self {
            Self::Text | Self::Other => None,
            Self::Integer => Some("pg_catalog.int8"),
            Self::Uuid => Some("pg_catalog.uuid"),
        }
    }

    /// Returns whether `text` is the text of a value of this type, as PostgreSQL prints it.
    pub(super) fn is_canonical(self, text: &str) -> bool {
        match self {
            Self::Text | Self::Other => true,
            Self::Integer => text.parse::<i64>().is_ok_and(|number| number.to_string() == text),
            Self::Uuid => uuid::Uuid::try_parse(text)
                .is_ok_and(|uuid| uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()) == text),
        }
    }
}

impl IdComparison {
    /// Returns the type of the comparison, if `types` are those of the columns.
    pub(super) fn id_type(&self, types: IdTypes) -> IdType {
        let mut types = self
            .columns
            .iter()
            .filter_map(|column| types.get(*column).copied());
        match types.next() {
            Some(first) if types.all(|other| other == first) => first,
            _ => IdType::Other,
        }
    }
}

/// Returns whether two ids are equal in each of these types only if their bytes are.
pub(super) fn is_exact(types: IdTypes) -> bool {
    !types.contains(&IdType::Other)
}

/// Renders an expression for the name of an id column's type: the type, and in front of it the column's collation
/// if texts can be equal in it that differ in their bytes.
macro_rules! select_id_type {
    ($column:literal) => {
        concat!(
            "CASE WHEN pg_catalog.pg_typeof(",
            $column,
            ")::text IN ('text', 'character varying') \
             AND pg_catalog.pg_collation_for(",
            $column,
            ") NOT IN ('\"default\"', '\"C\"', '\"POSIX\"') \
             THEN 'collated ' ELSE '' END || pg_catalog.pg_typeof(",
            $column,
            ")::text"
        )
    };
}

pub(crate) use select_id_type;

/// Reads the types' names from a row.
pub(super) fn id_types(row: &PgRow) -> Result<IdTypes, sqlx::Error> {
    let mut types = [IdType::Text; MAX_COLUMNS];
    for (column, id_type) in types.iter_mut().enumerate().take(row.len()) {
        *id_type = IdType::from_name(row.try_get(column)?);
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_that_postgresql_prints_are_ids_of_a_type() {
        for (id_type, printed, others) in [
            (
                IdType::Integer,
                vec!["0", "7", "-7", "9223372036854775807", "-9223372036854775808"],
                vec![
                    "",
                    "+7",
                    "07",
                    "-0",
                    " 7",
                    "7 ",
                    "7.0",
                    "9223372036854775808",
                    "x",
                    "٣",
                ],
            ),
            (
                IdType::Uuid,
                vec!["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
                vec![
                    "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
                    "a0eebc999c0b4ef8bb6d6bb9bd380a11",
                    "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
                    "urn:uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                    "",
                ],
            ),
        ] {
            for text in printed {
                assert!(id_type.is_canonical(text), "{id_type:?}, {text:?}");
            }
            for text in others {
                assert!(!id_type.is_canonical(text), "{id_type:?}, {text:?}");
            }
        }
    }

    #[test]
    fn columns_of_different_types_are_compared_as_texts() {
        let comparison = IdComparison {
            columns: &[0, 1],
            of_texts: "a::text = b::text",
            in_type: "a = b",
            value: None,
        };
        let with = |first, second| comparison.id_type([first, second, IdType::Text, IdType::Text]);
        assert_eq!(with(IdType::Integer, IdType::Integer), IdType::Integer);
        assert_eq!(with(IdType::Integer, IdType::Uuid), IdType::Other);
        assert_eq!(with(IdType::Text, IdType::Uuid), IdType::Other);
    }
}
