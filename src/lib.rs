//! A REST service in front of a PostgreSQL database that has one schema per tenant.
//!
//! `GET /users/{id}/orders` is the whole of it, and goes through these rooms in this order:
//!
//! 1. [`http`] takes the request apart and turns every failure into a problem document.
//! 2. [`orders`] tells the story: find the user, enter their tenant's schema, read, add up.
//! 3. [`users`] looks the user up in the table that all tenants share.
//! 4. [`tenancy`] holds the connections, and lends one in the scope of a single tenant. Read its
//!    rules first: they are why no row crosses from one tenant to another.
//!
//! Around them: [`authentication`] tells who asks, [`config`] has every setting, [`server`] the life of the
//! service, [`telemetry`] its metrics, [`admin`] the care of the schemas, [`seed`] data to try and to measure
//! with, `embedded` a PostgreSQL for machines that have no database at hand, and [`cli`] the commands that
//! put these together.

pub mod admin;
pub mod authentication;
pub mod cli;
pub mod config;
#[cfg(all(feature = "embedded", unix))]
pub mod embedded;
mod error_chain;
pub mod http;
mod log_throttle;
pub mod orders;
pub mod seed;
pub mod server;
pub mod telemetry;
pub mod tenancy;
pub mod users;
