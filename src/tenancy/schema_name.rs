//! The name of a tenant's schema: the only way to make an identifier out of data.

/// PostgreSQL cuts a longer identifier short without an error (manual, section 4.1.1), and a name
/// cut short is another tenant's.
const MAX_BYTES: usize = 63;

/// A name that may stand in a `search_path`, checked once and quoted wherever it is rendered.
///
/// Any name that PostgreSQL takes as an identifier is fine: upper case, spaces, quotes, Unicode.
/// Names that would reach something other than one tenant's schema are refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaName(String);

/// Why a text is not a tenant's schema name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchemaName {
    /// An empty identifier does not exist.
    #[error("the schema name is empty")]
    Empty,
    /// PostgreSQL would cut it short.
    #[error("the schema name {name:?} has {} bytes, more than {MAX_BYTES}", name.len())]
    TooLong {
        /// The name as it was found.
        name: String,
    },
    /// NUL ends a C string: the server would read another name.
    #[error("the schema name {name:?} contains a NUL")]
    ContainsNul {
        /// The name as it was found.
        name: String,
    },
    /// `public`, a system schema, or `$user`, which a search path expands even when it is quoted.
    #[error("the schema name {name:?} is not a tenant's: it is reserved")]
    Reserved {
        /// The name as it was found.
        name: String,
    },
}

impl SchemaName {
    /// Takes `name` as it stands, case and all.
    ///
    /// # Errors
    ///
    /// [`InvalidSchemaName`] where the name cannot be an identifier or is not a tenant's.
    pub fn parse(name: &str) -> Result<Self, InvalidSchemaName> {
        let owned = || name.to_owned();
        if name.is_empty() {
            return Err(InvalidSchemaName::Empty);
        }
        if name.contains('\0') {
            return Err(InvalidSchemaName::ContainsNul { name: owned() });
        }
        if name.len() > MAX_BYTES {
            return Err(InvalidSchemaName::TooLong { name: owned() });
        }
        let reserved = matches!(name, "public" | "information_schema" | "$user");
        if reserved || name.starts_with("pg_") {
            return Err(InvalidSchemaName::Reserved { name: owned() });
        }
        Ok(Self(owned()))
    }

    /// The name itself: to be bound as a value or shown to a person, never put into SQL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a quoted identifier (PostgreSQL manual, section 4.1.1), safe inside SQL text.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_any_identifier_may_have_are_accepted_and_quoted() {
        for (name, quoted) in [
            ("client1", r#""client1""#),
            ("Client-1.eu", r#""Client-1.eu""#),
            (r#"a"b"#, r#""a""b""#),
            ("client1, public", r#""client1, public""#),
            ("PUBLIC", r#""PUBLIC""#),
            ("Żółć", r#""Żółć""#),
            (" ", r#"" ""#),
        ] {
            assert_eq!(SchemaName::parse(name).unwrap().quoted(), quoted);
        }
    }

    #[test]
    fn names_that_reach_beyond_one_tenant_are_refused() {
        for name in [
            "public",
            "pg_catalog",
            "pg_temp",
            "pg_toast_temp_1",
            "information_schema",
            "$user",
        ] {
            assert!(
                matches!(SchemaName::parse(name), Err(InvalidSchemaName::Reserved { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn length_is_counted_in_bytes() {
        assert!(SchemaName::parse(&"x".repeat(63)).is_ok());
        assert!(SchemaName::parse(&"é".repeat(31)).is_ok());
        for name in ["x".repeat(64), "é".repeat(32)] {
            assert!(matches!(
                SchemaName::parse(&name),
                Err(InvalidSchemaName::TooLong { .. })
            ));
        }
    }

    #[test]
    fn nothing_and_nul_are_refused() {
        assert_eq!(SchemaName::parse(""), Err(InvalidSchemaName::Empty));
        assert!(matches!(
            SchemaName::parse("a\0b"),
            Err(InvalidSchemaName::ContainsNul { .. })
        ));
    }

    proptest! {
        #[test]
        fn a_quoted_name_holds_exactly_one_identifier(name in any::<String>()) {
            let Ok(schema) = SchemaName::parse(&name) else { return Ok(()) };
            let quoted = schema.quoted();
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
            let unquoted = inner.replace("\"\"", "\"");
            prop_assert_eq!(unquoted.as_str(), schema.as_str());
            prop_assert!(!inner.replace("\"\"", "").contains('"'));
        }
    }
}
