//! Each test moves the clock by hand. Connections are numbers, and so are wakers.

use super::*;
use crate::tenancy::pool::affinity::{MAX_LIFETIME, MAX_MISPLACED_LIFETIME};
use crate::tenancy::pool::waiters::OTHER_SLOT_TIMEOUT;

const MS: Duration = Duration::from_millis(1);

struct Pool {
    slots: Slots<u32, u32>,
    now: Instant,
}

impl Pool {
    /// A pool whose affinity is enabled by the first tenant.
    fn new(limit: usize) -> Self {
        Self::with_threshold(limit, 0)
    }

    fn with_threshold(limit: usize, threshold: usize) -> Self {
        Self {
            slots: Slots::new(limit, threshold),
            now: Instant::now(),
        }
    }

    fn acquire(&mut self, tenant: u64) -> Acquired<u32> {
        self.slots.acquire(Some(tenant), self.now, 0)
    }

    fn slot(&mut self, tenant: u64) -> usize {
        match self.acquire(tenant) {
            Acquired::Now(checked_out) => {
                if checked_out.connection.is_none() {
                    self.slots.connected(checked_out.slot, self.now);
                }
                checked_out.slot
            }
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, tenant: u64, waker: u32) -> Ticket {
        match self.slots.acquire(Some(tenant), self.now, waker) {
            Acquired::Waiting(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn granted(&mut self, ticket: Ticket) -> Option<usize> {
        match self.slots.poll(ticket, self.now) {
            Acquired::Now(checked_out) => Some(checked_out.slot),
            Acquired::Waiting(_) => None,
            Acquired::Closed => panic!("closed"),
        }
    }

    fn check_in(&mut self, slot: usize) -> Option<u32> {
        self.slots.check_in(slot, 7, self.now)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

#[test]
fn tenant_waits_for_its_preferred_slot_while_others_are_idle() {
    let mut pool = Pool::new(4);
    assert_eq!(pool.slot(2), 2);
    let ticket = pool.wait(6, 1);
    pool.pass(AFFINITY_TIMEOUT.saturating_sub(MS));
    assert_eq!(pool.granted(ticket), None);
    assert_eq!(pool.check_in(2), Some(1));
    assert_eq!(pool.granted(ticket), Some(2));
}

#[test]
fn tenant_takes_any_idle_slot_after_the_affinity_timeout() {
    let mut pool = Pool::new(4);
    pool.slot(2);
    let ticket = pool.wait(6, 1);
    pool.pass(AFFINITY_TIMEOUT);
    let slot = pool.granted(ticket).unwrap();
    assert_ne!(slot, 2);
    // The preferred slot has been in use for long: the next request does not wait at all.
    assert_ne!(pool.slot(10), 2);
}

#[test]
fn tenant_takes_its_idle_second_slot_if_its_home_is_crowded() {
    let mut pool = Pool::new(4);
    assert_eq!(slots_of(6, 4), Some([2, 0]));
    pool.slot(2);
    for _ in 0..MAX_MORE_AT_HOME {
        pool.wait(6, 1);
    }
    // Slots 1 and 3 are idle too, and would be taken first.
    assert_eq!(pool.slot(6), 0);
}

#[test]
fn tenant_takes_its_second_slot_sooner_than_any_other() {
    let mut pool = Pool::new(4);
    for tenant in 0..4 {
        pool.slot(tenant);
    }
    let ticket = pool.wait(6, 1); // its slots are 2 and 0
    assert_eq!(pool.check_in(0), None);
    pool.slot(0);
    pool.pass(OTHER_SLOT_TIMEOUT);
    assert_eq!(pool.check_in(0), Some(1));
    assert_eq!(pool.granted(ticket), Some(0));
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
    pool.wait(2, 1);
}

/// Slot 1 stays in use. Returns how many requests of `other`, at `slot`, overtake one of `tenant`.
fn overtaking_requests(pool: &mut Pool, tenant: u64, other: u64, slot: usize) -> usize {
    let first = pool.wait(tenant, 1);
    let mut overtaken = 0;
    loop {
        let ticket = pool.wait(other, 2);
        pool.check_in(slot);
        if pool.granted(first).is_some() {
            return overtaken;
        }
        assert_eq!(pool.granted(ticket), Some(slot));
        overtaken += 1;
        assert!(overtaken <= 9);
    }
}

#[test]
fn request_is_overtaken_a_limited_number_of_times() {
    for (tenant, slots, other, expected) in [(7, [1, 2], 2, 3), (7, [1, 2], 0, 9)] {
        let mut pool = Pool::new(3);
        for tenant in 0..3 {
            pool.slot(tenant);
        }
        assert_eq!(slots_of(tenant, 3), Some(slots));
        let slot = slots_of(other, 3).unwrap()[0];
        assert_eq!(overtaking_requests(&mut pool, tenant, other, slot), expected);
    }
}

#[test]
fn late_request_prefers_the_second_slot_of_its_tenant() {
    let mut pool = Pool::new(4);
    assert_eq!(slots_of(6, 4), Some([2, 0]));
    pool.slot(2);
    let ticket = pool.wait(6, 1);
    pool.pass(AFFINITY_TIMEOUT);
    assert_eq!(pool.granted(ticket), Some(0));
    pool.check_in(0);
    assert_eq!(pool.slot(6), 0);
}

#[test]
fn cancelled_waiters_are_skipped() {
    let mut pool = Pool::new(1);
    pool.slot(0);
    let cancelled = pool.wait(0, 1);
    let next = pool.wait(0, 2);
    assert_eq!(pool.slots.cancel(cancelled, pool.now), None);
    assert_eq!(pool.slots.counts().waiting, 1);
    assert_eq!(pool.check_in(0), Some(2));
    assert_eq!(pool.granted(next), Some(0));
}

#[test]
fn slot_granted_to_a_cancelled_waiter_goes_to_the_next() {
    let mut pool = Pool::new(1);
    pool.slot(0);
    let cancelled = pool.wait(0, 1);
    let next = pool.wait(0, 2);
    assert_eq!(pool.check_in(0), Some(1));
    assert_eq!(pool.slots.cancel(cancelled, pool.now), Some(2));
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
    assert!(pool.slots.take_expired(pool.now).is_empty());
    let used = pool.slot(1);
    pool.check_in(used);
    pool.pass(MS);
    assert_eq!(pool.slots.take_expired(pool.now), [(0, 7), (2, 7)]);
    // A connection that is being closed still takes its slot.
    assert_eq!(pool.slots.counts().in_use, 2);
    pool.slots.free(0, pool.now);
    let counts = pool.slots.counts();
    assert_eq!(
        (counts.open, counts.idle, counts.in_use, counts.waiting),
        (2, 1, 1, 0)
    );
}

#[test]
fn connection_expires_at_its_maximum_lifetime_while_in_use() {
    let mut pool = Pool::new(1);
    let slot = pool.slot(0);
    pool.pass(MAX_LIFETIME);
    assert!(!pool.slots.is_expired(slot, pool.now));
    pool.pass(MS);
    assert!(pool.slots.is_expired(slot, pool.now));
}

#[test]
fn connection_made_before_affinity_was_enabled_expires() {
    let mut pool = Pool::with_threshold(2, 1);
    let old = pool.slot(0);
    pool.pass(MS);
    let new = pool.slot(1);
    assert!(pool.slots.is_expired(old, pool.now));
    assert!(!pool.slots.is_expired(new, pool.now));
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
        // Both slots of the tenant have been in use for too long, so it takes any other.
        pool.pass(AFFINITY_TIMEOUT);
        assert_eq!(slots_of(3, 3), Some([0, 2]));
        assert_eq!(pool.slot(3), slot);
        pool.check_in(slot);
    }
    pool.pass(MAX_MISPLACED_LIFETIME);
    assert_eq!(pool.slot(1), slot);
    assert!(!pool.slots.is_expired(0, pool.now));
    assert!(pool.slots.is_expired(slot, pool.now));
}

#[test]
fn tenant_prefers_its_second_slot_if_its_home_is_crowded() {
    let mut pool = Pool::new(2);
    pool.slot(0);
    pool.slot(1);
    let at_home: Vec<_> = (0..=MAX_MORE_AT_HOME).map(|_| pool.wait(0, 1)).collect();
    let at_second = pool.wait(0, 2);
    assert_eq!(pool.check_in(1), Some(2));
    assert_eq!(pool.granted(at_second), Some(1));
    assert_eq!(pool.check_in(0), Some(1));
    assert_eq!(pool.granted(at_home[0]), Some(0));
}

#[test]
fn every_tenant_has_two_different_slots() {
    for limit in [2, 3, 12] {
        for tenant in 0..1000 {
            let [home, second] = slots_of(tenant, limit).unwrap();
            assert!(
                home < limit && second < limit && home != second,
                "{tenant} of {limit}"
            );
        }
    }
    assert_eq!(slots_of(7, 1), Some([0, 0]));
}

#[test]
fn closed_pool_gives_out_nothing() {
    let mut pool = Pool::new(1);
    let slot = pool.slot(0);
    let ticket = pool.wait(0, 9);
    assert_eq!(pool.slots.close(), [9]);
    assert!(matches!(pool.slots.poll(ticket, pool.now), Acquired::Closed));
    assert!(matches!(pool.acquire(0), Acquired::Closed));
    assert!(pool.slots.is_expired(slot, pool.now));
    pool.slots.free(slot, pool.now);
    assert_eq!(pool.slots.counts().open, 0);
}
