//! The pool's state: which slot a request gets, and when. No I/O and no clock: every call takes `now`.
//!
//! With few tenants, a request takes any idle connection. With many, each tenant has a home slot, so that a process
//! of the server plans, and keeps in memory, the statements of its own tenants and not of all:
//!
//! - Each tenant has a second slot, which its requests prefer if [`MAX_MORE_AT_HOME`] more wait at home. Nothing is
//!   prepared for a tenant that is not at home, so the second slot costs the server's process no memory for plans.
//! - A request waits for its preferred slot while others are idle only for [`AFFINITY_TIMEOUT`]. Then it takes its
//!   other one, or any if that is not idle either. It takes its other one sooner, after
//!   `OTHER_SLOT_TIMEOUT`, if that becomes idle meanwhile and no request prefers it.
//! - If no slot is idle, later requests overtake a request only until three times as many were served as waited
//!   before it; then it takes the next of its two slots. After nine times as many, it takes any.

use std::time::Duration;

use tokio::time::Instant;

use super::affinity::{Affinity, Usage, slots_of};
use super::waiters::{AFFINITY_TIMEOUT, Ticket, Waiters};

/// Maximum number of requests that a tenant's home slot may have more than its second slot. With less, more requests
/// leave the home slot, and PostgreSQL plans each of them; with more, the longest waits grow.
const MAX_MORE_AT_HOME: usize = 8;
/// Time after which an idle connection is closed.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// The slots of a pool, each for one connection `C`, and the requests that wait for one. `W` wakes a request.
pub(super) struct Slots<C, W> {
    all: Vec<Slot<C>>,
    /// The idle slots, in the order in which they became idle. The last is taken first, so that the
    /// connections that are not needed reach their idle timeout.
    idle: Vec<usize>,
    waiters: Waiters<W>,
    /// The slots of requests that waited and have not taken them yet.
    granted: Vec<(Ticket, CheckedOut<C>)>,
    pub(super) affinity: Affinity,
    check_outs: u64,
    is_closed: bool,
}

enum Slot<C> {
    Idle(Option<Held<C>>),
    InUse {
        since: Instant,
        /// The use of its connection; `None` while there is none.
        usage: Option<Usage>,
    },
}

/// An idle connection.
struct Held<C> {
    connection: C,
    usage: Usage,
    idle_since: Instant,
}

/// A slot that a request has, and the connection that was idle in it.
#[derive(Debug)]
pub(super) struct CheckedOut<C> {
    pub(super) slot: usize,
    pub(super) connection: Option<C>,
    /// `true` if the slot prepares the tenant's statements: it is the tenant's home slot, or each slot is.
    pub(super) is_home: bool,
}

/// The result of asking for a slot.
#[derive(Debug)]
pub(super) enum Acquired<C> {
    /// There was one.
    Now(CheckedOut<C>),
    /// The request waits.
    Waiting(Ticket),
    /// The pool is closed.
    Closed,
}

/// The pool's connections at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) open: usize,
    pub(super) idle: usize,
    pub(super) in_use: usize,
    pub(super) waiting: usize,
}

impl<C, W> Slots<C, W> {
    /// `limit` slots. Tenants prefer slots once there are more than `affinity_threshold`.
    pub(super) fn new(limit: usize, affinity_threshold: usize) -> Self {
        Self {
            all: (0..limit).map(|_| Slot::Idle(None)).collect(),
            idle: (0..limit).rev().collect(),
            waiters: Waiters::new(),
            granted: Vec::new(),
            affinity: Affinity::new(affinity_threshold),
            check_outs: 0,
            is_closed: false,
        }
    }

    /// Takes a slot for a request of `tenant` (a hash of its name), or lets it wait.
    pub(super) fn acquire(&mut self, tenant: Option<u64>, now: Instant, waker: W) -> Acquired<C> {
        if self.is_closed {
            return Acquired::Closed;
        }
        let choices = tenant.and_then(|tenant| self.choices(tenant, now));
        if let Some(slot) = self.idle_slot_for(choices, now) {
            return Acquired::Now(self.check_out(slot, tenant, now));
        }
        let ticket = self.waiters.push(tenant, choices, self.check_outs, now, waker);
        Acquired::Waiting(ticket)
    }

    /// Takes the slot that was granted to a waiting request, if there is one. One that has waited for longer
    /// than [`AFFINITY_TIMEOUT`] takes any idle slot.
    pub(super) fn poll(&mut self, ticket: Ticket, now: Instant) -> Acquired<C> {
        if let Some(granted) = self.take_granted(ticket) {
            return Acquired::Now(granted);
        }
        if !self.waiters.contains(ticket) {
            return Acquired::Closed;
        }
        if let Some(&any) = self.idle.last()
            && let Some(waiter) = self.waiters.take_late(ticket, now)
        {
            let mut choices = waiter.choices.into_iter().flatten();
            let slot = choices.find(|slot| self.idle.contains(slot)).unwrap_or(any);
            return Acquired::Now(self.check_out(slot, waiter.tenant, now));
        }
        Acquired::Waiting(ticket)
    }

    /// Removes a request that no longer waits. A slot that was granted to it goes to the next one, whose
    /// waker is returned.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: Instant) -> Option<W> {
        self.waiters.remove(ticket);
        let CheckedOut { slot, connection, .. } = self.take_granted(ticket)?;
        match connection {
            Some(connection) => self.check_in(slot, connection, now),
            None => self.free(slot, now),
        }
    }

    fn take_granted(&mut self, ticket: Ticket) -> Option<CheckedOut<C>> {
        let index = self.granted.iter().position(|(granted, _)| *granted == ticket)?;
        Some(self.granted.swap_remove(index).1)
    }

    /// Records that the slot in use has a new connection.
    pub(super) fn connected(&mut self, slot: usize, now: Instant) {
        if let Some(Slot::InUse { usage, .. }) = self.all.get_mut(slot) {
            *usage = Some(Usage::new(now));
        }
    }

    /// Returns whether the slot's connection must be closed instead of used again.
    pub(super) fn is_expired(&self, slot: usize, now: Instant) -> bool {
        let usage = self.usage(slot);
        usage.is_some_and(|usage| self.is_closed || self.affinity.is_expired(usage, now))
    }

    /// The use of the connection in a slot that is in use.
    fn usage(&self, slot: usize) -> Option<Usage> {
        match self.all.get(slot) {
            Some(Slot::InUse { usage, .. }) => *usage,
            _ => None,
        }
    }

    /// Returns a slot with its connection. The waker of the request that gets it is returned.
    pub(super) fn check_in(&mut self, slot: usize, connection: C, now: Instant) -> Option<W> {
        let Some(usage) = self.usage(slot) else {
            return self.free(slot, now);
        };
        let held = Held {
            connection,
            usage,
            idle_since: now,
        };
        self.put(slot, Some(held), now)
    }

    /// Returns a slot without a connection. The waker of the request that gets it is returned.
    pub(super) fn free(&mut self, slot: usize, now: Instant) -> Option<W> {
        self.put(slot, None, now)
    }

    fn put(&mut self, slot: usize, held: Option<Held<C>>, now: Instant) -> Option<W> {
        *self.all.get_mut(slot)? = Slot::Idle(held);
        self.idle.push(slot);
        let waiter = self.waiters.take_next(slot, self.check_outs, now)?;
        let granted = self.check_out(slot, waiter.tenant, now);
        self.granted.push((waiter.ticket, granted));
        Some(waiter.waker)
    }

    /// Takes out the idle connections that must be closed, each with its slot. The slot is in use until
    /// [`Slots::free`].
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<(usize, C)> {
        let affinity = &self.affinity;
        let is_expired = |held: &Held<C>| {
            self.is_closed || now - held.idle_since > IDLE_TIMEOUT || affinity.is_expired(held.usage, now)
        };
        let mut expired = Vec::new();
        for (number, slot) in self.all.iter_mut().enumerate() {
            if let Slot::Idle(held) = slot
                && let Some(held) = held.take_if(|held| is_expired(held))
            {
                *slot = Slot::InUse {
                    since: now,
                    usage: Some(held.usage),
                };
                expired.push((number, held.connection));
            }
        }
        self.idle
            .retain(|idle| !expired.iter().any(|(slot, _)| slot == idle));
        expired
    }

    /// Closes the pool: requests get no more slots. The wakers of those that wait are returned.
    pub(super) fn close(&mut self) -> Vec<W> {
        self.is_closed = true;
        self.waiters.take_wakers()
    }

    pub(super) fn limit(&self) -> usize {
        self.all.len()
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |is_counted: fn(&&Slot<C>) -> bool| self.all.iter().filter(is_counted).count();
        let idle = count(|slot| matches!(slot, Slot::Idle(Some(_))));
        Counts {
            open: idle + count(|slot| matches!(slot, Slot::InUse { usage: Some(_), .. })),
            idle,
            in_use: count(|slot| matches!(slot, Slot::InUse { .. })),
            waiting: self.waiters.len(),
        }
    }

    /// The slot that a tenant prefers, and its other one.
    fn choices(&mut self, tenant: u64, now: Instant) -> Option<[usize; 2]> {
        if !self.affinity.is_enabled_by(tenant, now) {
            return None;
        }
        let [home, second] = slots_of(tenant, self.all.len())?;
        let requests_at =
            |slot| usize::from(!self.idle.contains(&slot)) + self.waiters.count_preferring(slot);
        let is_crowded = requests_at(home) > requests_at(second) + MAX_MORE_AT_HOME;
        Some(if is_crowded {
            [second, home]
        } else {
            [home, second]
        })
    }

    /// The idle slot that a new request takes, if it does not wait.
    fn idle_slot_for(&self, choices: Option<[usize; 2]>, now: Instant) -> Option<usize> {
        let any = *self.idle.last()?;
        let Some([preferred, other]) = choices else {
            return Some(any);
        };
        let is_late = |since| now - since >= AFFINITY_TIMEOUT;
        match self.all.get(preferred) {
            Some(Slot::InUse { since, .. }) if is_late(*since) && self.idle.contains(&other) => Some(other),
            Some(Slot::InUse { since, .. }) => is_late(*since).then_some(any),
            _ => Some(preferred),
        }
    }

    fn check_out(&mut self, slot: usize, tenant: Option<u64>, now: Instant) -> CheckedOut<C> {
        self.check_outs += 1;
        self.idle.retain(|idle| *idle != slot);
        let slots = tenant
            .filter(|_| self.affinity.is_enabled())
            .and_then(|tenant| slots_of(tenant, self.all.len()));
        let is_home = slots.is_none_or(|[home, _]| home == slot);
        let is_misplaced = slots.is_some_and(|slots| !slots.contains(&slot));
        let held = match self.all.get_mut(slot) {
            Some(Slot::Idle(held)) => held.take(),
            _ => None,
        };
        let (mut usage, connection) = held.map(|held: Held<C>| (held.usage, held.connection)).unzip();
        if let Some(usage) = &mut usage {
            usage.misplaced_checkouts += usize::from(is_misplaced);
        }
        if let Some(place) = self.all.get_mut(slot) {
            *place = Slot::InUse { since: now, usage };
        }
        CheckedOut {
            slot,
            connection,
            is_home,
        }
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
