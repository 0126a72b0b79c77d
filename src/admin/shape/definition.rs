//! Texts of the catalog that name their own schema, made alike for all schemas.

use crate::tenancy::SchemaName;

/// Stands for the schema's name. No text of PostgreSQL's contains a NUL.
const BLANK: &str = "\0";

/// Where an index's name is missing.
const UNNAMED_INDEX: &str = " INDEX ON ";

/// A type, an expression, a constraint or an index as SQL, in which the name of the schema that it
/// belongs to is left open: what means the same in two schemas is equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) struct Definition(String);

impl Definition {
    /// Takes `sql` as PostgreSQL writes it under a search path on which `schema` is not, so that each
    /// name of something in it is qualified.
    pub(super) fn of(sql: &str, schema: &str) -> Self {
        Self(leave_open(sql, schema))
    }

    /// The definition as it is written inside its schema.
    pub(in crate::admin) fn unqualified(&self) -> String {
        self.0.replace("\0.", "")
    }

    /// The definition as SQL for `schema`; none where it names it inside of a string.
    pub(super) fn in_schema(&self, schema: &SchemaName) -> Option<String> {
        let is_in_string = |position: usize| {
            self.0
                .get(..position)
                .is_some_and(|before| before.matches('\'').count() % 2 == 1)
        };
        let mut blanks = self.0.match_indices(BLANK);
        (!blanks.any(|(position, _)| is_in_string(position))).then(|| self.0.replace(BLANK, &schema.quoted()))
    }

    /// Whether a column with this default is an identity or generated.
    pub(super) fn is_generated(&self) -> bool {
        self.0.starts_with("GENERATED")
    }

    /// An index's definition without its name: `CREATE INDEX ON …`.
    pub(super) fn without_index_name(&self, name: &str) -> Self {
        Self(self.0.replacen(&format!(" INDEX {name} ON "), UNNAMED_INDEX, 1))
    }

    /// The opposite.
    pub(super) fn with_index_name(&self, name: &str) -> Self {
        Self(self.0.replacen(UNNAMED_INDEX, &format!(" INDEX {name} ON "), 1))
    }

    /// The same with something behind it.
    pub(super) fn followed_by(&self, suffix: &str) -> Self {
        Self(format!("{}{suffix}", self.0))
    }
}

/// Puts a blank for each qualification with `schema`, also in the strings that stand for relations,
/// such as `'client1.numbers'::regclass`.
fn leave_open(sql: &str, schema: &str) -> String {
    let mut open = String::with_capacity(sql.len());
    let mut rest = sql;
    while !rest.is_empty() {
        let (token, behind) = rest.split_at(token_length(rest));
        let is_qualified_already = open.ends_with('.');
        match literal(token) {
            Some(content) if behind.starts_with("::regclass") => {
                let content = leave_open(&content, schema).replace('\'', "''");
                open.extend(["'", &content, "'"]);
            }
            None if behind.starts_with('.')
                && !is_qualified_already
                && identifier(token).is_some_and(|name| name == schema) =>
            {
                open.push_str(BLANK);
            }
            _ => open.push_str(token),
        }
        rest = behind;
    }
    open
}

/// The length of the string, the quoted identifier, the word or the single character that `sql` begins
/// with (PostgreSQL manual, section 4.1).
fn token_length(sql: &str) -> usize {
    for (opening, quote) in [("E'", '\''), ("'", '\''), ("\"", '"')] {
        if let Some(inside) = sql.strip_prefix(opening) {
            return opening.len() + quoted_length(inside, quote);
        }
    }
    let is_of_word = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
    match sql.find(|character| !is_of_word(character)) {
        Some(0) => sql.chars().next().map_or(0, char::len_utf8),
        Some(end) => end,
        None => sql.len(),
    }
}

/// How far it is to behind the closing quote. One that is doubled does not close.
fn quoted_length(inside: &str, quote: char) -> usize {
    let mut characters = inside.char_indices().peekable();
    while let Some((position, character)) = characters.next() {
        if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return position + 1;
        }
    }
    inside.len()
}

/// What a token that is a string says.
fn literal(token: &str) -> Option<String> {
    let is_escaped = token.starts_with("E'");
    let token = token.strip_prefix('E').filter(|_| is_escaped).unwrap_or(token);
    let content = token.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'");
    Some(if is_escaped {
        content.replace("\\\\", "\\")
    } else {
        content
    })
}

/// What a token names, where it is an identifier; numbers have dots too.
fn identifier(token: &str) -> Option<String> {
    if token.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    match token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => Some(quoted.replace("\"\"", "\"")),
        None => Some(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unqualified(sql: &str, schema: &str) -> String {
        Definition::of(sql, schema).unqualified()
    }

    #[test]
    fn its_own_schema_is_left_open_and_no_other() {
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
    fn a_definition_moves_from_schema_to_schema() {
        let other = SchemaName::parse(r#"o"ther"#).unwrap();
        let reference = Definition::of("REFERENCES client1.items(id)", "client1");
        assert_eq!(
            reference.in_schema(&other).unwrap(),
            r#"REFERENCES "o""ther".items(id)"#
        );
        let in_string = Definition::of("nextval('client1.s'::regclass)", "client1");
        assert_eq!(in_string.in_schema(&other), None);
    }

    proptest! {
        #[test]
        fn whatever_its_name_a_schema_is_left_open(name in "\\PC{1,15}") {
            let Ok(schema) = SchemaName::parse(&name) else { return Ok(()) };
            let sql = format!("CHECK (f({q}.a) > 0) REFERENCES {q}.items(id)", q = schema.quoted());
            prop_assert_eq!(unqualified(&sql, &name), "CHECK (f(a) > 0) REFERENCES items(id)");
        }

        #[test]
        fn any_text_is_taken_to_its_end(sql in any::<String>()) {
            prop_assert_eq!(leave_open(&sql, "no such schema"), sql);
        }
    }
}
