//! A point in time without a time zone, as the databases keep it.

use std::fmt;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// PostgreSQL counts microseconds from here (manual, section 8.5.1).
const EPOCH: DateTime = date(2000, 1, 1).at(0, 0, 0, 0);

/// A date and time from the years 1 to 9999, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    value_type = String,
    pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?$",
    example = "2026-01-31T09:30:00"
)]
#[serde(into = "String", try_from = "String")]
pub struct Timestamp(DateTime);

/// A timestamp is no date that can be written `YYYY-MM-DDTHH:MM:SS`: an infinity, BC, past 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no timestamp from the years 1 to 9999")]
pub struct InvalidTimestamp(String);

impl Timestamp {
    /// Takes what PostgreSQL's binary format holds: microseconds since 2000-01-01.
    ///
    /// # Errors
    ///
    /// [`InvalidTimestamp`] outside the years 1 to 9999.
    pub fn from_postgres(microseconds: i64) -> Result<Self, InvalidTimestamp> {
        EPOCH
            .checked_add(SignedDuration::from_micros(microseconds))
            .ok()
            .and_then(Self::checked)
            .ok_or_else(|| InvalidTimestamp(format!("{microseconds} µs from 2000-01-01")))
    }

    fn checked(datetime: DateTime) -> Option<Self> {
        (datetime.year() >= 1).then_some(Self(datetime))
    }
}

impl fmt::Display for Timestamp {
    /// `YYYY-MM-DDTHH:MM:SS`, and six decimals where there is a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanosecond() == 0 {
            write!(f, "{}", self.0)
        } else {
            write!(f, "{:.6}", self.0)
        }
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_string()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
            .ok()
            .and_then(Self::checked)
            .filter(|timestamp| timestamp.to_string() == text)
            .ok_or(InvalidTimestamp(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn microseconds_since_2000_become_a_date() {
        for (microseconds, expected) in [
            (0, "2000-01-01T00:00:00"),
            (1, "2000-01-01T00:00:00.000001"),
            (500_000, "2000-01-01T00:00:00.500000"),
            (-1, "1999-12-31T23:59:59.999999"),
            (252_455_615_999_999_999, "9999-12-31T23:59:59.999999"),
        ] {
            assert_eq!(
                Timestamp::from_postgres(microseconds).unwrap().to_string(),
                expected
            );
        }
    }

    #[test]
    fn infinities_and_far_years_are_refused() {
        for microseconds in [
            i64::MAX,
            i64::MIN,
            252_455_616_000_000_000,
            -63_082_281_600_000_001,
        ] {
            assert!(Timestamp::from_postgres(microseconds).is_err(), "{microseconds}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(microseconds in -63_082_281_600_000_000..252_455_616_000_000_000_i64) {
            let timestamp = Timestamp::from_postgres(microseconds).unwrap();
            prop_assert_eq!(Timestamp::try_from(timestamp.to_string()), Ok(timestamp));
        }
    }
}
