//! The assignment of slots to requests. No I/O and no clock: every call takes `now`.
//!
//! A tenant has at most [`TenantLimits::max_requests`] requests that have a slot or wait for one. Further ones wait
//! until the tenant has fewer.
//!
//! With few tenants, a request takes any idle connection. With many, each tenant has one or two home slots, so that a
//! process of the server plans, and keeps in memory, the statements of its own tenants and not of all:
//!
//! - A request takes the first of its tenant's home slots that is idle, or the first that becomes idle.
//! - It takes any slot after it has waited for `AFFINITY_TIMEOUT`, and for as long again for each request before it that
//!   waits for the same slots. It does not wait at all if each of its home slots has served one request for that long.
//! - If [`MAX_WAITING_AT_HOME`] requests of one tenant wait, its further ones take any slot.

use tokio::time::Instant;

use super::PoolStatus;
use super::affinity::{Affinity, home_slots};
use super::slots::{CheckedOut, IDLE_TIMEOUT, Slots};
use super::waiters::{Ticket, Waiter, Waiters};

/// Maximum number of requests of one tenant that wait for its home slots. With less, requests leave their home slots by
/// chance, and each server process learns the tables of all tenants.
const MAX_WAITING_AT_HOME: usize = 3;

/// The slots of a pool, each for one connection `C`, and the requests that wait for one. `W` wakes a request.
pub(super) struct Dispatcher<C, W> {
    slots: Slots<C>,
    waiters: Waiters<W>,
    /// The slots of requests that waited and have not taken them yet.
    granted: Vec<(Ticket, CheckedOut<C>)>,
    affinity: Affinity,
    limits: TenantLimits,
    is_closed: bool,
}

/// The limits of each tenant.
#[derive(Debug, Clone, Copy)]
pub(in crate::tenancy) struct TenantLimits {
    /// Maximum number of requests that have a slot or wait for one.
    pub(in crate::tenancy) max_requests: usize,
    /// Maximum number of requests beyond these.
    pub(in crate::tenancy) max_waiting: usize,
}

/// The result of asking for a slot.
#[derive(Debug)]
pub(super) enum Acquired<C> {
    /// There was one.
    Now(CheckedOut<C>),
    /// The request waits. It looks for a slot again at `late_at`, unless it takes any.
    Waiting {
        ticket: Ticket,
        late_at: Option<Instant>,
    },
    /// Too many requests of the tenant wait.
    Refused,
    /// The pool is closed.
    Closed,
}

/// The wakers of the requests that get a slot when one is returned: that slot, or another one because the tenant has
/// fewer requests now.
type Wakers<W> = [Option<W>; 2];

impl<C, W> Dispatcher<C, W> {
    /// `limit` slots. Tenants have home slots once there are more than `affinity_threshold`.
    pub(super) fn new(limit: usize, affinity_threshold: usize, limits: TenantLimits) -> Self {
        Self {
            slots: Slots::new(limit),
            waiters: Waiters::new(),
            granted: Vec::new(),
            affinity: Affinity::new(affinity_threshold),
            limits,
            is_closed: false,
        }
    }

    /// Takes a slot for a request of `tenant` (a hash of its name), or lets it wait. Without `has_affinity`, the tenant
    /// has no home slots.
    pub(super) fn acquire(
        &mut self,
        tenant: Option<u64>,
        has_affinity: bool,
        now: Instant,
        waker: W,
    ) -> Acquired<C> {
        if self.is_closed {
            return Acquired::Closed;
        }
        let count = |is_admitted| tenant.map_or(0, |tenant| self.waiters.count(tenant, is_admitted));
        let (admitted, others) = (count(true), count(false));
        let in_use = tenant.map_or(0, |tenant| self.slots.count_in_use(tenant).0);
        let is_admitted = tenant.is_none() || in_use + admitted < self.limits.max_requests;
        if !is_admitted && others >= self.limits.max_waiting {
            return Acquired::Refused;
        }
        let homes = tenant
            .filter(|tenant| has_affinity && self.affinity.is_enabled_by(*tenant, now))
            .filter(|_| admitted + others < MAX_WAITING_AT_HOME)
            .and_then(|tenant| home_slots(tenant, self.slots.limit()));
        if let Some(slot) = self.slots.idle_slot_for(homes, now).filter(|_| is_admitted) {
            return Acquired::Now(self.slots.check_out(slot, tenant, homes, now));
        }
        let (ticket, late_at) = self.waiters.push(tenant, homes, is_admitted, now, waker);
        let late_at = homes.map(|_| late_at);
        Acquired::Waiting { ticket, late_at }
    }

    /// Takes a slot for a waiting request: the one that was granted to it, or an idle one.
    pub(super) fn poll(&mut self, ticket: Ticket, now: Instant) -> Acquired<C> {
        if let Some(granted) = self.take_granted(ticket) {
            return Acquired::Now(granted);
        }
        if self.waiters.get(ticket).is_none() {
            return Acquired::Closed;
        }
        self.grant_idle(ticket, now);
        match self.take_granted(ticket) {
            Some(granted) => Acquired::Now(granted),
            None => Acquired::Waiting {
                ticket,
                late_at: None,
            },
        }
    }

    /// Removes a request that no longer waits. A slot that was granted to it goes to the next one.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: Instant) -> Wakers<W> {
        if let Some(waiter) = self.waiters.take(ticket) {
            let tenant = waiter.tenant.filter(|_| waiter.is_admitted);
            let admitted = tenant.and_then(|tenant| self.waiters.admit_next(tenant));
            return [admitted.and_then(|ticket| self.grant_idle(ticket, now)), None];
        }
        match self.take_granted(ticket) {
            Some(granted) => self.put(granted.slot, granted.connection, now),
            None => [None, None],
        }
    }

    fn take_granted(&mut self, ticket: Ticket) -> Option<CheckedOut<C>> {
        let index = self.granted.iter().position(|(granted, _)| *granted == ticket)?;
        Some(self.granted.swap_remove(index).1)
    }

    /// Records that the slot in use has a new connection since `now`, or none.
    pub(super) fn set_connected(&mut self, slot: usize, now: Option<Instant>) {
        self.slots.set_connected(slot, now);
    }

    /// Returns whether the slot's connection must be closed instead of used again.
    pub(super) fn is_expired(&self, slot: usize, now: Instant) -> bool {
        let usage = self.slots.usage(slot);
        usage.is_some_and(|usage| self.is_closed || self.affinity.is_expired(usage, now))
    }

    /// Returns a slot with its connection.
    pub(super) fn check_in(&mut self, slot: usize, connection: C, now: Instant) -> Wakers<W> {
        self.put(slot, Some(connection), now)
    }

    /// Returns a slot without a connection.
    pub(super) fn free(&mut self, slot: usize, now: Instant) -> Wakers<W> {
        self.put(slot, None, now)
    }

    fn put(&mut self, slot: usize, connection: Option<C>, now: Instant) -> Wakers<W> {
        let tenant = self.slots.put(slot, connection, now);
        let admitted = tenant.and_then(|tenant| self.waiters.admit_next(tenant));
        let next = self.waiters.take_next(slot, now);
        [
            next.map(|waiter| self.grant(slot, waiter, now)),
            admitted.and_then(|ticket| self.grant_idle(ticket, now)),
        ]
    }

    /// Grants an idle slot to a waiting request, if it may take one. Returns its waker.
    fn grant_idle(&mut self, ticket: Ticket, now: Instant) -> Option<W> {
        let waiter = self.waiters.get(ticket).filter(|waiter| waiter.is_admitted)?;
        let homes = waiter.homes.filter(|_| !waiter.is_late(now));
        let slot = self.slots.idle_slot_for(homes, now)?;
        let waiter = self.waiters.take(ticket)?;
        Some(self.grant(slot, waiter, now))
    }

    fn grant(&mut self, slot: usize, waiter: Waiter<W>, now: Instant) -> W {
        let granted = self.slots.check_out(slot, waiter.tenant, waiter.homes, now);
        self.granted.push((waiter.ticket, granted));
        waiter.waker
    }

    /// Takes out the idle connections that must be closed, each with its slot. The slot is in use until
    /// [`Dispatcher::free`].
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<(usize, C)> {
        self.slots.take_expired(now, |usage, idle_since| {
            self.is_closed || now - idle_since > IDLE_TIMEOUT || self.affinity.is_expired(usage, now)
        })
    }

    /// Closes the pool: requests get no more slots. The wakers of those that wait are returned.
    pub(super) fn close(&mut self) -> Vec<W> {
        self.is_closed = true;
        self.waiters.take_wakers()
    }

    /// Returns whether the tenant's requests have all connections that it may have. While there are none, they wait
    /// for the server, and not for each other.
    pub(super) fn is_saturated_by(&self, tenant: u64) -> bool {
        self.slots.count_in_use(tenant).1 >= self.limits.max_requests
    }

    /// The pool as it is now, without the number of timeouts.
    pub(super) fn status(&self) -> PoolStatus {
        PoolStatus {
            waiting: self.waiters.len(),
            ..self.slots.status()
        }
    }
}

#[cfg(test)]
#[path = "dispatcher_tests.rs"]
mod tests;
