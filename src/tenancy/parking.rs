//! Connections between two uses: handed on as they are, without asking the server each time how they are.

#![expect(
    clippy::disallowed_types,
    reason = "what stands before the pool, inside its room"
)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A connection that rested longer is tried before it is used: the server may have gone meanwhile.
const TRUSTED_REST: Duration = Duration::from_secs(1);
/// A connection that rested longer is given back to the pool, which closes it in time.
const LONGEST_REST: Duration = Duration::from_mins(1);
/// A connection that is older is given back to the pool, which closes it: a server's process grows
/// with all that it has ever looked at.
const LONGEST_LIFE: Duration = Duration::from_mins(30);

/// Holds the pool's connections while nobody uses them.
///
/// The pool itself tries each connection when it comes back and when it is lent again. What comes back
/// here is known to be well, and a request takes two connections one after the other.
pub(super) struct Parking {
    places: Arc<Semaphore>,
    /// The last in is the first out, so that some rest long enough to be given back.
    parked: Mutex<Vec<Parked>>,
}

/// A connection in use, and its place among those that there may be.
pub(super) struct Checkout {
    pub(super) connection: PoolConnection<Postgres>,
    born: Instant,
    permit: OwnedSemaphorePermit,
}

struct Parked {
    connection: PoolConnection<Postgres>,
    born: Instant,
    since: Instant,
}

impl Parking {
    pub(super) fn new(places: u32) -> Self {
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            parked: Mutex::default(),
        }
    }

    /// Waits for a place, and takes the connection that was parked last, or one of the pool's.
    /// Cancel-safe: a connection that is being tried goes to the pool, which tries it again.
    pub(super) async fn take(&self, pool: &sqlx::Pool<Postgres>) -> Result<Checkout, sqlx::Error> {
        let permit = Arc::clone(&self.places).acquire_owned().await;
        let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        while let Some(mut parked) = self.pop() {
            if parked.since.elapsed() > TRUSTED_REST && parked.connection.ping().await.is_err() {
                parked.connection.close_on_drop();
                continue;
            }
            return Ok(Checkout {
                connection: parked.connection,
                born: parked.born,
                permit,
            });
        }
        Ok(Checkout {
            // Seldom done, and large: boxed, it does not make every request's future as large.
            connection: Box::pin(pool.acquire()).await?,
            born: Instant::now(),
            permit,
        })
    }

    /// Parks a connection that is known to be well.
    pub(super) fn park(&self, checkout: Checkout) {
        let Checkout {
            connection,
            born,
            permit,
        } = checkout;
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if born.elapsed() < LONGEST_LIFE && !self.places.is_closed() {
            let since = Instant::now();
            parked.push(Parked {
                connection,
                born,
                since,
            });
            if parked
                .first()
                .is_some_and(|first| first.since.elapsed() > LONGEST_REST)
            {
                parked.remove(0);
            }
        }
        drop(parked);
        drop(permit);
    }

    /// Gives everything back to the pool, and takes nothing more.
    pub(super) fn close(&self) {
        self.places.close();
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many connections wait to be used.
    pub(super) fn parked(&self) -> usize {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn pop(&self) -> Option<Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}
