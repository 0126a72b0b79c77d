//! A PostgreSQL of our own, for a machine where no `DATABASE_URL` is set.
//!
//! In steps, so that a caller can say what is going on: claim a [`DataDir`], find or fetch
//! [`Binaries`], make a cluster on first use, start it. The server listens on a unix socket inside
//! the data folder and nowhere else. It stops with this process, however this process ends.
//!
//! Everything here blocks, and belongs to start and stop alone.

mod account;
mod binaries;
mod data_dir;
mod server;

pub use binaries::{Binaries, FetchError};
pub use data_dir::{DataDir, DataDirError};
pub use server::{EmbeddedPostgres, ServerError};
