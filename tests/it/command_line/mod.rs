//! The binary: usage, start, shutdown and error messages.

mod admin_port;
mod database_wait;
mod errors;
mod service;
mod unread_output;
mod usage;
