//! Statements and their values, and the forms in which a message contains them.

use std::borrow::Cow;
use std::fmt;

use data_encoding::HEXLOWER;

use super::id_type::{IdComparison, IdTypes, is_exact};

/// A statement, with `$1`, `$2`, … for its values. The text is part of the program, never built from data.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(super) name: &'static str,
    text: &'static str,
    pub(super) select_id_types: Option<&'static str>,
    id_comparisons: &'static [IdComparison],
}

impl Statement {
    /// A statement with a text that contains no `$` other than those of its values. `name` is the beginning of its
    /// name as a prepared statement: lower-case letters and `_`.
    pub(crate) const fn new(name: &'static str, text: &'static str) -> Self {
        Self {
            name,
            text,
            select_id_types: None,
            id_comparisons: &[],
        }
    }

    /// The same statement, whose text has these comparisons of ids. `select_id_types` returns the names of the
    /// columns' types in one row; all statements over the same tables must have the same one.
    pub(crate) const fn with_ids(
        self,
        select_id_types: &'static str,
        id_comparisons: &'static [IdComparison],
    ) -> Self {
        Self {
            select_id_types: Some(select_id_types),
            id_comparisons,
            ..self
        }
    }
}

/// A statement with its values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    /// The statement.
    pub(crate) statement: &'static Statement,
    /// The values of `$1`, `$2`, ….
    pub(crate) values: &'a [Value<'a>],
}

impl Query<'_> {
    /// Returns the statement with its values, in the form that works with ids of any type and columns of any
    /// collation.
    pub(crate) fn to_sql(self) -> String {
        let form = MessageForm {
            has_collation: true,
            ..MessageForm::default()
        };
        FormedQuery(self, form).inline().to_string()
    }
}

/// A statement over one tenant's tables, which it names without a schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TenantQuery<'a> {
    /// The tables that it reads, separated by commas.
    pub(crate) tables: &'static str,
    /// The statement and its values.
    pub(crate) query: Query<'a>,
}

/// A value inside the text of a message.
///
/// Only ASCII letters, digits and `-_.:@` stand between quotes, so no text can end the literal, whatever
/// `standard_conforming_strings` is. A text with any other character is rendered in hexadecimal, which costs
/// PostgreSQL a third more time for the message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// A text, which must not contain a NUL.
    Text(&'a str),
    /// The NULL of type `text`.
    NullText,
    /// A number.
    Number(u32),
}

impl Value<'_> {
    const fn type_name(self) -> &'static str {
        match self {
            Self::Text(_) | Self::NullText => "text",
            Self::Number(_) => "bigint",
        }
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::NullText, Self::Text)
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if is_plain(text) => write!(f, "'{text}'"),
            Self::Text(text) => {
                f.write_str("pg_catalog.convert_from(pg_catalog.decode('")?;
                HEXLOWER.encode_write(text.as_bytes(), f)?;
                f.write_str("', 'hex'), 'UTF8')")
            }
            Self::NullText => f.write_str("NULL::pg_catalog.text"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte))
}

/// The form of a message, which depends on the server connection and on the tenant's relations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MessageForm {
    /// The message contains the text of its statements. Otherwise, they are prepared once for each connection and
    /// tenant, and the tenant's tables are locked before they run.
    pub(super) is_inline: bool,
    /// Comparisons of two columns have the default collation, because the columns have different ones.
    pub(super) has_collation: bool,
    /// The types of the id columns, if they are known.
    pub(super) id_types: Option<IdTypes>,
    /// The message asks for the types of the id columns.
    pub(super) asks_for_id_types: bool,
}

/// Sections of a statement's text that are left out if ids are equal in their types only if their bytes are.
const INEXACT_SECTION: [&str; 2] = ["/*if inexact*/", "/*end*/"];

/// Stands in the text of a statement behind the comparison of two columns.
const COLLATION_MARK: &str = "/*collation*/";

/// A query in one of its forms.
#[derive(Clone, Copy)]
pub(super) struct FormedQuery<'a>(pub(super) Query<'a>, pub(super) MessageForm);

impl FormedQuery<'_> {
    pub(super) fn prepare(&self, name: &str) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            write!(f, "PREPARE {name}")?;
            write_list(f, self.0.values.iter().map(|value| value.type_name()))?;
            write!(f, " AS {}", self.text())
        })
    }

    pub(super) fn execute(&self, name: &str) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            write!(f, "EXECUTE {name}")?;
            write_list(
                f,
                (0..self.0.values.len()).filter_map(|position| self.value(position)),
            )
        })
    }

    /// The statement with its values in place of `$1`, `$2`, ….
    pub(super) fn inline(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            let text = self.text();
            let mut parts = text.split('$');
            f.write_str(parts.next().unwrap_or_default())?;
            for part in parts {
                let digits = part.bytes().take_while(u8::is_ascii_digit).count();
                let (number, rest) = part.split_at(digits);
                let number = number.parse::<usize>().ok();
                let value = number.and_then(|number| self.value(number.checked_sub(1)?));
                match value.ok_or(fmt::Error)? {
                    Value::Text(text) if is_plain(text) => write!(f, "'{text}'::pg_catalog.text{rest}")?,
                    // The name of the encoding has the collation "C", and so has the text that is made with it: no
                    // index of another collation would be used. The detour leads to the default collation.
                    text @ Value::Text(_) => {
                        write!(f, "pg_catalog.textin(pg_catalog.textout({text})){rest}")?;
                    }
                    value => write!(f, "{value}{rest}")?,
                }
            }
            Ok(())
        })
    }

    fn text(&self) -> Cow<'static, str> {
        let Self(Query { statement, .. }, form) = self;
        let mut text = Cow::Borrowed(statement.text);
        for comparison in statement.id_comparisons {
            if let Some(in_type) = comparison.in_type(form.id_types()) {
                text = text.replace(comparison.of_texts, &in_type).into();
            }
        }
        if is_exact(form.id_types()) {
            text = without_inexact_sections(&text).into();
        }
        if form.has_collation {
            text = text.replace(COLLATION_MARK, "COLLATE \"default\"").into();
        }
        text
    }

    /// The value at a position: NULL, which is equal to no id, for a text that no id can have.
    fn value(&self, position: usize) -> Option<Value<'_>> {
        let Self(query, form) = self;
        let value = *query.values.get(position)?;
        let Value::Text(text) = value else {
            return Some(value);
        };
        let mut comparisons = query.statement.id_comparisons.iter();
        let is_possible = comparisons.all(|comparison| {
            comparison.value != Some(position) || comparison.id_type(form.id_types()).is_canonical(text)
        });
        Some(if is_possible { value } else { Value::NullText })
    }
}

fn without_inexact_sections(text: &str) -> String {
    let [begin, end] = INEXACT_SECTION;
    let mut parts = text.split(begin);
    let before = parts.next().unwrap_or_default();
    let after = parts.filter_map(|part| Some(part.split_once(end)?.1));
    std::iter::once(before).chain(after).collect()
}

impl MessageForm {
    /// The same form, inline unless `prepares`. While the types of the ids are not known, the text is not final,
    /// and so it is not prepared either.
    pub(super) fn inline_unless(self, prepares: bool) -> Self {
        Self {
            is_inline: self.is_inline || !prepares || self.id_types.is_none(),
            ..self
        }
    }

    /// The types of the id columns: any, as long as nothing else is known.
    pub(super) fn id_types(self) -> IdTypes {
        self.id_types.unwrap_or_default()
    }
}

/// Writes `(a, b)`, or nothing for an empty list.
fn write_list(f: &mut fmt::Formatter<'_>, items: impl IntoIterator<Item = impl fmt::Display>) -> fmt::Result {
    let mut separator = "(";
    for item in items {
        write!(f, "{separator}{item}")?;
        separator = ", ";
    }
    if separator == "(" {
        Ok(())
    } else {
        f.write_str(")")
    }
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
