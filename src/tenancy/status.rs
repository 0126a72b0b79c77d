//! How the pool and the hints are doing.

/// The pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections that there may be.
    pub limit: u32,
    /// Connections that there are.
    pub size: u32,
    /// Of these, those that nobody uses.
    pub idle: usize,
    /// Connections that are in use, or are being made for somebody.
    pub in_use: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// How often a wait was given up, since the start.
    pub timeouts: u64,
}

/// How good the hints at users' tenants were, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantCacheCounts {
    /// Users whose tenant was remembered.
    pub hits: u64,
    /// Users whose tenant had to be looked up.
    pub misses: u64,
    /// Hints that were out of date, or led to a tenant that could not be read.
    pub stale: u64,
}
