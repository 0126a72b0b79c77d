//! The requests that wait for a slot, in the order of their arrival.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Maximum time for which a request waits for its preferred slot while others are idle.
pub(super) const AFFINITY_TIMEOUT: Duration = Duration::from_millis(20);

/// Time after which a waiting request takes its other slot when that becomes idle. With less, more requests run
/// unprepared at moderate load. With more, requests to a slow database wait until they take any slot, and each server
/// process learns the tables of all tenants.
pub(super) const OTHER_SLOT_TIMEOUT: Duration = Duration::from_millis(5);

/// A request is overtaken by later ones at its other slot until this many times as many were served as waited before it.
const OVERTAKING_FACTOR: u64 = 3;

/// As [`OVERTAKING_FACTOR`], at all slots. With less, requests leave their two slots so often that each server process
/// learns the tables of all tenants.
const OVERTAKING_FACTOR_ELSEWHERE: u64 = 9;

/// The number of a waiting request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// A waiting request.
pub(super) struct Waiter<W> {
    pub(super) ticket: Ticket,
    pub(super) tenant: Option<u64>,
    /// The preferred slot and the tenant's other one; any slot without a preference.
    pub(super) choices: Option<[usize; 2]>,
    since: Instant,
    /// The number of requests that waited before it, and of check-outs until then.
    ahead: u64,
    check_outs_before: u64,
    pub(super) waker: W,
}

pub(super) struct Waiters<W> {
    queue: VecDeque<Waiter<W>>,
    last_ticket: u64,
}

impl<W> Waiters<W> {
    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            last_ticket: 0,
        }
    }

    /// Adds a request, after `check_outs` check-outs.
    pub(super) fn push(
        &mut self,
        tenant: Option<u64>,
        choices: Option<[usize; 2]>,
        check_outs: u64,
        now: Instant,
        waker: W,
    ) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.queue.push_back(Waiter {
            ticket,
            tenant,
            choices,
            since: now,
            ahead: u64::try_from(self.queue.len()).unwrap_or(u64::MAX),
            check_outs_before: check_outs,
            waker,
        });
        ticket
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn contains(&self, ticket: Ticket) -> bool {
        self.queue.iter().any(|waiter| waiter.ticket == ticket)
    }

    pub(super) fn count_preferring(&self, slot: usize) -> usize {
        let prefers = |waiter: &&Waiter<W>| waiter.choices.is_some_and(|[preferred, _]| preferred == slot);
        self.queue.iter().filter(prefers).count()
    }

    pub(super) fn remove(&mut self, ticket: Ticket) {
        self.queue.retain(|waiter| waiter.ticket != ticket);
    }

    /// Takes out the request if it has waited for at least [`AFFINITY_TIMEOUT`].
    pub(super) fn take_late(&mut self, ticket: Ticket, now: Instant) -> Option<Waiter<W>> {
        self.take_first(|waiter| waiter.ticket == ticket && waiter.is_late(now))
    }

    /// Takes out the request that gets `slot`: the first that was overtaken too often, else the first that prefers the
    /// slot or none, else the first that has waited for [`OTHER_SLOT_TIMEOUT`] if this is its other one, else the first
    /// that has waited for [`AFFINITY_TIMEOUT`].
    pub(super) fn take_next(&mut self, slot: usize, check_outs: u64, now: Instant) -> Option<Waiter<W>> {
        if self.queue.front()?.choices.is_none() {
            return self.queue.pop_front(); // the usual case without affinity
        }
        let is_choice = |waiter: &Waiter<W>| waiter.choices.is_none_or(|choices| choices.contains(&slot));
        let prefers = |waiter: &Waiter<W>| waiter.choices.is_none_or(|[preferred, _]| preferred == slot);
        self.take_first(|waiter| waiter.is_overtaken(check_outs, OVERTAKING_FACTOR_ELSEWHERE))
            .or_else(|| {
                self.take_first(|waiter| {
                    is_choice(waiter) && waiter.is_overtaken(check_outs, OVERTAKING_FACTOR)
                })
            })
            .or_else(|| self.take_first(prefers))
            .or_else(|| {
                self.take_first(|waiter| is_choice(waiter) && now - waiter.since >= OTHER_SLOT_TIMEOUT)
            })
            .or_else(|| self.take_first(|waiter| waiter.is_late(now)))
    }

    /// Takes out all requests, and returns their wakers.
    pub(super) fn take_wakers(&mut self) -> Vec<W> {
        let waiters = std::mem::take(&mut self.queue);
        waiters.into_iter().map(|waiter| waiter.waker).collect()
    }

    fn take_first(&mut self, is_next: impl Fn(&Waiter<W>) -> bool) -> Option<Waiter<W>> {
        let index = self.queue.iter().position(is_next)?;
        self.queue.remove(index)
    }
}

impl<W> Waiter<W> {
    fn is_late(&self, now: Instant) -> bool {
        now - self.since >= AFFINITY_TIMEOUT
    }

    fn is_overtaken(&self, check_outs: u64, factor: u64) -> bool {
        check_outs - self.check_outs_before >= self.ahead.saturating_add(1).saturating_mul(factor)
    }
}
