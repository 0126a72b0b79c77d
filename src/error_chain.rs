//! The text of an error and its causes, for the log and for the operator.
//!
//! These texts contain PostgreSQL's details and hints. HTTP responses never contain them.

use std::error::Error;
use std::iter::successors;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

/// sqlx's prefix of PostgreSQL's messages.
const SQLX_PREFIX: &str = "error returned from database: ";

/// Texts of error classes that cover so many SQLSTATEs that they could mislead. PostgreSQL's message replaces
/// them.
const BROAD_CLASSES: [&str; 2] = [
    "the schema does not fit the statement",
    "unexpected database error",
];

/// Returns the messages of `error` and its causes, outermost first, without the causes that an earlier
/// message already contains. PostgreSQL's DETAIL, HINT and object names follow as messages of their own.
pub(crate) fn messages(error: &(dyn Error + 'static)) -> Vec<String> {
    let chain: Vec<_> = successors(Some(error), |&error| error.source()).collect();
    let database_error = chain.iter().copied().find_map(database_error);
    let mut messages: Vec<String> = Vec::new();
    for error in chain {
        let text = clean(&error.to_string(), database_error);
        if !messages.iter().any(|message| message.contains(&text)) {
            messages.push(text);
        }
    }
    if let Some(database_error) = database_error {
        let fields = fields(database_error, &messages);
        messages.extend(fields);
    }
    messages
}

/// Renders `error` for the command line: the first message, then one line for each cause and each field.
pub(crate) fn render(error: &(dyn Error + 'static)) -> String {
    let mut messages = messages(error).into_iter();
    let first = messages.next().unwrap_or_default();
    messages.fold(first, |text, message| {
        if FIELD_LABELS.iter().any(|label| message.starts_with(label)) {
            format!("{text}\n  {}", message.replace('\n', "\n    "))
        } else {
            format!("{text}\n  because: {message}")
        }
    })
}

const FIELD_LABELS: [&str; 6] = [
    "DETAIL: ",
    "HINT: ",
    "TABLE: ",
    "COLUMN: ",
    "CONSTRAINT: ",
    "TYPE: ",
];

fn database_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e PgDatabaseError> {
    error.downcast_ref::<Box<dyn DatabaseError>>()?.try_downcast_ref()
}

/// Removes sqlx's additions to PostgreSQL's message: the prefix, and the line number in PostgreSQL's own
/// source code. Replaces the text of a broad class by the message.
fn clean(text: &str, database_error: Option<&PgDatabaseError>) -> String {
    let Some(error) = database_error else {
        return text.to_owned();
    };
    if let Some(context) = BROAD_CLASSES.iter().find_map(|class| text.strip_suffix(class)) {
        return format!("{context}{}", error.message());
    }
    text.replace(&error.to_string(), error.message())
        .replace(SQLX_PREFIX, "")
}

/// Returns PostgreSQL's DETAIL and HINT, and the names of the objects that no message contains yet.
fn fields(error: &PgDatabaseError, messages: &[String]) -> Vec<String> {
    let qualify = |name: &str| match error.schema() {
        Some(schema) => format!("{schema}.{name}"),
        None => name.to_owned(),
    };
    let unnamed = |name: &&str| {
        let quoted = format!("\"{name}\"");
        !messages.iter().any(|message| message.contains(&quoted))
    };
    let values = [
        error.detail().map(str::to_owned),
        error.hint().map(str::to_owned),
        error.table().map(qualify),
        error.column().filter(unnamed).map(str::to_owned),
        error.constraint().filter(unnamed).map(str::to_owned),
        error.data_type().map(qualify),
    ];
    FIELD_LABELS
        .iter()
        .zip(values)
        .filter_map(|(label, value)| Some(format!("{label}{}", value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broad_classes_have_the_texts_of_their_errors() {
        let texts = [
            crate::tenancy::DatabaseError::SchemaMismatch,
            crate::tenancy::DatabaseError::Unexpected,
        ]
        .map(|class| class(sqlx::Error::PoolClosed).to_string());
        assert_eq!(texts, BROAD_CLASSES);
    }
}
