//! Isolation: how a request reaches one tenant's tables and no other's.
//!
//! A request is one message to PostgreSQL. Each rule below prevents a failure that has shown another tenant's
//! rows in a known library or service:
//!
//! - **The scope is one message, never a session.** A search path that is set for a session outlives its
//!   request: the next request on the connection reads another tenant's tables, and a transaction pooler hands
//!   the path to another client. PostgreSQL runs the statements of a message as one transaction, and ends that
//!   transaction, and with it every `SET LOCAL`, at the end of the message, also after an error. No transaction
//!   stays open between two messages.
//! - **`public` is not on the path.** With `client1, public`, a tenant without the table `orders` silently reads
//!   `public.orders`. `pg_temp` is last: a path that does not name it searches it first.
//! - **Tenants' tables are named without a schema, all others with theirs.** So the path decides about tenants'
//!   tables, and about nothing else.
//! - **Membership is read first, in the same message.** The tenant cache and the token's organization are only
//!   guesses. The rows of a tenant are used only if `public.users` says that the user belongs to it.
//! - **Tables are locked before a prepared statement runs.** `EXECUTE` takes its snapshot before its plan takes
//!   locks, so a request that waits for a table rewrite would read an empty table.
//! - **A connection is closed after an error, a timeout or a cancellation.** Nothing depends on a clean-up that
//!   has to succeed. See the module `pool`.
//! - **Identifiers come from one type.** [`SchemaName`] refuses names that reach anything but one tenant's
//!   schema, and renders only quoted. Values are bound, or rendered by one type inside a message.
//! - **There is no way around.** The pool is private to this module. The code that serves requests can pass a
//!   statement and its values to a message, and nothing else.
//!   [`AdminDatabase`](crate::admin::AdminDatabase), which may run anything, is another type.
//! - **The database can enforce the scope too.** A tenant's views and functions can name another tenant's tables
//!   in full, which no path prevents. If tenants have roles, the message sets the tenant's role after the
//!   membership is read. That role needs no privilege in `public`.
//! - **Nothing is assumed about what is in between.** Before the first row is read, the connections have to pass
//!   the isolation check.
//!
//! Doc tests show that the ways around do not compile. A name must be validated:
//!
//! ```
//! let name: tenant_orders::tenancy::SchemaName = tenant_orders::tenancy::SchemaName::parse("client1").unwrap();
//! ```
//! ```compile_fail,E0423
//! let name: tenant_orders::tenancy::SchemaName = tenant_orders::tenancy::SchemaName("public".to_owned());
//! ```
//!
//! The pool is not accessible, nor can a message be sent from outside this crate:
//!
//! ```
//! async fn close(database: tenant_orders::tenancy::Database) { database.close().await }
//! ```
//! ```compile_fail,E0616
//! async fn close(database: tenant_orders::tenancy::Database) { database.shared.pool.close().await }
//! ```
//! ```compile_fail,E0603
//! use tenant_orders::tenancy::TenantQuery;
//! ```
//!
//! `tests/mutants` holds changes that break these rules; `.ci/mutants` shows that a test fails for each of them,
//! or that it does not compile.

mod database;
mod error;
mod id_type;
mod isolation_check;
mod message;
mod pool;
mod reply;
mod schema_name;
mod session_settings;
mod statement;
mod timings;

pub use database::Database;
pub use error::{DatabaseError, IsolationError};
pub use pool::PoolStatus;
pub use schema_name::{InvalidSchemaName, SchemaName};
pub use timings::{RequestTimings, Step};

pub(crate) use id_type::{IdComparison, select_id_type};
pub(crate) use isolation_check::require_sessions;
pub(crate) use reply::{MessageError, is_true, read_text};
pub(crate) use statement::{Query, Statement, TenantQuery, Value};
