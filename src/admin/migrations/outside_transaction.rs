//! Migrations outside a transaction, for statements such as `CREATE INDEX CONCURRENTLY`.
//!
//! The history marks the migration as begun before its first statement, and as done after its last one. If it
//! is interrupted in between, the next run repeats it: it drops indexes that the interruption left invalid, and
//! skips those that are complete.

#![expect(
    clippy::disallowed_types,
    reason = "the history is named by its schema, which cannot be bound as a parameter"
)]

use std::time::{Duration, Instant};

use sqlx::migrate::{Migrate, Migration};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::Mutex;

use super::error::MigrationError;
use super::history::{self, MigratedSchema};
use super::statements::{self, ConcurrentIndex};
use crate::admin::advisory_lock;
use crate::admin::error::AdminError;
use crate::admin::generated_sql::GeneratedSql;

/// Name of the advisory lock. Concurrent index builds wait for each other's transactions, so only one such
/// migration runs at a time in each database. No schema has a name of this length.
const LOCK: &str = "migrations outside a transaction, one at a time in each database";

/// Queue of this process for the advisory lock, which is polled: without it, the next migration would begin up
/// to an interval later.
static QUEUE: Mutex<()> = Mutex::const_new(());

const DROP_INVALID_INDEXES: &str = "
    SELECT pg_catalog.format('DROP INDEX CONCURRENTLY %I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT x.indisvalid AND n.nspname = $1 AND c.relname::text = ANY ($2)";

/// A migration outside a transaction, and the schema to which it is applied.
#[derive(Clone, Copy)]
pub(super) struct OutsideTransaction<'m> {
    pub(super) schema: MigratedSchema<'m>,
    pub(super) migration: &'m Migration,
    pub(super) lock_timeout: Duration,
}

impl OutsideTransaction<'_> {
    /// Applies the migration. Returns whether an earlier run had begun it.
    ///
    /// After a failure, invalid indexes are dropped, and the history forgets the migration if it has changed
    /// nothing.
    pub(super) async fn apply(self, connection: &mut PgConnection) -> Result<bool, AdminError> {
        let _turn = QUEUE.lock().await;
        advisory_lock::lock(connection, LOCK).await?;
        let applied = self.apply_locked(connection).await;
        let unlocked = advisory_lock::unlock(connection, LOCK).await;
        let is_repeated = applied?;
        unlocked?;
        Ok(is_repeated)
    }

    async fn apply_locked(self, connection: &mut PgConnection) -> Result<bool, AdminError> {
        let Self {
            schema,
            migration,
            lock_timeout,
        } = self;
        let begin = Instant::now();
        let is_repeated = !self.record_begin(connection).await?;
        history::enter_schema_for_session(connection, schema, lock_timeout).await?;
        if is_repeated {
            self.drop_invalid_indexes(connection).await?;
        }
        let mut has_changes = is_repeated;
        for statement in GeneratedSql::from_migration(migration).split() {
            if is_repeated && self.creates_existing_index(connection, &statement).await? {
                continue;
            }
            if let Err(error) = statement.run(connection).await {
                // The statement's error is reported. If the clean-up fails too, the next run repeats it.
                let is_clean = self.drop_invalid_indexes(connection).await.is_ok();
                if is_clean && !has_changes {
                    let _ = self.delete_record(connection).await;
                }
                return Err(MigrationError::failed(migration, error).into());
            }
            has_changes = true;
        }
        let update = format!(
            "UPDATE {} SET success = true, execution_time = $2 WHERE version = $1",
            schema.history_table()
        );
        sqlx::query(AssertSqlSafe(update))
            .bind(migration.version)
            .bind(i64::try_from(begin.elapsed().as_nanos()).unwrap_or(i64::MAX))
            .execute(&mut *connection)
            .await?;
        history::leave_schema(connection).await?;
        Ok(is_repeated)
    }

    /// Marks the migration as begun. Returns false if it is marked already.
    async fn record_begin(self, connection: &mut PgConnection) -> Result<bool, AdminError> {
        let table = self.schema.history_table();
        let mut transaction = connection.begin().await?;
        history::enter_schema(&mut transaction, self.schema, self.lock_timeout).await?;
        transaction
            .ensure_migrations_table(&table)
            .await
            .map_err(|error| MigrationError::failed(self.migration, error))?;
        let insert = format!(
            "INSERT INTO {table} (version, description, success, checksum, execution_time)
             VALUES ($1, $2, false, $3, -1) ON CONFLICT DO NOTHING"
        ); // not INSERT … SELECT: Citus 13 adds an invalid condition to it
        let inserted = sqlx::query(AssertSqlSafe(insert))
            .bind(self.migration.version)
            .bind(&*self.migration.description)
            .bind(&*self.migration.checksum)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(inserted.rows_affected() > 0)
    }

    async fn delete_record(self, connection: &mut PgConnection) -> Result<(), AdminError> {
        let table = self.schema.history_table();
        let delete = format!("DELETE FROM {table} WHERE version = $1 AND NOT success");
        let delete = sqlx::query(AssertSqlSafe(delete)).bind(self.migration.version);
        delete.execute(connection).await?;
        Ok(())
    }

    /// Drops the indexes of the migration that an interruption left invalid.
    async fn drop_invalid_indexes(self, connection: &mut PgConnection) -> Result<(), AdminError> {
        let names: Vec<_> = statements::concurrent_indexes(self.migration)
            .filter_map(|index| match index {
                ConcurrentIndex::Named(name) => Some(name),
                ConcurrentIndex::Unnamed => None,
            })
            .collect();
        let statements: Vec<GeneratedSql> = sqlx::query_scalar(DROP_INVALID_INDEXES)
            .bind(self.schema.name())
            .bind(names)
            .fetch_all(&mut *connection)
            .await?;
        for statement in statements {
            statement.run(connection).await?;
        }
        Ok(())
    }

    /// Returns whether `statement` creates an index concurrently that exists already.
    async fn creates_existing_index(
        self,
        connection: &mut PgConnection,
        statement: &GeneratedSql,
    ) -> Result<bool, AdminError> {
        let Some(ConcurrentIndex::Named(name)) = statements::concurrent_index(statement.as_str()) else {
            return Ok(false);
        };
        let found = sqlx::query(
            "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('i', 'I') AND c.relname::text = $1 AND n.nspname = $2",
        )
        .bind(name)
        .bind(self.schema.name())
        .fetch_optional(connection)
        .await?;
        Ok(found.is_some())
    }
}
