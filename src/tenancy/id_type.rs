//! The types of id columns. Ids are compared as texts, which no index on a `bigint` or `uuid` supports: if the
//! types of the columns are known, statements compare in those types instead, and without the checks that only
//! other types need. The type of a domain is the one under it.

use sqlx::Row;
use sqlx::postgres::PgRow;

/// Maximum number of id columns that a statement compares.
const MAX_COLUMNS: usize = 4;

/// The types of the id columns of a tenant's tables, or of the shared tables.
pub(super) type IdTypes = [IdType; MAX_COLUMNS];

/// The type of an id column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum IdType {
    /// `varchar` or `text`, whose values are equal only if their bytes are.
    Text,
    /// `smallint`, `integer` or `bigint`.
    Integer,
    Uuid,
    /// `citext`: items are the same if their ids are equal in lower case. The ids of users and orders are still
    /// compared byte for byte.
    CaseInsensitive,
    /// Any other type, or a text with a collation of its own. For such a type, two texts may be the same id, but
    /// they are different ids for the service.
    #[default]
    Other,
}

/// A comparison of ids in the text of a statement, with another form for columns that are no texts.
#[derive(Debug)]
pub(crate) struct IdComparison {
    /// The positions of the compared columns among those whose types are known; of two columns, the referenced one
    /// is the last. If their types differ, their texts are compared.
    pub(crate) columns: &'static [usize],
    /// The comparison of texts, as it stands in the statement.
    pub(crate) of_texts: &'static str,
    /// The two sides of the comparison in the type of the columns.
    pub(crate) in_type: [&'static str; 2],
    /// The position of the compared value in the statement's values, if one is compared.
    pub(crate) value: Option<usize>,
}

impl IdType {
    fn from_name(name: &str) -> Self {
        match name {
            "smallint" | "integer" | "bigint" => Self::Integer,
            "uuid" => Self::Uuid,
            "text" | "character varying" => Self::Text,
            // The extension is in any schema.
            name if name.rsplit('.').next() == Some("citext") => Self::CaseInsensitive,
            _ => Self::Other,
        }
    }

    /// Returns whether `text` is the text of a value of this type, as PostgreSQL prints it.
    pub(super) fn is_canonical(self, text: &str) -> bool {
        match self {
            Self::Text | Self::CaseInsensitive | Self::Other => true,
            Self::Integer => text.parse::<i64>().is_ok_and(|number| number.to_string() == text),
            Self::Uuid => uuid::Uuid::try_parse(text)
                .is_ok_and(|uuid| uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()) == text),
        }
    }
}

impl IdComparison {
    /// Returns the type of the comparison, if `types` are those of the columns.
    pub(super) fn id_type(&self, types: IdTypes) -> IdType {
        let columns = self.columns.iter();
        let mut types = columns.filter_map(|column| types.get(*column).copied());
        match types.next_back() {
            // As for a foreign key, the type of the referenced column decides.
            Some(IdType::CaseInsensitive) => IdType::CaseInsensitive,
            Some(last) if types.all(|other| other == last) => last,
            _ => IdType::Other,
        }
    }

    /// Returns the text of the comparison in the type of the columns, unless it is the comparison of texts.
    pub(super) fn in_type(&self, types: IdTypes) -> Option<String> {
        let [left, right] = self.in_type;
        match self.id_type(types) {
            IdType::Integer => Some(format!("{left} = {right}::pg_catalog.int8")),
            IdType::Uuid => Some(format!("{left} = {right}::pg_catalog.uuid")),
            // As the operator of citext compares, which the search path does not contain.
            IdType::CaseInsensitive if self.value.is_none() => {
                let lower = |side| format!("pg_catalog.lower({side}::text COLLATE \"default\")");
                Some(format!("{} = {}", lower(left), lower(right)))
            }
            _ => None,
        }
    }
}

/// Returns whether two ids are equal in each of these types only if their bytes are.
pub(super) fn is_exact(types: IdTypes) -> bool {
    !types.contains(&IdType::Other) && !types.contains(&IdType::CaseInsensitive)
}

/// Returns whether a statement must be sent again: it was sent for ids of the types `believed`, but they are of the types
/// `found`, so it has not found items whose ids differ from the order's in upper and lower case.
pub(super) fn must_repeat(believed: IdTypes, found: IdTypes) -> bool {
    believed != found && found.contains(&IdType::CaseInsensitive)
}

/// Renders an expression for the name of an id column's type: the type, and in front of it the column's collation
/// if texts can be equal in it that differ in their bytes. `COALESCE` replaces a domain by the type under it
/// (PostgreSQL manual, section 10.5).
macro_rules! select_id_type {
    ($column:literal) => {
        concat!(
            "CASE WHEN pg_catalog.pg_typeof(COALESCE(",
            $column,
            ", NULL))::text IN ('text', 'character varying') \
             AND pg_catalog.pg_collation_for(",
            $column,
            ") NOT IN ('\"default\"', '\"C\"', '\"POSIX\"') \
             THEN 'collated ' ELSE '' END || pg_catalog.pg_typeof(COALESCE(",
            $column,
            ", NULL))::text"
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
            in_type: ["a", "b"],
            value: None,
        };
        let with = |first, second| comparison.id_type([first, second, IdType::Text, IdType::Text]);
        assert_eq!(with(IdType::Integer, IdType::Integer), IdType::Integer);
        assert_eq!(with(IdType::Integer, IdType::Uuid), IdType::Other);
        assert_eq!(with(IdType::Text, IdType::Uuid), IdType::Other);
    }

    #[test]
    fn the_referenced_column_decides_about_upper_and_lower_case() {
        let comparison = |value| IdComparison {
            columns: &[0, 1],
            of_texts: "a::text = b::text",
            in_type: ["a", "b"],
            value,
        };
        let types = |first, last| [first, last, IdType::Text, IdType::Text];
        let insensitive = types(IdType::Text, IdType::from_name("public.citext"));
        assert_eq!(
            comparison(None).in_type(insensitive).unwrap(),
            "pg_catalog.lower(a::text COLLATE \"default\") = pg_catalog.lower(b::text COLLATE \"default\")"
        );
        assert_eq!(
            comparison(None).in_type(types(IdType::CaseInsensitive, IdType::Text)),
            None
        );
        // The ids of users and orders are equal only if their bytes are.
        assert_eq!(comparison(Some(0)).in_type(insensitive), None);
    }
}
