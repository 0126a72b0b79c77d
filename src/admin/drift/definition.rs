//! Definitions from the catalog, made comparable between schemas.

use sqlparser::tokenizer::Token;

use crate::admin::sql_tokens::tokenize;
use crate::tenancy::SchemaName;

/// Stands for the name of the schema. PostgreSQL's texts contain no NUL.
const PLACEHOLDER: &str = "\0";

/// The part of an index's definition that would contain its name.
const UNNAMED_INDEX: &str = " INDEX ON ";

/// A type, an expression, a constraint or an index as SQL, with a placeholder for the name of its own schema:
/// definitions in two schemas are equal if they mean the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) struct Definition(String);

impl Definition {
    /// Takes `sql` as PostgreSQL writes it if `schema` is not on the search path: with qualified names.
    pub(super) fn new(sql: &str, schema: &str) -> Self {
        Self(replace_schema(sql, schema))
    }

    /// Returns the definition with unqualified names.
    pub(in crate::admin) fn unqualified(&self) -> String {
        self.0.replace("\0.", "")
    }

    /// Returns the definition as SQL for `schema`, or `None` if it names the schema in a string.
    pub(super) fn in_schema(&self, schema: &SchemaName) -> Option<String> {
        let is_in_string = |(position, _): (usize, _)| {
            let before = self.0.get(..position).unwrap_or_default();
            before.matches('\'').count() % 2 == 1
        };
        let is_in_any_string = self.0.match_indices(PLACEHOLDER).any(is_in_string);
        (!is_in_any_string).then(|| self.0.replace(PLACEHOLDER, &schema.quoted()))
    }

    /// Returns whether this is the default of an identity column or of a generated column.
    pub(super) fn is_generated(&self) -> bool {
        self.0.starts_with("GENERATED")
    }

    /// Returns the definition of an index without its name: `CREATE INDEX ON …`.
    pub(super) fn without_index_name(&self, name: &str) -> Self {
        Self(self.0.replacen(&format!(" INDEX {name} ON "), UNNAMED_INDEX, 1))
    }

    /// Returns the definition of an index with a name.
    pub(super) fn with_index_name(&self, name: &str) -> Self {
        Self(self.0.replacen(UNNAMED_INDEX, &format!(" INDEX {name} ON "), 1))
    }

    /// Returns the definition followed by `suffix`.
    pub(super) fn with_suffix(&self, suffix: &str) -> Self {
        Self(format!("{}{suffix}", self.0))
    }
}

/// Puts the placeholder for each qualification by `schema`, also in strings that stand for relations, such as
/// `'client1.numbers'::regclass`.
fn replace_schema(sql: &str, schema: &str) -> String {
    if !may_contain(sql, schema) {
        return sql.to_owned();
    }
    let Some(tokens) = tokenize(sql) else {
        return sql.to_owned();
    };
    let mut replaced = String::with_capacity(sql.len());
    let mut rest = tokens.as_slice();
    while let [(token, text), following @ ..] = rest {
        match (token, following) {
            (
                Token::SingleQuotedString(content) | Token::EscapedStringLiteral(content),
                [(Token::DoubleColon, _), (_, "regclass"), ..],
            ) => {
                let content = replace_schema(content, schema).replace('\'', "''");
                replaced.extend(["'", &content, "'"]);
            }
            (Token::Word(word), [(Token::Period, _), ..])
                if word.value == schema && !replaced.ends_with('.') =>
            {
                replaced.push_str(PLACEHOLDER);
            }
            _ => replaced.push_str(text),
        }
        rest = following;
    }
    replaced
}

/// Returns `false` if `sql` certainly does not name `schema`. Special characters of the name may be escaped in `sql`.
fn may_contain(sql: &str, schema: &str) -> bool {
    let parts = schema.split(|character: char| !character.is_ascii_alphanumeric());
    let longest = parts.max_by_key(|part| part.len()).unwrap_or_default();
    sql.contains(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unqualified(sql: &str, schema: &str) -> String {
        Definition::new(sql, schema).unqualified()
    }

    #[test]
    fn only_its_own_schema_is_replaced() {
        for (sql, schema, expected) in [
            (
                "FOREIGN KEY (item_id) REFERENCES client1.items(id)",
                "client1",
                "FOREIGN KEY (item_id) REFERENCES items(id)",
            ),
            (
                "FOREIGN KEY (user_id) REFERENCES public.users(id)",
                "client1",
                "FOREIGN KEY (user_id) REFERENCES public.users(id)",
            ),
            (
                r#"CREATE INDEX i ON "a""b".orders USING btree (user_id)"#,
                r#"a"b"#,
                "CREATE INDEX i ON orders USING btree (user_id)",
            ),
            ("items.items(id)", "items", "items(id)"),
            ("xclient1.items(id)", "client1", "xclient1.items(id)"),
            ("public.client1.x", "client1", "public.client1.x"),
            ("'client1.x'::text", "client1", "'client1.x'::text"),
            (
                "nextval('client1.s'::regclass)",
                "client1",
                "nextval('s'::regclass)",
            ),
            (
                r#"nextval('"it''s".s'::regclass)"#,
                "it's",
                "nextval('s'::regclass)",
            ),
            (
                r#"nextval(E'"a\\b".s'::regclass)"#,
                r"a\b",
                "nextval('s'::regclass)",
            ),
            ("0.5", "0", "0.5"),
            (r#""0".f(0.5)"#, "0", "f(0.5)"),
            ("'it''s client1.x'", "client1", "'it''s client1.x'"),
            ("", "client1", ""),
        ] {
            assert_eq!(unqualified(sql, schema), expected);
        }
    }

    #[test]
    fn definitions_are_rendered_for_another_schema() {
        let other = SchemaName::parse(r#"o"ther"#).unwrap();
        let reference = Definition::new("REFERENCES client1.items(id)", "client1");
        assert_eq!(
            reference.in_schema(&other).unwrap(),
            r#"REFERENCES "o""ther".items(id)"#
        );
        let in_string = Definition::new("nextval('client1.s'::regclass)", "client1");
        assert_eq!(in_string.in_schema(&other), None);
    }

    proptest! {
        #[test]
        fn any_schema_name_is_replaced(name in "\\PC{1,15}") {
            let Ok(schema) = SchemaName::parse(&name) else { return Ok(()) };
            let sql = format!("CHECK (f({q}.a) > 0) REFERENCES {q}.items(id)", q = schema.quoted());
            prop_assert_eq!(unqualified(&sql, &name), "CHECK (f(a) > 0) REFERENCES items(id)");
        }

        #[test]
        fn other_text_is_unchanged(sql in any::<String>()) {
            prop_assert_eq!(replace_schema(&sql, "no such schema"), sql);
        }
    }
}
