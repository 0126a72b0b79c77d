//! What tests stand on: a cluster, databases, the service in process, the service as a process.

pub(crate) mod client;
mod cluster;
pub(crate) mod fleet;
mod gateway;
mod pgbouncer;
mod process;
mod service;
mod standby;

pub(crate) use cluster::{Cluster, TestDatabase, data_dir_for_a_test, shared as shared_cluster};
pub(crate) use gateway::{Gateway, Route};
pub(crate) use pgbouncer::{PgBouncer, is_ci};
pub(crate) use process::{ServiceProcess, finished};
pub(crate) use service::{Answer, Service};
