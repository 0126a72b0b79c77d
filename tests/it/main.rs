//! The service against a real PostgreSQL: one cluster for all tests, a database for each.

#![cfg(feature = "embedded")] // it brings the PostgreSQL to test against
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod support;

mod archive;
mod citus;
mod command_line;
mod embedded;
mod existing_database;
mod failure;
mod isolation;
mod load;
mod migrations;
mod orders;
mod pooler;
mod problems;
mod properties;
mod roles;
mod soak;
mod tenants;
