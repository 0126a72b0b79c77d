//! How our settings reach the server: with the connection where that is ours alone, with each
//! transaction where a pooler lends the server's connections out.

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, Postgres};
use sqlx::query::Query;

use super::SchemaName;
use crate::config::{PoolSettings, Pooler};

/// A statement whose parameters are to be bound.
pub(crate) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// READ COMMITTED because a statement's snapshot is then taken after its locks: behind a table
/// rewrite, an older snapshot sees an empty table.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";

/// Where a transaction looks up unqualified names.
#[derive(Debug, Clone, Copy)]
pub(super) enum SearchPath<'s> {
    /// Nowhere but in PostgreSQL's own schema: shared tables are named in full.
    Shared,
    /// In this tenant's schema, and in no other.
    Tenant(&'s SchemaName),
}

/// What a connection of the pool is set to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    pooler: Pooler,
    statement_cache: usize,
    statement_timeout: Duration,
    has_roles: bool,
}

impl Session {
    pub(super) fn new(settings: &PoolSettings) -> Self {
        Self {
            pooler: settings.database_pooler,
            statement_cache: settings.database_statement_cache,
            statement_timeout: settings.statement_timeout,
            has_roles: settings.roles.are_on(),
        }
    }

    /// The same, where tenants have no roles: for a tenant that does not exist.
    pub(super) fn without_roles(self) -> Self {
        Self {
            has_roles: false,
            ..self
        }
    }

    /// What the server ends a statement after.
    pub(super) fn statement_timeout(self) -> Duration {
        self.statement_timeout
    }

    /// Whether tenants are read as roles of their own.
    pub(super) fn has_roles(self) -> bool {
        self.has_roles
    }

    /// Whether the server's connection is ours for one transaction at a time.
    pub(super) fn is_lent(self) -> bool {
        self.pooler == Pooler::Transaction
    }

    /// How to connect. A pooler refuses start-up parameters that it cannot keep track of.
    pub(super) fn connect_options(self, options: PgConnectOptions) -> PgConnectOptions {
        if self.is_lent() {
            return options.statement_cache_capacity(0).extra_float_digits(None);
        }
        options
            .statement_cache_capacity(self.statement_cache)
            .options([("statement_timeout", self.milliseconds())])
    }

    /// The text that opens a read-only transaction whose unqualified names are looked up in `path`,
    /// to be sent in one message.
    ///
    /// `pg_temp` is named, and last, since a search path that does not name it searches it first
    /// (PostgreSQL manual, section 20.11.1). On a connection that is lent, strangers may have left
    /// anything: their role is undone until the rollback, and what decides about our answers is set.
    /// The tenant's own role comes last, and ends with the transaction as all else does.
    pub(super) fn begin(self, path: SearchPath<'_>) -> String {
        let (path, role) = match path {
            SearchPath::Shared => ("pg_catalog".to_owned(), None),
            SearchPath::Tenant(schema) => (schema.quoted(), self.has_roles.then(|| role(schema))),
        };
        let mut begin = format!("{BEGIN}; SET LOCAL search_path TO {path}, pg_temp");
        if self.is_lent() {
            begin
                .push_str("; RESET ROLE; SET LOCAL extra_float_digits TO 1; SET LOCAL statement_timeout TO ");
            begin.push_str(&self.milliseconds());
        }
        if let Some(role) = role {
            begin.push_str("; SET LOCAL ROLE ");
            begin.push_str(&role);
        }
        begin
    }

    /// A statement as it is to be run. On a connection that is lent it is prepared for one run, since
    /// the next may be on another.
    pub(super) fn prepared(self, statement: Statement<'_>) -> Statement<'_> {
        statement.persistent(!self.is_lent())
    }

    fn milliseconds(self) -> String {
        self.statement_timeout.as_millis().to_string()
    }
}

/// The tenant's role, to be set. `none`, quoted or not, names no role: it undoes what was set. No role can
/// be called so, nor by an empty name, which fails as a missing role does.
fn role(schema: &SchemaName) -> String {
    match schema.as_str() {
        "none" => "''".to_owned(),
        _ => schema.quoted(),
    }
}
