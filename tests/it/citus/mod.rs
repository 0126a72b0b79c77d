//! A real Citus cluster: a coordinator and at least two workers, which `CITUS_URL` names.

mod asking;
mod cluster;
mod distribution;
mod managed;
mod moving;
mod served;

use asking::Asking;
use cluster::{CitusDatabase, service_over};
