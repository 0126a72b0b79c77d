//! The tenant cache: recently used users and their tenants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use crate::tenancy::SchemaName;

/// Remembers the tenants of recently used users. An entry is a guess that has to be verified: the user may
/// belong to another tenant by now.
pub(super) struct TenantCache {
    cache: Option<Cache<Arc<str>, Arc<SchemaName>>>,
    hits: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
}

/// The tenant cache's effect, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TenantCacheCounts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// Hits that were out of date.
    pub(crate) stale: u64,
}

impl TenantCache {
    /// A cache of at most `capacity` users; disabled if that is 0.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            cache: (capacity > 0).then(|| Cache::new(capacity)),
            hits: AtomicU64::default(),
            misses: AtomicU64::default(),
            stale: AtomicU64::default(),
        }
    }

    pub(super) fn get(&self, user_id: &str) -> Option<Arc<SchemaName>> {
        let tenant = self.cache.as_ref()?.get(user_id);
        let count = if tenant.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        count.fetch_add(1, Ordering::Relaxed);
        tenant
    }

    pub(super) fn insert(&self, user_id: &str, tenant: &Arc<SchemaName>) {
        if let Some(cache) = &self.cache {
            cache.insert(user_id.into(), Arc::clone(tenant));
        }
    }

    /// Removes an entry that was out of date.
    pub(super) fn remove_stale(&self, user_id: &str) {
        if let Some(cache) = &self.cache {
            cache.remove(user_id);
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn counts(&self) -> TenantCacheCounts {
        TenantCacheCounts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            stale: self.stale.load(Ordering::Relaxed),
        }
    }
}
