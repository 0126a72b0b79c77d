//! Test support: clusters, databases, the service in process and as a process.

pub(crate) mod client;
mod cluster;
mod database;
pub(crate) mod fleet;
mod gateway;
mod pgbouncer;
mod process;
mod service;
mod standby;
mod wait;
mod wire;

pub(crate) use cluster::{Cluster, data_dir_for_a_test, shared as shared_cluster};
pub(crate) use database::TestDatabase;
pub(crate) use gateway::{Gateway, Route};
pub(crate) use pgbouncer::{PgBouncer, is_ci};
pub(crate) use process::{ServiceProcess, finished, free_port};
pub(crate) use service::{Answer, Service, assert_statements_time_out, snapshot};
pub(crate) use wait::{block_until, wait_until};
pub(crate) use wire::CountingProxy;
