//! Who gets which connection next: each tenant its own where that can be.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::SchemaName;
use super::checkout::{Checkout, Parked, Place, Wear};

/// A connection that rested longer is given back to the pool, which closes it in time.
const LONGEST_REST: Duration = Duration::from_mins(1);
/// A place that is in use for longer is held up: those who wait for it take any other.
const HELD_UP: Duration = Duration::from_millis(20);
/// So many of a tenant wait for its home. More of them take any place. Two now and then meet by chance.
const MOST_AT_HOME: usize = 2;
/// A connection that is older is closed: a server's process grows with all that it has ever looked at.
const LONGEST_LIFE: Duration = Duration::from_mins(30);
/// A connection that is older is closed where it has served many tenants that are at home elsewhere.
const LONGEST_LIFE_AMONG_STRANGERS: Duration = Duration::from_mins(1);

/// Holds the pool's connections while nobody uses them, each in a place of its own.
///
/// The pool itself tries each connection when it comes back and when it is lent again. What comes back
/// here is known to be well.
///
/// Where there are more tenants than a connection keeps statements for, each has a home among the places, and
/// waits for it: so a process of the server plans, and keeps in memory, the statements of its share of the
/// tenants and not of all. It takes any other place where its home is held up, or where some of its own wait
/// there already.
///
/// What a process of the server has kept of other tenants it keeps until it ends. So a connection is closed
/// that was made before there were that many tenants, or that served too many which are at home elsewhere.
pub(super) struct Parking {
    state: Mutex<State>,
}

/// How much is parked and in use.
pub(super) struct Occupancy {
    pub(super) parked: usize,
    pub(super) in_use: usize,
    pub(super) waiting: usize,
}

struct State {
    /// So many tenants are at home everywhere.
    few_tenants: usize,
    /// The tenants that were seen, until there are more than a few.
    tenants: HashSet<u64>,
    /// Since when there are more than a few.
    many_since: Option<Instant>,
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
        let free = (0..places).rev().map(|number| Place {
            number,
            parked: None,
            wear: Wear::none(),
        });
        Self {
            state: Mutex::new(State {
                few_tenants,
                tenants: HashSet::new(),
                many_since: None,
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
                .filter(|tenant| state.are_many(*tenant) && state.waiting_of(*tenant) < MOST_AT_HOME)
                .and_then(|tenant| state.home(tenant));
            if let Some(place) = state.take_free(tenant, home) {
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

    /// Gives free places to those whose home is held up by now.
    fn look_again(self: &Arc<Self>) {
        let free = std::mem::take(&mut self.state().free);
        for place in free {
            self.release(place);
        }
    }

    /// Gives the place to whoever waits for one; back where nobody does, or where its connection is worn out.
    pub(super) fn hand_over(self: &Arc<Self>, place: Place) -> Option<Place> {
        if self.state().is_worn_out(place.wear) {
            return Some(place);
        }
        self.give(place)
    }

    fn give(self: &Arc<Self>, mut place: Place) -> Option<Place> {
        loop {
            let Some(waiter) = self.state().next_waiter(&mut place) else {
                return Some(place);
            };
            let checkout = Checkout::new(place, Arc::clone(self));
            match waiter.hand.send(checkout) {
                Ok(()) => return None,
                Err(checkout) => place = checkout.into_place()?, // they had given up
            }
        }
    }

    /// Gives the place to whoever waits for one, or leaves it free; without its connection where that is worn
    /// out.
    pub(super) fn release(self: &Arc<Self>, mut place: Place) {
        let is_worn_out = self.state().is_worn_out(place.wear);
        if is_worn_out {
            place.wear = Wear::none();
            if let Some(mut parked) = place.parked.take() {
                parked.close_on_drop();
            }
        }
        while let Some(back) = self.give(place) {
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
            in_use: state.taken.len() - state.free.len(),
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
    fn are_many(&mut self, tenant: u64) -> bool {
        if self.many_since.is_none() {
            self.tenants.insert(tenant);
            if self.tenants.len() > self.few_tenants {
                self.tenants = HashSet::new();
                self.many_since = Some(Instant::now());
            }
        }
        self.many_since.is_some()
    }

    fn home(&self, tenant: u64) -> Option<usize> {
        let home = tenant.checked_rem(u64::try_from(self.taken.len()).ok()?)?;
        usize::try_from(home).ok()
    }

    /// Whether a process of the server has looked at more than it should keep.
    fn is_worn_out(&self, wear: Wear) -> bool {
        let age = wear.since.elapsed();
        age > LONGEST_LIFE
            || self.many_since.is_some_and(|since| wear.since < since)
            || wear.strangers > self.few_tenants / 4 && age > LONGEST_LIFE_AMONG_STRANGERS
    }

    fn waiting_of(&self, tenant: u64) -> usize {
        let of_tenant = |waiter: &&Waiter| waiter.tenant == Some(tenant);
        self.waiting.iter().filter(of_tenant).count()
    }

    fn take_free(&mut self, tenant: Option<u64>, home: Option<usize>) -> Option<Place> {
        let at_home = self.free.iter().position(|place| Some(place.number) == home);
        let mut place = match at_home {
            Some(index) => self.free.remove(index),
            None if self.is_in_vain(home) => self.free.pop()?,
            None => return None,
        };
        self.mark_taken(&mut place, tenant);
        Some(place)
    }

    fn next_waiter(&mut self, place: &mut Place) -> Option<Waiter> {
        let waiter = self.waiting.remove(self.next_index(place.number)?)?;
        self.mark_taken(place, waiter.tenant);
        Some(waiter)
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

    fn mark_taken(&mut self, place: &mut Place, tenant: Option<u64>) {
        if let Some(taken) = self.taken.get_mut(place.number) {
            *taken = Instant::now();
        }
        let home = tenant.and_then(|tenant| self.home(tenant));
        if self.many_since.is_some() && home.is_some_and(|home| home != place.number) {
            place.wear.strangers += 1;
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

    /// The wear of a place that is taken for `name`, which is released.
    async fn wear(parking: &Arc<Parking>, name: &str) -> Wear {
        let place = take(parking, name).await.into_place().unwrap();
        let wear = place.wear;
        parking.release(place);
        wear
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_made_among_few_tenants_is_replaced_when_there_are_more() {
        let parking = Arc::new(Parking::new(1, 1));
        let start = Instant::now();
        tokio::time::sleep(HELD_UP).await;
        assert_eq!(wear(&parking, "a").await.since, start);
        assert_eq!(wear(&parking, "a").await.since, start);
        assert_eq!(wear(&parking, "b").await.since, start);
        assert_eq!(wear(&parking, "a").await.since, start + HELD_UP);
    }

    #[tokio::test(start_paused = true)]
    async fn what_served_too_many_strangers_is_replaced_when_its_time_has_come() {
        let (one, other, _) = neighbours(&parking(2)).await;
        let parking = Arc::new(Parking::new(2, 4));
        for name in ["1", "2", "3", "4", "5"] {
            drop(take(&parking, name).await);
        }
        let _held_up = take(&parking, one).await;
        for strangers in 1..=3 {
            assert_eq!(wear(&parking, other).await.strangers, strangers);
        }
        tokio::time::sleep(LONGEST_LIFE_AMONG_STRANGERS).await;
        assert_eq!(wear(&parking, other).await.strangers, 4);
        assert_eq!(wear(&parking, other).await.strangers, 1);
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
        let mut at_home = Vec::new();
        for _ in 0..MOST_AT_HOME {
            at_home.push(waits(&parking, "a"));
            tokio::task::yield_now().await;
        }
        let elsewhere = waits(&parking, "a").await.unwrap();
        assert!(at_home.iter().all(|waiting| !waiting.is_finished()));
        let home = home.into_place().unwrap();
        assert_ne!(elsewhere, Some(home.number));
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
