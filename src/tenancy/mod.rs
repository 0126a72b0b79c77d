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
//! - **A transaction is left open only to someone who waits.** They end it in the same message that begins
//!   their own, so what it set is gone before they look up a name; a connection that nobody waits for is
//!   told to roll back before it is parked (the types `Checkout` and `Lease`).
//! - **Names come out of one type.** [`SchemaName`] refuses what is not one tenant's schema and
//!   renders only quoted.
//! - **There is no way round.** The pool is private to this module. What serves requests gets one
//!   statement over shared tables, or a `TenantTransaction`, which nothing but a [`SchemaName`] opens.
//!   [`AdminDatabase`](crate::admin::AdminDatabase), which may do anything, is another type, and requests are not given one.
//! - **Tables of tenants are named unqualified, all else qualified**, so the path decides about
//!   tenants' tables and about nothing else.
//! - **The database can be the one who refuses.** Views and functions of a tenant may name another's tables
//!   in full, which no path prevents. Where tenants have roles, each transaction takes on its tenant's, by
//!   `SET LOCAL ROLE` and as the last of what opens it.
//! - **What is remembered is no answer.** A hint at a user's tenant may be out of date. The statement
//!   that reads the orders asks in its own snapshot whether the user still belongs to the tenant, and
//!   finds nothing where not.
//! - **Nothing is taken on trust.** A pooler in between may send two statements of one transaction to
//!   two servers, or hand what is set for a session to strangers. Before the first row is read, the
//!   connections have to show that they do neither (the module `self_test`), or nothing is served.
//!
//! That the ways round do not compile is tested. A name that was not checked is none:
//!
//! ```
//! let name: tenant_orders::tenancy::SchemaName = tenant_orders::tenancy::SchemaName::parse("client1").unwrap();
//! ```
//! ```compile_fail,E0423
//! let name: tenant_orders::tenancy::SchemaName = tenant_orders::tenancy::SchemaName("public".to_owned());
//! ```
//!
//! The pool cannot be got at, nor a transaction be opened from outside:
//!
//! ```
//! async fn close(database: tenant_orders::tenancy::Database) { database.close().await }
//! ```
//! ```compile_fail,E0616
//! async fn close(database: tenant_orders::tenancy::Database) { database.shared.pool.close().await }
//! ```
//! ```compile_fail,E0624
//! async fn close(database: tenant_orders::tenancy::Database) { database.untested().await; }
//! ```
//! ```compile_fail,E0603
//! use tenant_orders::tenancy::TenantTransaction;
//! ```
//!
//! `tests/mutants` holds the ways round that code inside this crate might try, and changes that would
//! break each of these rules; `.ci/mutants` shows that each is refused by the compiler or caught by a test.

mod checkout;
mod database;
mod database_url;
mod error;
mod hints;
mod isolation_check;
mod lease;
mod parking;
mod schema_name;
mod session;
mod shares;
mod status;
mod timings;
mod transaction;

pub use database::Database;
pub use database_url::InvalidDatabaseUrl;
pub use error::DatabaseError;
pub use isolation_check::IsolationError;
pub use schema_name::{InvalidSchemaName, SchemaName};
pub use status::{PoolStatus, TenantCacheCounts};
pub use timings::{RequestTimings, Step};

pub(crate) use database_url::connect_options;
pub(crate) use isolation_check::require_sessions;
pub(crate) use transaction::TenantTransaction;
