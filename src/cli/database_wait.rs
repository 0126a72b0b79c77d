//! Wait for a database that is not up yet, as in a container that starts together with its database.

use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};

use super::database::unless_stopped;
use super::{CommandError, output};
use crate::admin::{AdminDatabase, AdminError};
use crate::config::{DatabaseSettings, WaitSettings};
use crate::error_chain;
use crate::server::StopSignals;
use crate::tenancy::DatabaseError;

/// Delay after the first failed connection.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// Maximum delay between two connections.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Waits until the configured database accepts a connection, and fails after `DATABASE_WAIT`. Other failures, such as
/// a wrong password, end the wait.
pub(super) async fn wait_for_database(
    wait: &WaitSettings,
    settings: &DatabaseSettings,
    signals: &StopSignals,
) -> Result<(), CommandError> {
    let Some(url) = settings.url() else {
        return Ok(()); // the embedded database is started by the command itself
    };
    let database = AdminDatabase::new(&url)?;
    let wait = wait.database_wait;
    let deadline = Instant::now() + wait;
    let backoff = ExponentialBuilder::default()
        .with_min_delay(INITIAL_BACKOFF)
        .with_max_delay(MAX_BACKOFF)
        .without_max_times();
    let mut is_reported = false;
    let connected = (|| database.require_sessions())
        .retry(backoff)
        .when(|error| is_temporary(error) && Instant::now() < deadline)
        .notify(|error, _| {
            if !is_reported {
                let cause = error_chain::messages(error).join(": ");
                output::status(&format!("waiting up to {wait:?} for the database: {cause}"));
            }
            is_reported = true;
        });
    let connected = Box::pin(async { Ok(connected.await.map_err(AdminError::from)?) });
    unless_stopped(signals, connected).await
}

/// Returns whether waiting may help: the database is not up, instead of rejecting the role, the password or its name.
fn is_temporary(error: &DatabaseError) -> bool {
    let is_rejected = error
        .sqlstate()
        .is_some_and(|code| code.starts_with("28") || code.starts_with("3D"));
    matches!(error, DatabaseError::Unavailable(_)) && !is_rejected
}
