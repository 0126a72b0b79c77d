//! Which tenant a user was last seen in: a guess that saves a look-up, and never an answer.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::SchemaName;

/// Remembers the tenants of the users who ask most.
///
/// A hint may be out of date. Whoever follows one must find out from the database itself, in the
/// snapshot that the answer comes from, that the user still belongs there.
pub(super) struct Hints(Option<Cache<Arc<str>, Arc<SchemaName>>>);

impl Hints {
    /// At most `capacity` users; none at 0.
    pub(super) fn new(capacity: usize) -> Self {
        Self((capacity > 0).then(|| Cache::new(capacity)))
    }

    pub(super) fn get(&self, user_id: &str) -> Option<Arc<SchemaName>> {
        self.0.as_ref()?.get(user_id)
    }

    pub(super) fn set(&self, user_id: &str, tenant: &Arc<SchemaName>) {
        if let Some(cache) = &self.0 {
            cache.insert(user_id.into(), Arc::clone(tenant));
        }
    }

    pub(super) fn forget(&self, user_id: &str) {
        if let Some(cache) = &self.0 {
            cache.remove(user_id);
        }
    }
}
