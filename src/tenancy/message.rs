//! The one message that a request sends to PostgreSQL: its text, and the values in it.
//!
//! PostgreSQL runs the statements of a simple-query message as one transaction and ends that transaction at
//! the end of the message, also after an error (manual, section 55.2.2.1, "Multiple Statements in a Simple
//! Query"). So the search path, the role and the locks of a request end with its message.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::SchemaName;
use super::pool::PreparedStatements;
use super::session_settings::SessionSettings;

/// A statement, with `$1`, `$2`, … for its values. The text is part of the program, never built from data.
#[derive(Debug)]
pub(crate) struct Statement {
    /// The beginning of its name as a prepared statement: lower-case letters and `_`.
    pub(crate) name: &'static str,
    /// Its text. It contains no `$` other than those of its values.
    pub(crate) text: &'static str,
}

/// A statement with its values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    /// The statement.
    pub(crate) statement: &'static Statement,
    /// The values of `$1`, `$2`, ….
    pub(crate) values: &'a [Value<'a>],
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
/// Text is rendered in hexadecimal: only the digits `0-9a-f` stand between the quotes, so no text can end
/// the literal, whatever `standard_conforming_strings` is.
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

/// The form of a message, which depends on the server connection and on the tenant's relations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MessageForm {
    /// The message contains the text of its statements. Otherwise, they are prepared once for each connection and
    /// tenant, and the tenant's tables are locked before they run.
    pub(super) is_inline: bool,
    /// Comparisons of two columns have the default collation, because the columns have different ones.
    pub(super) has_collation: bool,
}

/// Stands in the text of a statement behind the comparison of two columns.
const COLLATION_MARK: &str = "/*collation*/";

/// A message, and the positions of its statements, by which its rows and errors are told apart.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) text: String,
    statements: usize,
    pub(super) shared: usize,
    pub(super) role: Option<usize>,
    pub(super) lock: Option<usize>,
}

impl Message {
    /// A message that runs `shared` over shared tables, then `in_tenant` in the schema that it names.
    ///
    /// The order matters: the shared tables are read under the service's own role, before the tenant's role
    /// is set, so that role needs no privilege in `public`. The locks come before `EXECUTE`, because
    /// `EXECUTE` takes its snapshot before its plan takes locks: a statement that waits for a table rewrite
    /// would then read an empty table.
    pub(super) fn new(
        settings: &SessionSettings,
        form: MessageForm,
        prepared: &mut PreparedStatements,
        shared: Query<'_>,
        in_tenant: Option<(&Arc<SchemaName>, TenantQuery<'_>)>,
    ) -> Self {
        let mut message = Self {
            text: String::with_capacity(512),
            statements: 0,
            shared: 0,
            role: None,
            lock: None,
        };
        message.push(settings.begin());
        for setting in settings.of_each_message() {
            message.push(setting);
        }
        message.shared = if form.is_inline {
            message.push(Inline(shared, form))
        } else {
            if prepared.insert_shared(shared.statement.name) {
                message.push(Prepare(shared.statement.name, shared, form));
            }
            message.push(Execute(shared.statement.name, shared.values))
        };
        if let Some((tenant, query)) = in_tenant {
            message.push_tenant(settings, form, prepared, tenant, query);
        }
        if let Some(end) = settings.end() {
            message.push(end);
        }
        message
    }

    fn push_tenant(
        &mut self,
        settings: &SessionSettings,
        form: MessageForm,
        prepared: &mut PreparedStatements,
        tenant: &Arc<SchemaName>,
        TenantQuery { tables, query }: TenantQuery<'_>,
    ) {
        // `pg_temp` is searched first unless the path names it (PostgreSQL manual, section 20.11.1).
        self.push(format_args!(
            "SET LOCAL search_path TO {}, pg_temp",
            tenant.quoted()
        ));
        if settings.has_roles() {
            self.role = Some(self.push(format_args!("SET LOCAL ROLE {}", tenant.quoted_role())));
        }
        if form.is_inline {
            self.push(Inline(query, form));
            return;
        }
        self.lock = Some(self.push(format_args!("LOCK TABLE {tables} IN ACCESS SHARE MODE")));
        // Each tenant has its own prepared statement: PostgreSQL plans a prepared statement anew if the search
        // path differs from that of its last run.
        let entry = prepared.insert(query.statement.name, tenant);
        if let Some(evicted) = &entry.evicted {
            self.push(format_args!("DEALLOCATE {evicted}"));
        }
        if entry.is_new {
            self.push(Prepare(&entry.name, query, form));
        }
        self.push(Execute(&entry.name, query.values));
    }

    /// Appends a statement and returns its position.
    fn push(&mut self, statement: impl fmt::Display) -> usize {
        let separator = if self.statements == 0 { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{separator}{statement}");
        self.statements += 1;
        self.statements - 1
    }
}

struct Prepare<'a, N>(N, Query<'a>, MessageForm);

impl<N: fmt::Display> fmt::Display for Prepare<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PREPARE {}", self.0)?;
        write_list(f, self.1.values.iter().map(|value| value.type_name()))?;
        write!(f, " AS {}", self.2.text_of(self.1.statement))
    }
}

struct Execute<'a, N>(N, &'a [Value<'a>]);

impl<N: fmt::Display> fmt::Display for Execute<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EXECUTE {}", self.0)?;
        write_list(f, self.1)
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

/// The text of a statement with its values in place of `$1`, `$2`, ….
struct Inline<'a>(Query<'a>, MessageForm);

impl MessageForm {
    fn text_of(self, statement: &Statement) -> Cow<'static, str> {
        if self.has_collation {
            statement
                .text
                .replace(COLLATION_MARK, "COLLATE \"default\"")
                .into()
        } else {
            statement.text.into()
        }
    }
}

impl fmt::Display for Inline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.1.text_of(self.0.statement);
        let mut parts = text.split('$');
        f.write_str(parts.next().unwrap_or_default())?;
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = part.split_at(digits);
            let value = number
                .parse::<usize>()
                .ok()
                .and_then(|number| self.0.values.get(number.checked_sub(1)?));
            write!(f, "{}{rest}", value.ok_or(fmt::Error)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
