//! The slots of a pool: which are idle, and which tenant uses each other one.

use std::time::Duration;

use tokio::time::Instant;

use super::PoolStatus;
use super::affinity::Usage;
use super::waiters::AFFINITY_TIMEOUT;

/// Time after which an idle connection is closed.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// The slots of a pool, each for one connection `C`.
pub(super) struct Slots<C> {
    all: Vec<Slot<C>>,
    /// The idle slots, in the order in which they became idle. The last is taken first, so that the
    /// connections that are not needed reach their idle timeout.
    idle: Vec<usize>,
}

enum Slot<C> {
    Idle(Option<Held<C>>),
    InUse {
        tenant: Option<u64>,
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
    /// `true` if the slot prepares the tenant's statements: it is a home slot of the tenant, or the request has none.
    pub(super) is_home: bool,
}

impl<C> Slots<C> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            all: (0..limit).map(|_| Slot::Idle(None)).collect(),
            idle: (0..limit).rev().collect(),
        }
    }

    /// Records that the slot in use has a new connection since `now`, or none.
    pub(super) fn set_connected(&mut self, slot: usize, now: Option<Instant>) {
        if let Some(Slot::InUse { usage, .. }) = self.all.get_mut(slot) {
            *usage = now.map(Usage::new);
        }
    }

    /// The use of the connection in a slot that is in use.
    pub(super) fn usage(&self, slot: usize) -> Option<Usage> {
        match self.all.get(slot) {
            Some(Slot::InUse { usage, .. }) => *usage,
            _ => None,
        }
    }

    /// Makes a slot idle, with its connection if it has one. Returns the tenant that used it.
    pub(super) fn put(&mut self, slot: usize, connection: Option<C>, now: Instant) -> Option<u64> {
        let usage = self.usage(slot);
        let held = connection.zip(usage).map(|(connection, usage)| Held {
            connection,
            usage,
            idle_since: now,
        });
        let before = std::mem::replace(self.all.get_mut(slot)?, Slot::Idle(held));
        self.idle.push(slot);
        match before {
            Slot::InUse { tenant, .. } => tenant,
            Slot::Idle(_) => None,
        }
    }

    /// Takes out the idle connections that are expired by their use and the time since which they are idle, each with
    /// its slot. The slot is in use until [`Slots::put`].
    pub(super) fn take_expired(
        &mut self,
        now: Instant,
        is_expired: impl Fn(Usage, Instant) -> bool,
    ) -> Vec<(usize, C)> {
        let mut expired = Vec::new();
        for (number, slot) in self.all.iter_mut().enumerate() {
            if let Slot::Idle(held) = slot
                && let Some(held) = held.take_if(|held| is_expired(held.usage, held.idle_since))
            {
                *slot = Slot::InUse {
                    tenant: None,
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

    pub(super) fn limit(&self) -> usize {
        self.all.len()
    }

    /// The slots as they are now, without the requests that wait.
    pub(super) fn status(&self) -> PoolStatus {
        let count = |is_counted: fn(&&Slot<C>) -> bool| self.all.iter().filter(is_counted).count();
        let idle = count(|slot| matches!(slot, Slot::Idle(Some(_))));
        PoolStatus {
            limit: self.all.len(),
            open: idle + count(|slot| matches!(slot, Slot::InUse { usage: Some(_), .. })),
            idle,
            in_use: count(|slot| matches!(slot, Slot::InUse { .. })),
            waiting: 0,
            timeouts: 0,
        }
    }

    /// Returns the number of slots that the tenant's requests use, and how many of them have a connection.
    pub(super) fn count_in_use(&self, tenant: u64) -> (usize, usize) {
        let usages = self.all.iter().filter_map(|slot| match slot {
            Slot::InUse {
                tenant: Some(user),
                usage,
                ..
            } if *user == tenant => Some(usage.is_some()),
            _ => None,
        });
        usages.fold((0, 0), |(in_use, connected), is_connected| {
            (in_use + 1, connected + usize::from(is_connected))
        })
    }

    /// The idle slot that a request takes, if it does not wait.
    pub(super) fn idle_slot_for(&self, homes: Option<[usize; 2]>, now: Instant) -> Option<usize> {
        let any = *self.idle.last()?;
        let Some(homes) = homes else {
            return Some(any);
        };
        let is_stuck = |slot: &usize| match self.all.get(*slot) {
            Some(Slot::InUse { since, .. }) => now - *since >= AFFINITY_TIMEOUT,
            _ => false,
        };
        let idle_home = homes.into_iter().find(|slot| self.idle.contains(slot));
        idle_home.or_else(|| homes.iter().all(is_stuck).then_some(any))
    }

    pub(super) fn check_out(
        &mut self,
        slot: usize,
        tenant: Option<u64>,
        homes: Option<[usize; 2]>,
        now: Instant,
    ) -> CheckedOut<C> {
        self.idle.retain(|idle| *idle != slot);
        let is_home = homes.is_none_or(|homes| homes.contains(&slot));
        let held = match self.all.get_mut(slot) {
            Some(Slot::Idle(held)) => held.take(),
            _ => None,
        };
        let (mut usage, connection) = held.map(|held: Held<C>| (held.usage, held.connection)).unzip();
        if let Some(usage) = &mut usage {
            usage.misplaced_checkouts += usize::from(!is_home);
        }
        if let Some(place) = self.all.get_mut(slot) {
            *place = Slot::InUse {
                tenant,
                since: now,
                usage,
            };
        }
        CheckedOut {
            slot,
            connection,
            is_home,
        }
    }
}
