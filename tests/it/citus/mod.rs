//! Tests on a real Citus cluster: `CITUS_URL` names the coordinator, and there are at least two workers.

mod cluster;
mod distribution;
mod load;
mod managed;
mod moving;
mod served;

use cluster::{CitusDatabase, service_over};
use load::Load;
