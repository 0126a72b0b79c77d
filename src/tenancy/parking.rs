//! Who gets which connection next: each tenant its own where that can be.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::SchemaName;
use super::checkout::{Checkout, Parked, Place};

/// A connection that rested longer is given back to the pool, which closes it in time.
const LONGEST_REST: Duration = Duration::from_mins(1);
/// A place that is in use for longer is held up: those who wait for it take any other.
const HELD_UP: Duration = Duration::from_millis(20);

/// Holds the pool's connections while nobody uses them, each in a place of its own.
///
/// The pool itself tries each connection when it comes back and when it is lent again. What comes back
/// here is known to be well.
///
/// Where there are more tenants than a connection keeps statements for, each has a home among the places, and
/// waits for it: so a process of the server plans, and keeps in memory, the statements of its share of the
/// tenants and not of all. It takes any other place where its home is held up, or where it asks for more
/// than one place at a time.
pub(super) struct Parking {
    places: usize,
    /// So many tenants are at home everywhere.
    few_tenants: usize,
    state: Mutex<State>,
}

/// How much is parked and in use.
pub(super) struct Occupancy {
    pub(super) parked: usize,
    pub(super) in_use: usize,
    pub(super) waiting: usize,
}

struct State {
    /// The tenants that were seen, until there are more than a few.
    tenants: HashSet<u64>,
    /// In the order in which they became free. The last is taken first, so that some connections rest long
    /// enough to be given back.
    free: Vec<Place>,
    /// When each place was taken last.
    taken: Vec<Instant>,
    /// The first in is the first out, of those whom a place suits.
    waiting: VecDeque<Waiter>,
    closed: bool,
}

struct Waiter {
    /// A number for whom the place is for, where that is known.
    tenant: Option<u64>,
    /// The place to wait for; none where any will do.
    home: Option<usize>,
    hand: oneshot::Sender<Checkout>,
}

impl Parking {
    /// Room for so many connections, each of which keeps the statements of a few tenants.
    pub(super) fn new(places: u32, few_tenants: usize) -> Self {
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        let free = (0..places).rev().map(|number| Place { number, parked: None });
        Self {
            places,
            few_tenants,
            state: Mutex::new(State {
                tenants: HashSet::new(),
                free: free.collect(),
                taken: vec![Instant::now(); places],
                waiting: VecDeque::new(),
                closed: false,
            }),
        }
    }

    /// Waits for a place, `tenant`'s home where that is known. None where there will be none any more.
    /// Cancel-safe.
    pub(super) async fn take(self: &Arc<Self>, tenant: Option<&SchemaName>) -> Option<Checkout> {
        let tenant =
            tenant.map(|tenant| BuildHasherDefault::<DefaultHasher>::default().hash_one(tenant.as_str()));
        let mut handed = {
            let mut state = self.state();
            if state.closed {
                return None;
            }
            let home = tenant
                .filter(|tenant| state.are_many(*tenant, self.few_tenants) && !state.has_waiting(*tenant))
                .and_then(|tenant| self.home(tenant));
            if let Some(place) = state.take_free(home) {
                return Some(Checkout::new(place, Arc::clone(self)));
            }
            let (hand, handed) = oneshot::channel();
            state.waiting.push_back(Waiter { tenant, home, hand });
            handed
        };
        let mut patience = HELD_UP;
        loop {
            match tokio::time::timeout(patience, &mut handed).await {
                Ok(handed) => return handed.ok(),
                Err(_) => self.look_again(),
            }
            patience *= 2;
        }
    }

    fn home(&self, tenant: u64) -> Option<usize> {
        let home = tenant.checked_rem(u64::try_from(self.places).ok()?)?;
        usize::try_from(home).ok()
    }

    /// Gives free places to those whose home is held up by now.
    fn look_again(self: &Arc<Self>) {
        let free = std::mem::take(&mut self.state().free);
        for place in free {
            self.release(place);
        }
    }

    /// Gives the place to whoever waits for one; back where nobody does.
    pub(super) fn hand_over(self: &Arc<Self>, mut place: Place) -> Option<Place> {
        loop {
            let Some(waiter) = self.state().next_waiter(place.number) else {
                return Some(place);
            };
            let checkout = Checkout::new(place, Arc::clone(self));
            match waiter.hand.send(checkout) {
                Ok(()) => return None,
                Err(checkout) => place = checkout.into_place()?, // they had given up
            }
        }
    }

    /// Gives the place to whoever waits for one, or leaves it free.
    pub(super) fn release(self: &Arc<Self>, mut place: Place) {
        while let Some(back) = self.hand_over(place) {
            let mut state = self.state();
            if state.next_index(back.number).is_none() {
                let surplus = state.put(back);
                drop(state);
                drop(surplus);
                return;
            }
            place = back; // somebody came meanwhile
        }
    }

    /// Gives everything back to the pool, and takes nothing more.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let given_back = (
            std::mem::take(&mut state.free),
            std::mem::take(&mut state.waiting),
        );
        drop(state);
        drop(given_back);
    }

    /// How many connections are parked, places are in use, and requests wait for one.
    pub(super) fn occupancy(&self) -> Occupancy {
        let state = self.state();
        Occupancy {
            parked: state.free.iter().filter(|place| place.parked.is_some()).count(),
            in_use: self.places - state.free.len(),
            waiting: state
                .waiting
                .iter()
                .filter(|waiter| !waiter.hand.is_closed())
                .count(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether more than a few tenants were seen, this one among them.
    fn are_many(&mut self, tenant: u64, few: usize) -> bool {
        if self.tenants.len() <= few {
            self.tenants.insert(tenant);
        }
        self.tenants.len() > few
    }

    fn has_waiting(&self, tenant: u64) -> bool {
        self.waiting.iter().any(|waiter| waiter.tenant == Some(tenant))
    }

    fn take_free(&mut self, home: Option<usize>) -> Option<Place> {
        let at_home = self.free.iter().position(|place| Some(place.number) == home);
        let place = match at_home {
            Some(index) => self.free.remove(index),
            None if self.is_in_vain(home) => self.free.pop()?,
            None => return None,
        };
        self.mark_taken(place.number);
        Some(place)
    }

    fn next_waiter(&mut self, place: usize) -> Option<Waiter> {
        let index = self.next_index(place)?;
        self.mark_taken(place);
        self.waiting.remove(index)
    }

    /// Who is to get `place`: the first whose home it is, or who waits in vain for another.
    fn next_index(&self, place: usize) -> Option<usize> {
        let suits = |waiter: &Waiter| waiter.home == Some(place) || self.is_in_vain(waiter.home);
        self.waiting.iter().position(suits)
    }

    /// Whether it makes no sense to wait for `home`: there is none, or it is held up.
    fn is_in_vain(&self, home: Option<usize>) -> bool {
        let taken = home.and_then(|home| self.taken.get(home));
        taken.is_none_or(|taken| taken.elapsed() > HELD_UP)
    }

    fn mark_taken(&mut self, place: usize) {
        if let Some(taken) = self.taken.get_mut(place) {
            *taken = Instant::now();
        }
    }

    /// Leaves `place` free, and returns a connection that has rested too long, if there is one.
    fn put(&mut self, place: Place) -> Option<Parked> {
        if self.closed {
            return place.parked;
        }
        self.free.push(place);
        let oldest = self.free.iter_mut().find(|place| place.parked.is_some())?;
        let parked = &mut oldest.parked;
        parked.take_if(|parked| parked.since.elapsed() > LONGEST_REST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> SchemaName {
        SchemaName::parse(name).unwrap()
    }

    fn parking(places: u32) -> Arc<Parking> {
        Arc::new(Parking::new(places, 0))
    }

    async fn take(parking: &Arc<Parking>, name: &str) -> Checkout {
        parking.take(Some(&tenant(name))).await.unwrap()
    }

    fn waits(parking: &Arc<Parking>, name: &'static str) -> tokio::task::JoinHandle<Option<usize>> {
        let parking = Arc::clone(parking);
        tokio::spawn(async move { Some(parking.take(Some(&tenant(name))).await?.into_place()?.number) })
    }

    /// Two tenants with the same home, and that home.
    async fn neighbours(parking: &Arc<Parking>) -> (&'static str, &'static str, usize) {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut homes: Vec<(&str, usize)> = Vec::new();
        for name in names {
            let checkout = take(parking, name).await;
            let home = checkout.into_place().unwrap();
            let number = home.number;
            parking.release(home);
            if let Some(&(other, _)) = homes.iter().find(|(_, home)| *home == number) {
                return (other, name, number);
            }
            homes.push((name, number));
        }
        panic!("more tenants than places, and no two share one")
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_waits_for_its_home_while_others_are_free() {
        let parking = parking(4);
        let (one, other, home) = neighbours(&parking).await;
        let taken = take(&parking, one).await;
        let waiting = waits(&parking, other);
        tokio::time::sleep(HELD_UP / 2).await;
        assert!(!waiting.is_finished());
        drop(taken);
        assert_eq!(waiting.await.unwrap(), Some(home));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_tenants_take_any_place_until_there_are_more() {
        let (one, other, home) = neighbours(&parking(2)).await;
        let parking = Arc::new(Parking::new(2, 2));
        let start = Instant::now();
        let first = take(&parking, one).await;
        drop(take(&parking, other).await);
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(first);
        drop(take(&parking, "one more").await);
        let first = take(&parking, one).await;
        let waiting = waits(&parking, other);
        tokio::time::sleep(HELD_UP / 2).await;
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!(waiting.await.unwrap(), Some(home));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_whose_home_is_held_up_takes_any_other() {
        let parking = parking(4);
        let (one, other, home) = neighbours(&parking).await;
        let _held = take(&parking, one).await;
        let place = waits(&parking, other).await.unwrap();
        assert!(place.is_some_and(|place| place != home));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_asks_much_takes_more_than_its_home() {
        let parking = parking(4);
        let home = take(&parking, "a").await;
        let second = waits(&parking, "a");
        tokio::task::yield_now().await;
        let third = waits(&parking, "a").await.unwrap();
        assert!(!second.is_finished());
        let home = home.into_place().unwrap();
        assert_ne!(third, Some(home.number));
        parking.release(home);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_up_waiting_is_passed_over() {
        let parking = parking(1);
        let taken = take(&parking, "a").await;
        let gone = waits(&parking, "b");
        tokio::task::yield_now().await;
        let next = waits(&parking, "c");
        tokio::task::yield_now().await;
        gone.abort();
        assert!(gone.await.is_err());
        assert!(taken.hand_over().is_ok());
        assert_eq!(next.await.unwrap(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_checkout_that_is_dropped_frees_its_place() {
        let parking = parking(1);
        for _ in 0..3 {
            drop(take(&parking, "a").await);
        }
        let taken = take(&parking, "a").await;
        let waiting = waits(&parking, "b");
        tokio::task::yield_now().await;
        drop(taken);
        assert_eq!(waiting.await.unwrap(), Some(0));
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_closed() {
        let parking = parking(1);
        let taken = take(&parking, "a").await;
        let waiting = waits(&parking, "b");
        tokio::task::yield_now().await;
        parking.close();
        assert_eq!(waiting.await.unwrap(), None);
        drop(taken);
        assert!(parking.take(None).await.is_none());
    }
}
