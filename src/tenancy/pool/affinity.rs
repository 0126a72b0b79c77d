//! The affinity of tenants to slots, and the age at which a connection is closed.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

/// Age after which a connection is closed: the server's process grows with every table that it has read.
pub(super) const MAX_LIFETIME: Duration = Duration::from_mins(30);
/// Age after which a connection is closed if it served too many tenants that prefer another slot.
pub(super) const MAX_MISPLACED_LIFETIME: Duration = Duration::from_mins(1);

/// The age and use of the server process behind a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) created_at: Instant,
    pub(super) misplaced_checkouts: usize,
}

/// Counts tenants, until there are more than a connection keeps statements for.
pub(super) struct Affinity {
    threshold: usize,
    tenants: HashSet<u64>,
    enabled_at: Option<Instant>,
}

impl Usage {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            created_at: now,
            misplaced_checkouts: 0,
        }
    }
}

impl Affinity {
    pub(super) fn new(threshold: usize) -> Self {
        Self {
            threshold,
            tenants: HashSet::new(),
            enabled_at: None,
        }
    }

    pub(super) fn is_enabled_by(&mut self, tenant: u64, now: Instant) -> bool {
        if self.enabled_at.is_none() {
            self.tenants.insert(tenant);
            if self.tenants.len() > self.threshold {
                self.tenants = HashSet::new();
                self.enabled_at = Some(now);
            }
        }
        self.enabled_at.is_some()
    }

    /// A server process keeps what it has read of other slots' tenants until it ends. So a connection expires
    /// that is older than the affinity, or that served too many of those tenants.
    pub(super) fn is_expired(&self, usage: Usage, now: Instant) -> bool {
        let age = now - usage.created_at;
        age > MAX_LIFETIME
            || self
                .enabled_at
                .is_some_and(|enabled_at| usage.created_at < enabled_at)
            || usage.misplaced_checkouts > self.threshold / 4 && age > MAX_MISPLACED_LIFETIME
    }
}

/// The home slots of a tenant: two different ones for three of four tenants, else the same one twice.
///
/// The tenants with two even out the queues of all slots. With two for each tenant, server processes would keep the
/// tables of a seventh more tenants.
pub(super) fn home_slots(tenant: u64, slots: usize) -> Option<[usize; 2]> {
    let slots = u64::try_from(slots).ok()?;
    let first = tenant.checked_rem(slots)?;
    let rest = tenant / slots;
    let distance = (rest / 4)
        .checked_rem(slots - 1)
        .filter(|_| !rest.is_multiple_of(4));
    let second = distance.map_or(first, |distance| (first + distance + 1) % slots);
    Some([usize::try_from(first).ok()?, usize::try_from(second).ok()?])
}
