//! Hazards: statements of migrations that rewrite or lock a table, break the running version, or lose data.
//!
//! squawk finds them. A comment `-- squawk-ignore RULE` above a statement accepts a hazard.

use std::collections::BTreeMap;

use sqlparser::tokenizer::Token;
use sqlx::migrate::Migration;
use sqlx::{Connection, PgConnection};
use squawk_linter::{Linter, LinterSettings, Rule, Violation};
use squawk_syntax::SourceFile;

use super::error::MigrationError;
use super::job::MigrateTenant;
use super::plan::{MigrationPlan, PendingTenant};
use crate::admin::database::AdminDatabase;
use crate::admin::error::AdminError;
use crate::admin::schema::locked_tables;
use crate::admin::sql_tokens::{is_keyword, tokenize, word};

/// Rules for statements that rewrite a table, or lock it for as long as they read it.
const DISRUPTIVE: [Rule; 12] = [
    Rule::AddingFieldWithDefault,
    Rule::AddingForeignKeyConstraint,
    Rule::AddingNotNullableField,
    Rule::AddingRequiredField,
    Rule::AddingSerialPrimaryKeyField,
    Rule::ChangingColumnType,
    Rule::ConstraintMissingNotValid,
    Rule::DisallowedUniqueConstraint,
    Rule::RequireConcurrentIndexCreation,
    Rule::RequireConcurrentIndexDeletion,
    Rule::RequireConcurrentPartitionDetach,
    Rule::RequireConcurrentReindex,
];

/// Rules for statements that lose data, or drop or rename what a running version reads.
const DESTRUCTIVE: [Rule; 9] = [
    Rule::BanDropColumn,
    Rule::BanDropDatabase,
    Rule::BanDropSchema,
    Rule::BanDropSequence,
    Rule::BanDropTable,
    Rule::BanDropView,
    Rule::BanTruncateCascade,
    Rule::RenamingColumn,
    Rule::RenamingTable,
];

/// A hazard of a pending migration.
#[derive(Debug)]
pub(crate) struct Hazard {
    pub(crate) version: i64,
    pub(crate) description: String,
    /// Line of the statement, counted from 1.
    pub(crate) line: usize,
    /// The effect of the statement.
    pub(crate) effect: String,
    /// `true` if the statement loses data, or drops or renames what a running version reads.
    pub(crate) is_destructive: bool,
    /// The affected table, if it is known and exists.
    pub(crate) table: Option<LargestTable>,
}

/// The largest table of a name in several schemas.
#[derive(Debug)]
pub(crate) struct LargestTable {
    pub(crate) name: String,
    pub(crate) schema: String,
    /// Bytes of the table with its indexes.
    pub(crate) size_bytes: i64,
}

/// Returns the hazards of all pending migrations: those of the shared schema, then those of tenants. For tenants
/// that `job` adopts, the migrations after their baseline are pending.
pub(crate) async fn find_hazards(
    database: &AdminDatabase,
    shared: &[i64],
    plan: &MigrationPlan,
    job: &MigrateTenant,
) -> Result<Vec<Hazard>, AdminError> {
    let migrations = database.migrations();
    let mut connection = database.connect().await?;
    let mut hazards = Vec::new();
    let is_pending = |migration: &&Migration| shared.contains(&migration.version);
    for migration in migrations.shared.iter().filter(is_pending) {
        hazards.extend(find(&mut connection, migration, &["public"]).await?);
    }
    let mut tenants: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    let mut unadopted = Vec::new();
    for PendingTenant { tenant, .. } in &plan.pending {
        match tenant.pending(&migrations.tenant) {
            Ok(pending) => {
                for migration in pending {
                    let tenants = tenants.entry(migration.version).or_default();
                    tenants.push(tenant.schema.as_str());
                }
            }
            Err(AdminError::Migration(MigrationError::Unadopted)) => unadopted.push(&tenant.schema),
            Err(_) => {}
        }
    }
    for (schema, baseline) in job.find_baselines(database, &unadopted).await? {
        for migration in migrations.tenant.after(baseline) {
            tenants.entry(migration.version).or_default().push(schema);
        }
    }
    for (version, tenants) in tenants {
        if let Some(migration) = migrations.tenant.get(version) {
            hazards.extend(find(&mut connection, migration, &tenants).await?);
        }
    }
    connection.close().await?;
    Ok(hazards)
}

async fn find(
    connection: &mut PgConnection,
    migration: &Migration,
    schemas: &[&str],
) -> Result<Vec<Hazard>, AdminError> {
    let sql = migration.sql.as_str();
    let mut hazards = Vec::new();
    for violation in lint(sql, !migration.no_tx) {
        let range = violation.text_range;
        let statement = sql.get(range.start().into()..).unwrap_or_default();
        let before = sql.get(..range.start().into()).unwrap_or_default();
        // The violation may be a part of the statement.
        let begin = before.rfind(';').map_or(0, |semicolon| semicolon + 1);
        let whole = sql.get(begin..).unwrap_or(statement);
        let table = match affected_table(whole) {
            Some(name) => find_largest_table(connection, schemas, name).await?,
            None => None,
        };
        hazards.push(Hazard {
            version: migration.version,
            description: migration.description.clone().into_owned(),
            line: before.matches('\n').count() + 1,
            effect: violation.message.replace('\n', " "),
            is_destructive: DESTRUCTIVE.contains(&violation.code),
            table,
        });
    }
    Ok(hazards)
}

fn lint(sql: &str, in_transaction: bool) -> Vec<Violation> {
    let rules: Vec<_> = DISRUPTIVE.into_iter().chain(DESTRUCTIVE).collect();
    let mut linter = Linter::from(rules);
    linter.settings = LinterSettings {
        assume_in_transaction: in_transaction,
        ..LinterSettings::default()
    };
    let mut violations = linter.lint(&SourceFile::parse(sql), sql);
    violations.sort_by_key(|violation| violation.text_range.start());
    violations
}

/// Returns the name of the table that the first statement of `sql` affects.
fn affected_table(sql: &str) -> Option<String> {
    let tokens = tokenize(sql)?;
    let mut tokens = tokens
        .iter()
        .map(|(token, _)| token)
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .take_while(|token| **token != Token::SemiColon)
        .peekable();
    tokens.find(|token| is_keyword(token, &["table", "on"]))?;
    while tokens
        .next_if(|token| is_keyword(token, &["if", "exists", "only"]))
        .is_some()
    {}
    let mut name = None;
    while let Some(word) = tokens.next().and_then(word) {
        name = Some(word);
        if tokens.next_if_eq(&&Token::Period).is_none() {
            break;
        }
    }
    name
}

async fn find_largest_table(
    connection: &mut PgConnection,
    schemas: &[&str],
    name: String,
) -> Result<Option<LargestTable>, AdminError> {
    let largest: Option<(String, i64)> = sqlx::query_as(concat!(
        "SELECT n.nspname::text, pg_catalog.pg_total_relation_size(c.oid)
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relname::text = $1 AND n.nspname::text = ANY ($2) AND c.relkind IN ('r', 'm')
               AND c.oid NOT IN ",
        locked_tables!(),
        " ORDER BY c.relpages DESC, n.nspname LIMIT 1"
    ))
    .bind(&name)
    .bind(schemas)
    .fetch_optional(connection)
    .await?;
    Ok(largest.map(|(schema, size_bytes)| LargestTable {
        name,
        schema,
        size_bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(sql: &str) -> Vec<String> {
        let violations = lint(sql, true);
        violations
            .iter()
            .map(|violation| violation.code.to_string())
            .collect()
    }

    #[test]
    fn hazardous_statements_are_found() {
        for (sql, expected) in [
            (
                "ALTER TABLE items ALTER price TYPE numeric",
                "changing-column-type",
            ),
            (
                "CREATE INDEX i ON items (price)",
                "require-concurrent-index-creation",
            ),
            (
                "ALTER TABLE items ALTER price SET NOT NULL",
                "adding-not-nullable-field",
            ),
            (
                "ALTER TABLE orders ADD FOREIGN KEY (item_id) REFERENCES items (id)",
                "adding-foreign-key-constraint",
            ),
            ("ALTER TABLE items DROP COLUMN price", "ban-drop-column"),
            ("DROP TABLE items", "ban-drop-table"),
            ("ALTER TABLE items RENAME COLUMN price TO cost", "renaming-column"),
            ("ALTER TABLE items RENAME TO articles", "renaming-table"),
            (
                "ALTER TABLE items ADD key uuid DEFAULT gen_random_uuid()",
                "adding-field-with-default",
            ),
        ] {
            assert!(
                codes(sql).contains(&expected.to_owned()),
                "{sql}: {:?}",
                codes(sql)
            );
        }
        for harmless in [
            "CREATE TABLE t (id bigint PRIMARY KEY, item_id varchar REFERENCES items (id))",
            "ALTER TABLE items ADD note text",
            "UPDATE items SET price = 1",
        ] {
            assert_eq!(codes(harmless), Vec::<String>::new(), "{harmless}");
        }
    }

    #[test]
    fn the_affected_table_is_found() {
        for (sql, expected) in [
            ("ALTER TABLE IF EXISTS ONLY Items ADD a int", Some("items")),
            ("CREATE INDEX i ON public.\"Items\" (a)", Some("Items")),
            ("SELECT 1; DROP TABLE items", None),
        ] {
            assert_eq!(affected_table(sql).as_deref(), expected, "{sql}");
        }
    }
}
