//! The requests that wait for a slot, in the order of their arrival.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Maximum time for which a request waits for its preferred slot while others are idle.
pub(super) const AFFINITY_TIMEOUT: Duration = Duration::from_millis(20);

/// A request is overtaken by later ones until this many times as many were served as waited before it. With less, it
/// leaves its preferred slot so often that each server process learns the tables of all tenants.
const OVERTAKING_FACTOR: u64 = 3;

/// The number of a waiting request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// A waiting request.
pub(super) struct Waiter<W> {
    pub(super) ticket: Ticket,
    pub(super) tenant: Option<u64>,
    preferred: Option<usize>,
    since: Instant,
    /// The number of check-outs after which the request takes any slot.
    overdue_at: u64,
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
        preferred: Option<usize>,
        check_outs: u64,
        now: Instant,
        waker: W,
    ) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let ahead = u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
        self.queue.push_back(Waiter {
            ticket,
            tenant,
            preferred,
            since: now,
            overdue_at: check_outs.saturating_add(ahead.saturating_add(1).saturating_mul(OVERTAKING_FACTOR)),
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
        let prefers = |waiter: &&Waiter<W>| waiter.preferred == Some(slot);
        self.queue.iter().filter(prefers).count()
    }

    pub(super) fn remove(&mut self, ticket: Ticket) {
        self.queue.retain(|waiter| waiter.ticket != ticket);
    }

    /// Takes out the request if it has waited for at least [`AFFINITY_TIMEOUT`].
    pub(super) fn take_late(&mut self, ticket: Ticket, now: Instant) -> Option<Waiter<W>> {
        self.take_first(|waiter| waiter.ticket == ticket && waiter.is_late(now))
    }

    /// Takes out the request that gets `slot`: the first that is overdue, else the first that prefers the slot or
    /// none, else the first that has waited too long for another slot.
    pub(super) fn take_next(&mut self, slot: usize, check_outs: u64, now: Instant) -> Option<Waiter<W>> {
        self.take_first(|waiter| waiter.overdue_at <= check_outs)
            .or_else(|| self.take_first(|waiter| waiter.preferred.is_none_or(|preferred| preferred == slot)))
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
}
