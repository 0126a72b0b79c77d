//! Export of a tenant to a file, and import from it: the tables with their rows, the migration history and the
//! users. docs/archive.md describes the format.
//!
//! An archive holds one snapshot. Both directions stream, and hold a few megabytes in memory, or one row if that
//! is larger. Row counts and checksums therefore follow the rows, and an import rolls back if they do not match.
//!
//! An import restores the tables as they were exported, with local changes, and not as the migrations create
//! them.

mod definition;
mod error;
mod export;
mod format;
mod grants;
mod import;
mod tar_stream;
mod users;

pub use error::ArchiveError;
pub use export::export;
pub use format::ArchiveContents;
pub use import::{ImportOptions, import};
