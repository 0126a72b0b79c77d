//! The servable check: whether PostgreSQL can plan the service's own statements in the scope of each tenant.

#![expect(
    clippy::disallowed_types,
    reason = "the statements are the service's own; a schema cannot be bound as a parameter"
)]

use std::collections::{BTreeMap, HashSet};

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Either, PgConnection, raw_sql};

use super::citus;
use super::database::AdminDatabase;
use super::error::AdminError;
use crate::orders::requirements;
use crate::tenancy::{DatabaseError, SchemaName};
use crate::users;

/// Maximum number of tenants per message.
const MAX_PER_MESSAGE: usize = 50;

/// Maximum number of tenants per connection: a backend caches the definition of each table that it has planned.
const MAX_PER_CONNECTION: usize = 5 * MAX_PER_MESSAGE;

/// Maximum time to wait for a table that another session has locked.
const LOCK_TIMEOUT: &str = "2s";

/// The required columns that are missing, by tenant: `$1` are the tenants, `$2` and `$3` the columns.
const MISSING_COLUMNS: &str = "
    SELECT DISTINCT t.schema,
           CASE WHEN c.oid IS NULL THEN r.relation ELSE r.relation || '.' || r.name END,
           c.oid IS NOT NULL
    FROM pg_catalog.unnest($1::text[]) AS t (schema)
    CROSS JOIN unnest($2::text[], $3::text[]) AS r (relation, name)
    LEFT JOIN pg_catalog.pg_class c ON c.relname = r.relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
         AND c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = t.schema)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attname = r.name AND a.attnum > 0 AND NOT a.attisdropped)
    ORDER BY 1, 2";

/// The tenants among `$1` for which the current role cannot assume the tenant's role. It may still create and grant it.
const FOREIGN_ROLES: &str = "
    SELECT r.rolname::text FROM pg_catalog.pg_roles r
    WHERE r.rolname::text = ANY ($1) AND NOT pg_catalog.pg_has_role(r.oid, CASE
        WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END)";

/// The reasons why tenants cannot be served, by tenant.
pub(super) type Obstacles = BTreeMap<String, Vec<String>>;

/// Plans the service's statements for each of `tenants`, which must exist. Returns those that cannot be served.
///
/// Each tenant is checked in a read-only transaction with its search path, and with its role if tenants have
/// roles and the current role can assume it. EXPLAIN also checks privileges, which PREPARE does not. On Citus, where
/// EXPLAIN asks the tenant's node too, the statements are only prepared.
pub(super) async fn check(database: &AdminDatabase, tenants: &[SchemaName]) -> Result<Obstacles, AdminError> {
    let with_roles = database.roles().is_enabled();
    let check = async |connection: &mut PgConnection, chunk: &[SchemaName]| {
        check_on(connection, chunk, with_roles).await
    };
    let obstacles = database.map_chunks(tenants, MAX_PER_CONNECTION, check).await?;
    Ok(obstacles.into_iter().flatten().collect())
}

/// As [`check`], on a connection.
pub(super) async fn check_on(
    connection: &mut PgConnection,
    tenants: &[SchemaName],
    with_roles: bool,
) -> Result<Obstacles, AdminError> {
    let plan: fn(String) -> Vec<String> = if citus::is_installed(connection).await? {
        |statement| {
            vec![
                format!("PREPARE servable AS {statement}"),
                "DEALLOCATE servable".to_owned(),
            ]
        }
    } else {
        |statement| vec![format!("EXPLAIN {statement}")]
    };
    let lookup = plan(users::lookup_statement());
    if let Err(error) = run(connection, &transaction(Vec::new(), &lookup).join("; ")).await {
        let reason = reason(error.source)?;
        raw_sql("ROLLBACK").execute(connection).await?;
        let reasons = vec![format!("public.users: {reason}")];
        let tenants = tenants.iter().map(|tenant| tenant.as_str().to_owned());
        return Ok(tenants.map(|tenant| (tenant, reasons.clone())).collect());
    }
    let statements = requirements::statements().map(plan).concat();
    let mut foreign_roles = None;
    if with_roles {
        let names: Vec<_> = tenants.iter().map(SchemaName::as_str).collect();
        let roles = sqlx::query_scalar(FOREIGN_ROLES).bind(names);
        let roles: Vec<String> = roles.fetch_all(&mut *connection).await?;
        foreign_roles = Some(HashSet::from_iter(roles));
    }
    let mut failed = BTreeMap::new();
    for mut batch in tenants.chunks(MAX_PER_MESSAGE) {
        loop {
            let transactions: Vec<_> = batch
                .iter()
                .map(|tenant| transaction(scope(tenant, foreign_roles.as_ref()), &statements))
                .collect();
            let Err(error) = run(connection, &transactions.concat().join("; ")).await else {
                break;
            };
            // Each tenant's transaction has the same number of commands.
            let commands = transactions.first().map_or(1, Vec::len);
            let Some((tenant, rest)) = batch
                .get(error.completed / commands..)
                .and_then(<[_]>::split_first)
            else {
                return Err(error.source.into());
            };
            failed.insert(tenant.as_str().to_owned(), reason(error.source)?);
            raw_sql("ROLLBACK").execute(&mut *connection).await?;
            batch = rest;
        }
    }
    describe(connection, failed).await
}

/// Replaces the reasons of tenants without a required table or column by what is missing.
async fn describe(
    connection: &mut PgConnection,
    failed: BTreeMap<String, String>,
) -> Result<Obstacles, AdminError> {
    if failed.is_empty() {
        return Ok(BTreeMap::new());
    }
    let tenants: Vec<_> = failed.keys().map(String::as_str).collect();
    let columns = requirements::COLUMNS.iter();
    let (relations, columns): (Vec<_>, Vec<_>) = columns
        .flat_map(|(relation, columns)| columns.iter().map(move |column| (*relation, *column)))
        .unzip();
    let missing: Vec<(String, String, bool)> = sqlx::query_as(MISSING_COLUMNS)
        .bind(tenants)
        .bind(relations)
        .bind(columns)
        .fetch_all(connection)
        .await?;
    let mut obstacles = Obstacles::new();
    for (tenant, object, is_column) in missing {
        let kind = if is_column { "column" } else { "table" };
        let reasons = obstacles.entry(tenant).or_default();
        reasons.push(format!("{kind} {object} is missing"));
    }
    for (tenant, reason) in failed {
        obstacles.entry(tenant).or_insert_with(|| vec![reason]);
    }
    Ok(obstacles)
}

/// The error that ended a message.
struct Failure {
    source: sqlx::Error,
    /// Number of completed commands before it.
    completed: usize,
}

async fn run(connection: &mut PgConnection, message: &str) -> Result<(), Failure> {
    let mut completed = 0;
    let mut replies = raw_sql(AssertSqlSafe(message)).fetch_many(connection);
    loop {
        match replies.try_next().await {
            Ok(Some(Either::Left(_))) => completed += 1,
            Ok(Some(Either::Right(_))) => {}
            Ok(None) => return Ok(()),
            Err(source) => return Err(Failure { source, completed }),
        }
    }
}

/// Returns PostgreSQL's message, or the error if the server did not report it or has failed.
fn reason(error: sqlx::Error) -> Result<String, DatabaseError> {
    match DatabaseError::from(error) {
        DatabaseError::SchemaMismatch(sqlx::Error::Database(error))
        | DatabaseError::TimedOut(sqlx::Error::Database(error))
        | DatabaseError::InvalidData(sqlx::Error::Database(error))
        | DatabaseError::Unexpected(sqlx::Error::Database(error)) => Ok(error.message().to_owned()),
        error => Err(error),
    }
}

/// Returns the statements that set the scope of a tenant. If tenants have roles, `foreign_roles` are those that cannot be
/// assumed.
fn scope(tenant: &SchemaName, foreign_roles: Option<&HashSet<String>>) -> Vec<String> {
    let path = format!("SET LOCAL search_path TO {}, pg_temp", tenant.quoted());
    let role = foreign_roles.map(|foreign| {
        if foreign.contains(tenant.as_str()) {
            "SET LOCAL ROLE NONE".to_owned()
        } else {
            format!("SET LOCAL ROLE {}", tenant.quoted_role())
        }
    });
    std::iter::once(path).chain(role).collect()
}

/// Returns a transaction that runs `statements` after `scope`. It has one tenant, so that only the locks of one are held
/// at a time.
fn transaction(scope: Vec<String>, statements: &[String]) -> Vec<String> {
    let mut commands = vec![
        "BEGIN READ ONLY".to_owned(),
        format!("SET LOCAL lock_timeout TO '{LOCK_TIMEOUT}'"),
    ];
    commands.extend(scope);
    commands.extend_from_slice(statements);
    commands.push("COMMIT".to_owned());
    commands
}
