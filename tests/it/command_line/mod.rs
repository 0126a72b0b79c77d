//! The binary: usage, start, shutdown and error messages.

mod errors;
mod service;
mod unread_output;
mod usage;
