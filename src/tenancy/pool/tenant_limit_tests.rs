//! The limits of each tenant.

use proptest::prelude::*;

use super::*;

#[test]
fn tenant_waits_for_its_own_requests_only() {
    let mut pool = Pool::with_limits(4, usize::MAX, 2, 10);
    let first = pool.slot(1);
    pool.slot(1);
    let third = pool.wait(1, 3);
    let fourth = pool.wait(1, 4);
    let other = pool.slot(2);
    assert!(pool.check_in(other).is_empty());
    assert!(pool.dispatcher.is_saturated_by(1) && !pool.dispatcher.is_saturated_by(2));
    assert_eq!(pool.check_in(first), [3]);
    assert!(pool.granted(third).is_some());
    assert_eq!(pool.granted(fourth), None);
}

#[test]
fn tenant_without_connections_is_not_saturated() {
    let mut pool = Pool::with_limits(4, usize::MAX, 1, 10);
    let Acquired::Now(connecting) = pool.acquire(1) else {
        panic!("no slot");
    };
    pool.wait(1, 1);
    assert!(!pool.dispatcher.is_saturated_by(1));
    pool.dispatcher.set_connected(connecting.slot, Some(pool.now));
    assert!(pool.dispatcher.is_saturated_by(1));
}

#[test]
fn tenant_at_its_limit_takes_another_slot_than_the_returned_one() {
    let mut pool = Pool::with_limits(2, 0, 1, 10);
    assert_eq!(home_slots(0, 2), Some([0, 0]));
    assert_eq!(home_slots(1, 2), Some([1, 1]));
    let home = pool.slot(8);
    assert_eq!((home, home_slots(8, 2)), (0, Some([0, 0])));
    pool.pass(AFFINITY_TIMEOUT);
    let elsewhere = pool.slot(0);
    assert_eq!(elsewhere, 1);
    pool.check_in(home);
    // The tenant may not use its idle home slot before its other request has ended.
    let waiting = pool.wait(0, 1);
    let other = pool.wait(1, 2);
    assert_eq!(pool.check_in(elsewhere), [2, 1]);
    assert_eq!(pool.granted(other), Some(elsewhere));
    assert_eq!(pool.granted(waiting), Some(home));
}

#[test]
fn request_beyond_the_waiting_limit_is_refused() {
    let mut pool = Pool::with_limits(4, usize::MAX, 1, 1);
    let slot = pool.slot(1);
    let cancelled = pool.wait(1, 1);
    assert!(matches!(pool.acquire(1), Acquired::Refused));
    assert!(pool.cancel(cancelled).is_empty());
    pool.wait(1, 2);
    assert!(matches!(pool.acquire(1), Acquired::Refused));
    assert_eq!(pool.check_in(slot), [2]);
}

#[test]
fn cancelled_request_admits_the_next_of_its_tenant() {
    let mut pool = Pool::with_limits(1, usize::MAX, 1, 10);
    pool.slot(2);
    let cancelled = pool.wait(1, 1);
    let next = pool.wait(1, 2);
    assert!(pool.cancel(cancelled).is_empty());
    assert_eq!(pool.check_in(0), [2]);
    assert_eq!(pool.granted(next), Some(0));
}

/// A pool in random use: the requests with a slot, and those that wait, each with its waker.
struct RandomUse {
    pool: Pool,
    in_use: Vec<(u64, usize)>,
    waiting: Vec<(u64, u32, Ticket)>,
    last_waker: u32,
}

impl RandomUse {
    fn acquire(&mut self, tenant: u64) {
        self.last_waker += 1;
        let acquired = self
            .pool
            .dispatcher
            .acquire(Some(tenant), true, self.pool.now, self.last_waker);
        match acquired {
            Acquired::Now(checked_out) => self.in_use.push((tenant, checked_out.slot)),
            Acquired::Waiting { ticket, .. } => self.waiting.push((tenant, self.last_waker, ticket)),
            Acquired::Refused | Acquired::Closed => panic!("refused"),
        }
    }

    /// Returns the slot of a request.
    fn check_in(&mut self, index: usize) {
        let (_, slot) = self.in_use.remove(index);
        let woken = self.pool.check_in(slot);
        self.wake(&woken);
    }

    fn cancel(&mut self, index: usize) {
        let (_, _, ticket) = self.waiting.remove(index);
        let woken = self.pool.cancel(ticket);
        self.wake(&woken);
    }

    fn wake(&mut self, woken: &[u32]) {
        for waker in woken {
            let index = self
                .waiting
                .iter()
                .position(|(_, other, _)| other == waker)
                .unwrap();
            let (tenant, _, ticket) = self.waiting.remove(index);
            self.in_use.push((tenant, self.pool.granted(ticket).unwrap()));
        }
    }

    fn check(&self, max_requests: usize) {
        for (tenant, slot) in &self.in_use {
            let of_tenant = self.in_use.iter().filter(|(other, _)| other == tenant).count();
            assert!(of_tenant <= max_requests);
            assert_eq!(self.in_use.iter().filter(|(_, other)| other == slot).count(), 1);
        }
        assert_eq!(self.pool.dispatcher.status().in_use, self.in_use.len());
        assert_eq!(self.pool.dispatcher.status().waiting, self.waiting.len());
    }
}

proptest! {
    #[test]
    fn each_request_is_woken_within_the_limits(
        limit in 1_usize..5,
        threshold in prop_oneof![Just(0), Just(usize::MAX)],
        max_requests in 1_usize..4,
        steps in prop::collection::vec((0_u8..5, 0_usize..6), 1..200),
    ) {
        let mut random = RandomUse {
            pool: Pool::with_limits(limit, threshold, max_requests, usize::MAX),
            in_use: Vec::new(),
            waiting: Vec::new(),
            last_waker: 0,
        };
        for (step, number) in steps {
            match step {
                0 | 1 => random.acquire(u64::try_from(number).unwrap()),
                2 if !random.in_use.is_empty() => random.check_in(number % random.in_use.len()),
                3 if !random.waiting.is_empty() => random.cancel(number % random.waiting.len()),
                _ => random.pool.pass(AFFINITY_TIMEOUT / 4),
            }
            random.check(max_requests);
        }
        while !random.in_use.is_empty() {
            random.check_in(0);
            random.check(max_requests);
        }
        prop_assert!(random.waiting.is_empty());
    }
}
