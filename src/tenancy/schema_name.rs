//! The name of a tenant's schema: the only way to make an identifier out of data.

/// PostgreSQL truncates a longer identifier without an error (manual, section 4.1.1), and the truncated name
/// is another tenant's.
const MAX_BYTES: usize = 63;

/// A name that may stand in a `search_path`, validated once and quoted in each text.
///
/// Every name that PostgreSQL accepts as an identifier is valid, including upper case, spaces, quotes and
/// Unicode. Names that reach anything other than one tenant's schema are refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaName(String);

/// The reason why a text is not a tenant's schema name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchemaName {
    /// The name is empty.
    #[error("the schema name is empty")]
    Empty,
    /// PostgreSQL would truncate the name.
    #[error(
        "the schema name {name:?} is too long: {bytes} bytes in the encoding of the database, at most {MAX_BYTES} \
         are possible"
    )]
    TooLong {
        /// The name.
        name: String,
        /// Its length in the encoding of the database, or in UTF-8.
        bytes: usize,
    },
    /// The name contains a NUL. The server would truncate it there.
    #[error("the schema name {name:?} contains a NUL")]
    ContainsNul {
        /// The name.
        name: String,
    },
    /// The name is not valid in UTF-8.
    #[error("the schema name '{bytes}' is not valid UTF-8")]
    NotText {
        /// Its bytes, of which those that are no printable ASCII characters are escaped.
        bytes: String,
    },
    /// The name is `public`, a system schema, or `$user`, which a search path expands even when quoted.
    #[error("the schema name {name:?} is reserved")]
    Reserved {
        /// The name.
        name: String,
    },
}

impl SchemaName {
    /// Validates `name`; its length counts in UTF-8. It is used as it is, in its upper and lower case.
    ///
    /// # Errors
    ///
    /// [`InvalidSchemaName`].
    pub fn parse(name: &str) -> Result<Self, InvalidSchemaName> {
        Self::parse_with_length(name, name.len())
    }

    /// Validates `name`. `octet_length` is its length in the encoding of the database, as the server reports it.
    ///
    /// # Errors
    ///
    /// [`InvalidSchemaName`].
    pub(crate) fn parse_measured(name: &str, octet_length: i32) -> Result<Self, InvalidSchemaName> {
        Self::parse_with_length(name, usize::try_from(octet_length).unwrap_or(usize::MAX))
    }

    fn parse_with_length(name: &str, bytes: usize) -> Result<Self, InvalidSchemaName> {
        let owned = || name.to_owned();
        if name.is_empty() {
            return Err(InvalidSchemaName::Empty);
        }
        if name.contains('\0') {
            return Err(InvalidSchemaName::ContainsNul { name: owned() });
        }
        if bytes > MAX_BYTES {
            let name = owned();
            return Err(InvalidSchemaName::TooLong { name, bytes });
        }
        let is_reserved = matches!(name, "public" | "information_schema" | "$user");
        if is_reserved || name.starts_with("pg_") {
            return Err(InvalidSchemaName::Reserved { name: owned() });
        }
        Ok(Self(owned()))
    }

    /// The name itself, to be bound as a value or shown to the operator. It must not be put into SQL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a quoted identifier (PostgreSQL manual, section 4.1.1), safe inside SQL text.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }

    /// The name of the tenant's role, to be bound as a value of the setting `role`. The value "none" would reset the
    /// role, even as a quoted identifier; no role can have that name, and the empty name fails as a missing role does.
    pub(crate) fn role(&self) -> &str {
        match self.as_str() {
            "none" => "",
            name => name,
        }
    }

    /// The name of the tenant's role, for `SET ROLE`.
    pub(crate) fn quoted_role(&self) -> String {
        match self.role() {
            "" => "''".to_owned(),
            _ => self.quoted(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn valid_identifiers_are_accepted_and_quoted() {
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
    fn reserved_names_are_refused() {
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
    fn length_is_that_in_the_servers_encoding() {
        let name = "é".repeat(31);
        let in_euc_jp = SchemaName::parse_measured(&name, 93);
        assert_eq!(in_euc_jp, Err(InvalidSchemaName::TooLong { name, bytes: 93 }));
        assert!(SchemaName::parse_measured(&"é".repeat(40), 40).is_ok());
    }

    #[test]
    fn empty_names_and_nul_are_refused() {
        assert_eq!(SchemaName::parse(""), Err(InvalidSchemaName::Empty));
        assert!(matches!(
            SchemaName::parse("a\0b"),
            Err(InvalidSchemaName::ContainsNul { .. })
        ));
    }

    proptest! {
        #[test]
        fn quoted_name_is_exactly_one_identifier(name in any::<String>()) {
            let Ok(schema) = SchemaName::parse(&name) else { return Ok(()) };
            let quoted = schema.quoted();
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
            let unquoted = inner.replace("\"\"", "\"");
            prop_assert_eq!(unquoted.as_str(), schema.as_str());
            prop_assert!(!inner.replace("\"\"", "").contains('"'));
        }
    }
}
