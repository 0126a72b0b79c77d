//! The busiest tenants, in bounded memory: those have series of their own, all others share one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::tenancy::SchemaName;

/// The series of all tenants that have none of their own. A tenant of this name never has one.
pub(super) const OTHER: &str = "other";
/// Places change hands so often at most: each change begins a new series in the monitoring's store.
const RERANK_EVERY: Duration = Duration::from_mins(10);
/// So many times as many tenants are weighed as have a place.
const WEIGHED_PER_PLACE: usize = 8;
/// A tenant takes another's place where it is more than so many times as busy.
const CLEARLY_BUSIER: u64 = 2;

/// What is counted of a tenant, or of all those that have no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) failures: u64,
    pub(super) database_time: Duration,
}

/// Counts the requests of each of the busiest tenants, and of all others together.
///
/// A tenant that loses its place takes its counts along: its series ends, and what it does from then on
/// counts among the others. To add its past to theirs would look like a burst of requests.
#[derive(Debug)]
pub(super) struct Busiest {
    places: usize,
    counted: HashMap<Arc<SchemaName>, Counts>,
    other: Counts,
    /// How busy tenants were lately, by the summary of Misra and Gries (1982): none is missing that had
    /// more than one in as many requests as there are entries.
    weights: HashMap<Arc<SchemaName>, u64>,
    reranked: Instant,
}

impl Busiest {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places,
            counted: HashMap::new(),
            other: Counts::default(),
            weights: HashMap::new(),
            reranked: Instant::now(),
        }
    }

    /// Counts a request. What it costs does not depend on how many tenants there are, taken over many
    /// requests.
    pub(super) fn count(&mut self, tenant: &Arc<SchemaName>, failed: bool, database_time: Duration) {
        self.weigh(tenant);
        let counts = if tenant.as_str() == OTHER {
            &mut self.other
        } else if self.counted.len() < self.places {
            self.counted.entry(Arc::clone(tenant)).or_default()
        } else {
            self.counted.get_mut(tenant).unwrap_or(&mut self.other)
        };
        counts.requests += 1;
        counts.failures += u64::from(failed);
        counts.database_time += database_time;
    }

    /// All that have a place, by name, and the others last.
    pub(super) fn counts(&self) -> Vec<(&str, Counts)> {
        let mut counts: Vec<_> = self
            .counted
            .iter()
            .map(|(name, &counts)| (name.as_str(), counts))
            .collect();
        counts.sort_unstable_by_key(|(name, _)| *name);
        counts.push((OTHER, self.other));
        counts
    }

    /// Gives the places to those who were busiest lately, where that is due.
    pub(super) fn rerank_if_due(&mut self) {
        if self.reranked.elapsed() >= RERANK_EVERY {
            self.reranked = Instant::now();
            self.rerank();
        }
    }

    fn rerank(&mut self) {
        let weight = |name: &Arc<SchemaName>| self.weights.get(name).copied().unwrap_or_default();
        let mut inside: Vec<_> = self
            .counted
            .keys()
            .map(|name| (weight(name), Arc::clone(name)))
            .collect();
        let mut outside: Vec<_> = self
            .weights
            .iter()
            .filter(|(name, _)| !self.counted.contains_key(*name) && name.as_str() != OTHER)
            .map(|(name, &weight)| (weight, Arc::clone(name)))
            .collect();
        inside.sort_unstable();
        outside.sort_unstable_by(|one, other| other.cmp(one));
        for ((least, leaving), (most, coming)) in inside.iter().zip(outside) {
            if most <= least.saturating_mul(CLEARLY_BUSIER) {
                break;
            }
            self.counted.remove(leaving);
            self.counted.insert(coming, Counts::default());
        }
        self.weights.retain(|_, weight| {
            *weight /= 2;
            *weight > 0
        });
    }

    fn weigh(&mut self, tenant: &Arc<SchemaName>) {
        if let Some(weight) = self.weights.get_mut(tenant) {
            *weight += 1;
        } else if self.weights.len() < self.places * WEIGHED_PER_PLACE {
            self.weights.insert(Arc::clone(tenant), 1);
        } else {
            self.weights.retain(|_, weight| {
                *weight -= 1;
                *weight > 0
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

    fn count(busiest: &mut Busiest, name: &str, times: u64) {
        for _ in 0..times {
            busiest.count(&tenant(name), false, Duration::from_millis(1));
        }
    }

    fn requests(busiest: &Busiest) -> Vec<(&str, u64)> {
        let counts = busiest.counts().into_iter();
        counts.map(|(name, counts)| (name, counts.requests)).collect()
    }

    #[test]
    fn the_first_tenants_have_places_and_the_rest_share_one() {
        let mut busiest = Busiest::new(2);
        for (name, times) in [("a", 2), ("b", 1), ("c", 5), ("a", 1)] {
            count(&mut busiest, name, times);
        }
        assert_eq!(requests(&busiest), [("a", 3), ("b", 1), ("other", 5)]);
    }

    #[test]
    fn a_place_goes_to_who_is_clearly_busier_and_no_count_ever_falls() {
        let mut busiest = Busiest::new(2);
        for (name, times) in [("a", 10), ("b", 3), ("c", 6), ("d", 7)] {
            count(&mut busiest, name, times);
        }
        busiest.rerank();
        // c is only twice as busy as b, d is more.
        assert_eq!(requests(&busiest), [("a", 10), ("d", 0), ("other", 13)]);
        count(&mut busiest, "b", 1);
        count(&mut busiest, "d", 2);
        assert_eq!(requests(&busiest), [("a", 10), ("d", 2), ("other", 14)]);
    }

    #[test]
    fn who_was_busy_long_ago_gives_way() {
        let mut busiest = Busiest::new(1);
        count(&mut busiest, "yesterday", 1000);
        for _ in 0..12 {
            busiest.rerank();
        }
        count(&mut busiest, "today", 3);
        busiest.rerank();
        assert_eq!(requests(&busiest), [("today", 0), ("other", 3)]);
    }

    #[test]
    fn a_busy_tenant_is_found_among_more_than_are_weighed() {
        let mut busiest = Busiest::new(4);
        for round in 0..2000 {
            count(&mut busiest, &format!("idle{round}"), 1);
            if round % 4 == 3 {
                count(&mut busiest, "busy", 1);
            }
            assert!(busiest.weights.len() <= 4 * WEIGHED_PER_PLACE);
            assert!(busiest.counted.len() <= 4);
        }
        assert!(!requests(&busiest).iter().any(|(name, _)| *name == "busy"));
        busiest.rerank();
        count(&mut busiest, "busy", 1);
        assert!(requests(&busiest).contains(&("busy", 1)));
    }

    #[test]
    fn a_tenant_that_is_called_like_the_rest_counts_among_them() {
        let mut busiest = Busiest::new(2);
        count(&mut busiest, OTHER, 9);
        busiest.rerank();
        assert_eq!(requests(&busiest), [(OTHER, 9)]);
    }

    #[test]
    fn without_places_all_are_counted_together() {
        let mut busiest = Busiest::new(0);
        count(&mut busiest, "a", 2);
        busiest.rerank();
        assert_eq!(requests(&busiest), [(OTHER, 2)]);
    }
}
