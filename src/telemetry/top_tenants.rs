//! Request counts of the busiest tenants, in bounded memory; all other tenants share one count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::tenancy::SchemaName;

/// Label of the shared series. A tenant of this name is always counted in it.
pub(super) const OTHER: &str = "other";
/// Minimum time between two rankings: each change starts a new time series in the monitoring system.
const RERANK_INTERVAL: Duration = Duration::from_mins(10);
/// Number of load estimates for each tenant with a series of its own.
const ESTIMATES_PER_SERIES: usize = 8;
/// A tenant replaces another one if its load is more than this many times as high.
const REPLACEMENT_FACTOR: u64 = 2;

/// Counts of one tenant, or of all tenants that share a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TenantCounts {
    pub(super) requests: u64,
    pub(super) failures: u64,
    pub(super) database_time: Duration,
}

/// Request counts of each of the busiest tenants, and of all other tenants together.
///
/// If a tenant is replaced, its series ends and its counts are dropped. Its later requests are added to the
/// shared series. Its earlier ones are not: the sum would look like a burst of requests.
#[derive(Debug)]
pub(super) struct TopTenants {
    max_series: usize,
    tenants: HashMap<Arc<SchemaName>, TenantCounts>,
    other: TenantCounts,
    /// Estimated recent load of tenants: the heavy-hitters summary of Misra and Gries (1982). With n
    /// entries it contains every tenant that made more than one in n requests.
    load: HashMap<Arc<SchemaName>, u64>,
    reranked_at: Instant,
}

impl TopTenants {
    pub(super) fn new(max_series: usize) -> Self {
        Self {
            max_series,
            tenants: HashMap::new(),
            other: TenantCounts::default(),
            load: HashMap::new(),
            reranked_at: Instant::now(),
        }
    }

    /// Counts a request, in amortized constant time.
    pub(super) fn observe(&mut self, tenant: &Arc<SchemaName>, failed: bool, database_time: Duration) {
        self.estimate_load(tenant);
        let counts = if tenant.as_str() == OTHER {
            &mut self.other
        } else if self.tenants.len() < self.max_series {
            self.tenants.entry(Arc::clone(tenant)).or_default()
        } else {
            self.tenants.get_mut(tenant).unwrap_or(&mut self.other)
        };
        counts.requests += 1;
        counts.failures += u64::from(failed);
        counts.database_time += database_time;
    }

    /// Returns the counts of the tenants with a series of their own, in no particular order, and the shared
    /// counts last.
    pub(super) fn counts(&self) -> Vec<(&str, TenantCounts)> {
        let tenants = self.tenants.iter().map(|(name, &counts)| (name.as_str(), counts));
        tenants.chain([(OTHER, self.other)]).collect()
    }

    /// Gives the series to the tenants with the highest recent load, at most once in [`RERANK_INTERVAL`].
    pub(super) fn rerank_if_due(&mut self) {
        if self.reranked_at.elapsed() >= RERANK_INTERVAL {
            self.reranked_at = Instant::now();
            self.rerank();
        }
    }

    fn rerank(&mut self) {
        let load_of = |name: &Arc<SchemaName>| self.load.get(name).copied().unwrap_or_default();
        let mut current: Vec<_> = self
            .tenants
            .keys()
            .map(|name| (load_of(name), Arc::clone(name)))
            .collect();
        let mut candidates: Vec<_> = self
            .load
            .iter()
            .filter(|(name, _)| !self.tenants.contains_key(*name) && name.as_str() != OTHER)
            .map(|(name, &load)| (load, Arc::clone(name)))
            .collect();
        current.sort_unstable();
        candidates.sort_unstable_by(|one, other| other.cmp(one));
        // Pairs the least busy tenant with the busiest candidate: after the first pair that does not differ
        // enough, no later one does.
        for ((low, replaced), (high, candidate)) in current.iter().zip(candidates) {
            if high <= low.saturating_mul(REPLACEMENT_FACTOR) {
                break;
            }
            self.tenants.remove(replaced);
            self.tenants.insert(candidate, TenantCounts::default());
        }
        // Halving makes recent requests count more than old ones.
        self.load.retain(|_, load| {
            *load /= 2;
            *load > 0
        });
    }

    fn estimate_load(&mut self, tenant: &Arc<SchemaName>) {
        if let Some(load) = self.load.get_mut(tenant) {
            *load += 1;
        } else if self.load.len() < self.max_series * ESTIMATES_PER_SERIES {
            self.load.insert(Arc::clone(tenant), 1);
        } else {
            // Each such pass removes as many units of load as there are entries, and each request added one.
            self.load.retain(|_, load| {
                *load -= 1;
                *load > 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Arc<SchemaName> {
        Arc::new(SchemaName::parse(name).unwrap())
    }

    fn observe(top: &mut TopTenants, name: &str, times: u64) {
        for _ in 0..times {
            top.observe(&tenant(name), false, Duration::from_millis(1));
        }
    }

    fn requests(top: &TopTenants) -> Vec<(&str, u64)> {
        let counts = top.counts().into_iter();
        let mut requests: Vec<_> = counts.map(|(name, counts)| (name, counts.requests)).collect();
        requests.sort_unstable();
        requests
    }

    #[test]
    fn first_tenants_have_series_and_the_rest_share_one() {
        let mut top = TopTenants::new(2);
        for (name, times) in [("a", 2), ("b", 1), ("c", 5), ("a", 1)] {
            observe(&mut top, name, times);
        }
        assert_eq!(requests(&top), [("a", 3), ("b", 1), ("other", 5)]);
    }

    #[test]
    fn clearly_busier_tenant_replaces_another_and_no_count_falls() {
        let mut top = TopTenants::new(2);
        for (name, times) in [("a", 10), ("b", 3), ("c", 6), ("d", 7)] {
            observe(&mut top, name, times);
        }
        top.rerank();
        // The load of c is only twice that of b; the load of d is higher.
        assert_eq!(requests(&top), [("a", 10), ("d", 0), ("other", 13)]);
        observe(&mut top, "b", 1);
        observe(&mut top, "d", 2);
        assert_eq!(requests(&top), [("a", 10), ("d", 2), ("other", 14)]);
    }

    #[test]
    fn tenant_that_was_busy_long_ago_is_replaced() {
        let mut top = TopTenants::new(1);
        observe(&mut top, "yesterday", 1000);
        for _ in 0..12 {
            top.rerank();
        }
        observe(&mut top, "today", 3);
        top.rerank();
        assert_eq!(requests(&top), [("other", 3), ("today", 0)]);
    }

    #[test]
    fn busy_tenant_is_found_among_more_than_have_estimates() {
        let mut top = TopTenants::new(4);
        for round in 0..2000 {
            observe(&mut top, &format!("idle{round}"), 1);
            if round % 4 == 3 {
                observe(&mut top, "busy", 1);
            }
            assert!(top.load.len() <= 4 * ESTIMATES_PER_SERIES);
            assert!(top.tenants.len() <= 4);
        }
        assert!(!requests(&top).iter().any(|(name, _)| *name == "busy"));
        top.rerank();
        observe(&mut top, "busy", 1);
        assert!(requests(&top).contains(&("busy", 1)));
    }

    #[test]
    fn tenant_named_other_is_counted_in_the_shared_series() {
        let mut top = TopTenants::new(2);
        observe(&mut top, OTHER, 9);
        top.rerank();
        assert_eq!(requests(&top), [(OTHER, 9)]);
    }

    #[test]
    fn all_tenants_share_one_series_if_none_has_its_own() {
        let mut top = TopTenants::new(0);
        observe(&mut top, "a", 2);
        top.rerank();
        assert_eq!(requests(&top), [(OTHER, 2)]);
    }
}
