//! Isolation: how a request reaches one tenant's tables and no other's.
//!
//! Each rule stands here because its absence has leaked rows somewhere before:
//!
//! - **The scope is a transaction, never a session.** A search path set for the session outlives
//!   its request: the next borrower of the connection reads the last one's tenant, and a
//!   transaction pooler hands the path to a stranger. `SET LOCAL` ends with the transaction.
//! - **`public` is not on the path.** With it, a tenant that lacks a table silently reads the table
//!   of that name in `public`. Without it, the statement fails. `pg_temp` is named last, because a
//!   path that does not name it searches it first.
//! - **A connection that did not end cleanly is closed.** After an error, a time-out or a dropped
//!   future nobody knows what state it is in, so nothing depends on a clean-up that has to succeed
//!   (the type `Lease`).
//! - **Names come out of one type.** [`SchemaName`] refuses what is not one tenant's schema and
//!   renders only quoted.
//! - **There is no way round.** The pool is private to this module. Code outside gets one statement
//!   over shared tables, a `TenantTransaction`, or a connection of its own for administration.
//! - **Tables of tenants are named unqualified, all else qualified**, so the path decides about
//!   tenants' tables and about nothing else.

mod database;
pub(crate) mod dedicated;
mod error;
mod lease;
mod schema_name;
mod self_test;
mod session;
mod transaction;

pub use database::{Database, InvalidDatabaseUrl};
pub use error::DatabaseError;
pub use schema_name::{InvalidSchemaName, SchemaName};
pub use self_test::NotIsolated;

pub(crate) use transaction::TenantTransaction;
