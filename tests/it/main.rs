//! Integration tests on a real PostgreSQL: one cluster for all tests, a database for each test.

#![cfg(feature = "embedded")] // starts the PostgreSQL of the tests
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod support;

mod archive;
mod authentication;
mod browsers;
mod citus;
mod command_line;
mod connections;
mod diskless;
mod embedded;
mod existing_database;
mod failure;
mod foreign_databases;
mod isolation;
mod kubernetes;
mod load;
mod migrations;
mod one_message;
mod order;
mod orders;
mod other_ids;
mod page;
mod page_order;
mod pooler;
mod problems;
mod properties;
mod replicas;
mod roles;
mod soak;
mod telemetry;
mod tenant_limits;
mod tenants;
mod tls;
