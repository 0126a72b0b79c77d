//! A connection in use, and its way back.

#![expect(
    clippy::disallowed_types,
    reason = "what stands before the pool, inside its room"
)]

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, Pool, Postgres};
use tokio::time::Instant;

use super::parking::Parking;

/// A connection that rested longer is tried before it is used: the server may have gone meanwhile.
const TRUSTED_REST: Duration = Duration::from_secs(1);

/// Room for one connection, and the one that is parked there, if any.
pub(super) struct Place {
    pub(super) number: usize,
    pub(super) parked: Option<Parked>,
    pub(super) wear: Wear,
}

/// What the server's process at the other end of a connection has been through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wear {
    pub(super) since: Instant,
    /// How often it served a tenant that has another home.
    pub(super) strangers: usize,
}

/// A connection of the pool, and how long it has been there.
pub(super) struct Parked {
    connection: PoolConnection<Postgres>,
    pub(super) since: Instant,
    /// Whether its last user's transaction is still open, for the next one to end.
    in_transaction: bool,
}

/// A place in use, and its connection. Dropped in any other way than by [`Checkout::park`] or
/// [`Checkout::hand_over`] it closes the connection, and the place is free for a new one.
pub(super) struct Checkout {
    /// Taken out only by what ends the checkout.
    place: Option<Place>,
    parking: Arc<Parking>,
}

impl Wear {
    pub(super) fn none() -> Self {
        Self {
            since: Instant::now(),
            strangers: 0,
        }
    }
}

impl Checkout {
    pub(super) fn new(place: Place, parking: Arc<Parking>) -> Self {
        Self {
            place: Some(place),
            parking,
        }
    }

    pub(super) fn into_place(mut self) -> Option<Place> {
        self.place.take()
    }

    /// Makes sure that there is a connection: tries one that has rested long, takes one of the pool's where
    /// there is none. Cancel-safe: a connection that is being tried is closed.
    pub(super) async fn connect(&mut self, pool: &Pool<Postgres>) -> Result<(), sqlx::Error> {
        let Some(place) = &mut self.place else {
            return Ok(());
        };
        if let Some(parked) = &mut place.parked {
            if parked.since.elapsed() <= TRUSTED_REST || parked.connection.ping().await.is_ok() {
                return Ok(());
            }
            parked.close_on_drop();
        }
        // Seldom done, and large: boxed, it does not make every request's future as large.
        place.parked = None;
        let connection = Box::pin(pool.acquire()).await?;
        place.parked = Some(Parked {
            connection,
            since: Instant::now(),
            in_transaction: false,
        });
        place.wear = Wear::none();
        Ok(())
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connected().connection
    }

    /// Whether the last user's transaction is still open: it is the caller's to end, from now on.
    pub(super) fn take_open_transaction(&mut self) -> bool {
        std::mem::take(&mut self.connected().in_transaction)
    }

    #[expect(clippy::expect_used, reason = "a checkout is connected before it is used")]
    fn connected(&mut self) -> &mut Parked {
        let parked = self.place.as_mut().and_then(|place| place.parked.as_mut());
        parked.expect("a checkout has a connection")
    }

    /// Gives a connection whose transaction is still open to whoever waits for one. Back where nobody does, or
    /// where it is worn out.
    pub(super) fn hand_over(mut self) -> Result<(), Self> {
        if let Some(mut place) = self.place.take() {
            if let Some(parked) = &mut place.parked {
                parked.since = Instant::now();
                parked.in_transaction = true;
            }
            self.place = self.parking.hand_over(place);
        }
        if self.place.is_none() { Ok(()) } else { Err(self) }
    }

    /// Parks a connection that is known to be well, and outside any transaction.
    pub(super) fn park(mut self) {
        let Some(mut place) = self.place.take() else {
            return;
        };
        if let Some(parked) = &mut place.parked {
            parked.since = Instant::now();
            parked.in_transaction = false;
        }
        self.parking.release(place);
    }

    /// Closes the connection when the checkout is dropped, whatever is done with it until then.
    pub(super) fn close_on_drop(&mut self) {
        if let Some(parked) = self.place.as_mut().and_then(|place| place.parked.as_mut()) {
            parked.close_on_drop();
        }
    }
}

impl Parked {
    /// Closes the connection when it is dropped, rather than to give it back to the pool.
    pub(super) fn close_on_drop(&mut self) {
        self.connection.close_on_drop();
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        self.close_on_drop();
        if let Some(mut place) = self.place.take() {
            place.parked = None;
            self.parking.release(place);
        }
    }
}
