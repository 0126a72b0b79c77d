//! Each test moves the clock by hand. Connections are numbers, and so are wakers.

#[path = "tenant_limit_tests.rs"]
mod tenant_limits;

use std::time::Duration;

use super::*;
use crate::tenancy::pool::affinity::{MAX_LIFETIME, MAX_MISPLACED_LIFETIME};
use crate::tenancy::pool::waiters::AFFINITY_TIMEOUT;

const MS: Duration = Duration::from_millis(1);

struct Pool {
    dispatcher: Dispatcher<u32, u32>,
    now: Instant,
}

impl Pool {
    /// A pool whose affinity is enabled by the first tenant.
    fn new(limit: usize) -> Self {
        Self::with_threshold(limit, 0)
    }

    fn with_threshold(limit: usize, threshold: usize) -> Self {
        Self::with_limits(limit, threshold, usize::MAX, usize::MAX)
    }

    fn with_limits(limit: usize, threshold: usize, max_requests: usize, max_waiting: usize) -> Self {
        let limits = TenantLimits {
            max_requests,
            max_waiting,
        };
        Self {
            dispatcher: Dispatcher::new(limit, threshold, limits),
            now: Instant::now(),
        }
    }

    fn acquire(&mut self, tenant: u64) -> Acquired<u32> {
        self.dispatcher.acquire(Some(tenant), true, self.now, 0)
    }

    fn slot(&mut self, tenant: u64) -> usize {
        match self.acquire(tenant) {
            Acquired::Now(checked_out) => {
                if checked_out.connection.is_none() {
                    self.dispatcher.set_connected(checked_out.slot, Some(self.now));
                }
                checked_out.slot
            }
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, tenant: u64, waker: u32) -> Ticket {
        match self.dispatcher.acquire(Some(tenant), true, self.now, waker) {
            Acquired::Waiting { ticket, .. } => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn granted(&mut self, ticket: Ticket) -> Option<usize> {
        match self.dispatcher.poll(ticket, self.now) {
            Acquired::Now(checked_out) => Some(checked_out.slot),
            Acquired::Waiting { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    /// Returns a slot. Returns the wakers.
    fn check_in(&mut self, slot: usize) -> Vec<u32> {
        wakers(self.dispatcher.check_in(slot, 7, self.now))
    }

    fn cancel(&mut self, ticket: Ticket) -> Vec<u32> {
        wakers(self.dispatcher.cancel(ticket, self.now))
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

fn wakers(wakers: Wakers<u32>) -> Vec<u32> {
    wakers.into_iter().flatten().collect()
}

#[test]
fn request_waits_for_its_home_slot_while_others_are_idle() {
    let mut pool = Pool::new(4);
    assert_eq!(home_slots(2, 4), Some([2, 2]));
    assert_eq!(pool.slot(2), 2);
    let ticket = pool.wait(2, 1);
    pool.pass(AFFINITY_TIMEOUT.saturating_sub(MS));
    assert_eq!(pool.granted(ticket), None);
    assert_eq!(pool.check_in(2), [1]);
    assert_eq!(pool.granted(ticket), Some(2));
}

#[test]
fn request_takes_any_idle_slot_after_the_affinity_timeout() {
    let mut pool = Pool::new(4);
    pool.slot(2);
    let ticket = pool.wait(2, 1);
    pool.pass(AFFINITY_TIMEOUT);
    let slot = pool.granted(ticket).unwrap();
    assert_ne!(slot, 2);
    // The home slot has been in use for long: the next request does not wait at all.
    assert_ne!(pool.slot(2), 2);
}

#[test]
fn tenant_with_two_home_slots_takes_the_idle_one() {
    let mut pool = Pool::new(4);
    assert_eq!(home_slots(6, 4), Some([2, 3]));
    assert_eq!(pool.slot(6), 2);
    // Slot 0 is idle too, and would be taken first.
    assert_eq!(pool.slot(6), 3);
    let ticket = pool.wait(6, 1);
    assert_eq!(pool.check_in(3), [1]);
    assert_eq!(pool.granted(ticket), Some(3));
}

#[test]
fn tenant_with_many_waiting_requests_takes_any_slot() {
    let mut pool = Pool::new(3);
    assert_eq!(home_slots(1, 3), Some([1, 1]));
    pool.slot(1);
    for _ in 0..MAX_WAITING_AT_HOME {
        pool.wait(1, 1);
    }
    assert_ne!(pool.slot(1), 1);
    assert_ne!(pool.slot(1), 1);
    // No slot is idle: the first that is checked in serves one of its requests.
    pool.wait(1, 2);
    assert_eq!(pool.check_in(0), [2]);
}

#[test]
fn request_without_affinity_takes_any_slot() {
    let mut pool = Pool::new(4);
    assert_eq!(pool.slot(2), 2);
    let acquired = pool.dispatcher.acquire(Some(2), false, pool.now, 1);
    assert!(matches!(acquired, Acquired::Now(_)));
}

#[test]
fn few_tenants_take_any_slot_until_there_are_more() {
    let mut pool = Pool::with_threshold(2, 2);
    let first = pool.slot(0);
    let second = pool.slot(2);
    assert_ne!(first, second);
    pool.check_in(first);
    pool.check_in(second);
    // The third tenant enables the affinity.
    assert_eq!(pool.slot(5), 1);
    assert_eq!(pool.slot(0), 0);
    pool.wait(1, 1);
}

#[test]
fn request_waits_longer_behind_others() {
    let mut pool = Pool::new(2);
    assert_eq!(home_slots(0, 2), Some([0, 0]));
    for tenant in [0, 1] {
        pool.slot(tenant);
    }
    let first = pool.wait(0, 1); // slot 0 stays in use
    let second = pool.wait(0, 2);
    let elsewhere = pool.wait(1, 3);
    pool.pass(AFFINITY_TIMEOUT.saturating_sub(MS));
    assert_eq!(pool.check_in(1), [3]);
    assert_eq!(pool.granted(elsewhere), Some(1));
    pool.wait(1, 4);
    pool.pass(MS);
    assert_eq!(pool.check_in(1), [1]);
    assert_eq!(pool.granted(first), Some(1));
    pool.pass(AFFINITY_TIMEOUT);
    assert_eq!(pool.check_in(1), [2]);
    assert_eq!(pool.granted(second), Some(1));
}

#[test]
fn cancelled_waiters_are_skipped() {
    let mut pool = Pool::new(1);
    pool.slot(0);
    let cancelled = pool.wait(0, 1);
    let next = pool.wait(0, 2);
    assert!(pool.cancel(cancelled).is_empty());
    assert_eq!(pool.dispatcher.status().waiting, 1);
    assert_eq!(pool.check_in(0), [2]);
    assert_eq!(pool.granted(next), Some(0));
}

#[test]
fn slot_granted_to_a_cancelled_waiter_goes_to_the_next() {
    let mut pool = Pool::new(1);
    pool.slot(0);
    let cancelled = pool.wait(0, 1);
    let next = pool.wait(0, 2);
    assert_eq!(pool.check_in(0), [1]);
    assert_eq!(pool.cancel(cancelled), [2]);
    assert_eq!(pool.granted(next), Some(0));
}

#[test]
fn idle_connections_expire_without_traffic() {
    let mut pool = Pool::new(3);
    for tenant in 0..3 {
        let slot = pool.slot(tenant);
        pool.check_in(slot);
    }
    pool.pass(IDLE_TIMEOUT);
    assert!(pool.dispatcher.take_expired(pool.now).is_empty());
    let used = pool.slot(1);
    pool.check_in(used);
    pool.pass(MS);
    assert_eq!(pool.dispatcher.take_expired(pool.now), [(0, 7), (2, 7)]);
    // A connection that is being closed still takes its slot.
    assert_eq!(pool.dispatcher.status().in_use, 2);
    pool.dispatcher.free(0, pool.now);
    let counts = pool.dispatcher.status();
    assert_eq!((counts.open, counts.idle, counts.in_use), (2, 1, 1));
}

#[test]
fn connection_expires_at_its_maximum_lifetime_while_in_use() {
    let mut pool = Pool::new(1);
    let slot = pool.slot(0);
    pool.pass(MAX_LIFETIME);
    assert!(!pool.dispatcher.is_expired(slot, pool.now));
    pool.pass(MS);
    assert!(pool.dispatcher.is_expired(slot, pool.now));
}

#[test]
fn connection_made_before_affinity_was_enabled_expires() {
    let mut pool = Pool::with_threshold(2, 1);
    let old = pool.slot(0);
    pool.pass(MS);
    let new = pool.slot(1);
    assert!(pool.dispatcher.is_expired(old, pool.now));
    assert!(!pool.dispatcher.is_expired(new, pool.now));
}

#[test]
fn connection_with_many_misplaced_checkouts_expires_early() {
    let mut pool = Pool::with_threshold(3, 4);
    for tenant in 0..5 {
        let slot = pool.slot(tenant);
        pool.check_in(slot);
    }
    let slot = pool.slot(1);
    assert_eq!(slot, 1);
    pool.slot(0);
    pool.slot(2);
    pool.check_in(slot);
    for _ in 0..3 {
        // The home slot of the tenant has been in use for too long, so it takes any other.
        pool.pass(AFFINITY_TIMEOUT);
        assert_eq!(home_slots(0, 3), Some([0, 0]));
        assert_eq!(pool.slot(0), slot);
        pool.check_in(slot);
    }
    pool.pass(MAX_MISPLACED_LIFETIME);
    assert_eq!(pool.slot(1), slot);
    assert!(!pool.dispatcher.is_expired(0, pool.now));
    assert!(pool.dispatcher.is_expired(slot, pool.now));
}

#[test]
fn three_of_four_tenants_have_two_different_home_slots() {
    for limit in [2, 3, 12] {
        let tenants = 0..1000 * u64::try_from(limit).unwrap();
        let homes: Vec<_> = tenants.map(|tenant| home_slots(tenant, limit).unwrap()).collect();
        let count_with = |slot| homes.iter().filter(|homes| homes.contains(&slot)).count();
        for slot in 0..limit {
            assert_eq!(count_with(slot), 1750, "slot {slot} of {limit}");
        }
    }
    assert_eq!(home_slots(7, 1), Some([0, 0]));
}

#[test]
fn closed_pool_gives_out_nothing() {
    let mut pool = Pool::new(1);
    let slot = pool.slot(0);
    let ticket = pool.wait(0, 9);
    assert_eq!(pool.dispatcher.close(), [9]);
    assert!(matches!(pool.dispatcher.poll(ticket, pool.now), Acquired::Closed));
    assert!(matches!(pool.acquire(0), Acquired::Closed));
    assert!(pool.dispatcher.is_expired(slot, pool.now));
    pool.dispatcher.free(slot, pool.now);
    assert_eq!(pool.dispatcher.status().open, 0);
}
