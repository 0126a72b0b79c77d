//! The requests that wait for a slot, in the order of their arrival.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Maximum time for which a request waits for its home slots, for itself and again for each request before it.
pub(super) const AFFINITY_TIMEOUT: Duration = Duration::from_millis(50);

/// The number of a waiting request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// A waiting request.
pub(super) struct Waiter<W> {
    pub(super) ticket: Ticket,
    pub(super) tenant: Option<u64>,
    /// The slots for which it waits; any if there are none.
    pub(super) homes: Option<[usize; 2]>,
    /// `false` while the tenant has its maximum number of requests before it.
    pub(super) is_admitted: bool,
    /// The time from which it takes any slot.
    late_at: Instant,
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

    /// Adds a request. Returns its ticket, and the time from which it takes any slot: after [`AFFINITY_TIMEOUT`] for
    /// itself, and for each request before it that waits for one of its home slots.
    pub(super) fn push(
        &mut self,
        tenant: Option<u64>,
        homes: Option<[usize; 2]>,
        is_admitted: bool,
        now: Instant,
        waker: W,
    ) -> (Ticket, Instant) {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let shares_home = |other: [usize; 2]| {
            other
                .iter()
                .any(|slot| homes.is_some_and(|homes| homes.contains(slot)))
        };
        let ahead = self
            .queue
            .iter()
            .filter(|waiter| waiter.homes.is_some_and(shares_home))
            .count();
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let late_at = now + AFFINITY_TIMEOUT.saturating_mul(ahead.saturating_add(1));
        self.queue.push_back(Waiter {
            ticket,
            tenant,
            homes,
            is_admitted,
            late_at,
            waker,
        });
        (ticket, late_at)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns the number of a tenant's requests that are admitted, or of the others.
    pub(super) fn count(&self, tenant: u64, is_admitted: bool) -> usize {
        let is_counted =
            |waiter: &&Waiter<W>| waiter.tenant == Some(tenant) && waiter.is_admitted == is_admitted;
        self.queue.iter().filter(is_counted).count()
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Waiter<W>> {
        self.queue.iter().find(|waiter| waiter.ticket == ticket)
    }

    /// Takes out a request.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Waiter<W>> {
        self.take_first(|waiter| waiter.ticket == ticket)
    }

    /// Takes out the request that gets `slot`: the first that takes any slot by now, else the first that waits for this
    /// one.
    pub(super) fn take_next(&mut self, slot: usize, now: Instant) -> Option<Waiter<W>> {
        let front = self.queue.front()?;
        if front.homes.is_none() && front.is_admitted {
            return self.queue.pop_front(); // the usual case without affinity
        }
        self.take_first(|waiter| waiter.is_admitted && waiter.is_late(now))
            .or_else(|| {
                self.take_first(|waiter| {
                    waiter.is_admitted && waiter.homes.is_none_or(|homes| homes.contains(&slot))
                })
            })
    }

    /// Admits the first request of the tenant that is not admitted yet.
    pub(super) fn admit_next(&mut self, tenant: u64) -> Option<Ticket> {
        let mut waiters = self.queue.iter_mut();
        let waiter = waiters.find(|waiter| waiter.tenant == Some(tenant) && !waiter.is_admitted)?;
        waiter.is_admitted = true;
        Some(waiter.ticket)
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
    pub(super) fn is_late(&self, now: Instant) -> bool {
        now >= self.late_at
    }
}
