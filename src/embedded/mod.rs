//! An embedded PostgreSQL server, for machines without a `DATABASE_URL`.
//!
//! The steps are separate, so that the caller can report them: claim a [`DataDir`], find or download
//! [`Binaries`], create a cluster on first use, start it. The server listens only on a Unix socket inside the
//! data folder. It stops with this process, even after SIGKILL.
//!
//! All functions but the download block. Call them only during startup and shutdown.

mod account;
mod binaries;
mod data_dir;
mod server;

pub use binaries::Binaries;
pub(crate) use binaries::DownloadError;
pub use data_dir::DataDir;
pub(crate) use data_dir::DataDirError;
pub use server::EmbeddedPostgres;
pub(crate) use server::ServerError;
