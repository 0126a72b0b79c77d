//! A REST service over a PostgreSQL database with one schema per tenant.
//!
//! A request for `GET /users/{id}/orders` passes these modules in order:
//!
//! 1. [`http`] extracts the parameters and turns every failure into a problem document.
//! 2. [`orders`] handles the request: it finds the user's tenant, reads the orders and computes the total.
//! 3. [`users`] looks the user up in the shared table.
//! 4. [`tenancy`] owns the connection pool and runs statements in the scope of a single tenant. Its
//!    documentation has the rules that keep tenants isolated from each other.
//!
//! The other modules: [`authentication`] verifies tokens, [`config`] contains all settings, [`connect`] opens
//! connections to PostgreSQL, [`server`] has the lifecycle of the service, [`telemetry`] its metrics and traces,
//! [`admin`] the administration of tenants, [`seed`] demo and load-test data, `embedded` a PostgreSQL server for
//! machines without a database, and [`cli`] the commands.

pub mod admin;
pub mod authentication;
pub mod cli;
pub mod config;
pub mod connect;
#[cfg(all(feature = "embedded", unix))]
pub mod embedded;
mod error_chain;
pub mod http;
mod log_throttle;
pub mod orders;
mod request_context;
pub mod seed;
pub mod server;
pub mod telemetry;
pub mod tenancy;
pub mod users;
