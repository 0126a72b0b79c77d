//! Which tenant a user was last seen in: a guess that saves a look-up, and never an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use super::{SchemaName, TenantCacheCounts};

/// Remembers the tenants of the users who ask most.
///
/// A hint may be out of date. Whoever follows one must find out from the database itself, in the
/// snapshot that the answer comes from, that the user still belongs there.
pub(super) struct Hints {
    cache: Option<Cache<Arc<str>, Arc<SchemaName>>>,
    hits: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
}

impl Hints {
    /// At most `capacity` users; none at 0.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            cache: (capacity > 0).then(|| Cache::new(capacity)),
            hits: AtomicU64::default(),
            misses: AtomicU64::default(),
            stale: AtomicU64::default(),
        }
    }

    pub(super) fn get(&self, user_id: &str) -> Option<Arc<SchemaName>> {
        let hint = self.cache.as_ref()?.get(user_id);
        let count = if hint.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        hint
    }

    pub(super) fn set(&self, user_id: &str, tenant: &Arc<SchemaName>) {
        if let Some(cache) = &self.cache {
            cache.insert(user_id.into(), Arc::clone(tenant));
        }
    }

    pub(super) fn forget(&self, user_id: &str) {
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
