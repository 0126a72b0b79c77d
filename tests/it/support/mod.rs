//! What tests stand on: a cluster, databases, the service in process, the service as a process.

pub(crate) mod client;
mod cluster;
mod process;
mod service;

pub(crate) use cluster::{TestDatabase, data_dir_for_a_test};
pub(crate) use process::{ServiceProcess, finished};
pub(crate) use service::{Answer, Service};
