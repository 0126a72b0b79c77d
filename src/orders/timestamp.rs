//! A time without a time zone, as the databases have it.

use std::fmt;

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// A date and time in the years 1 to 9999, with microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(
    value_type = String,
    pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?$",
    example = "2026-01-31T09:30:00"
)]
#[serde(try_from = "String")]
pub struct Timestamp(DateTime);

/// A text that is not a time in the years 1 to 9999, such as `infinity` or a year BC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time in the years 1 to 9999")]
pub struct InvalidTimestamp(String);

impl Timestamp {
    /// Parses a `timestamp` as PostgreSQL writes it in the `ISO` style (manual, section 8.5.2).
    pub(super) fn parse_postgres(text: &str) -> Result<Self, InvalidTimestamp> {
        text.parse()
            .ok()
            .filter(|datetime: &DateTime| datetime.year() >= 1)
            .map(Self)
            .ok_or_else(|| InvalidTimestamp(text.to_owned()))
    }
}

impl fmt::Display for Timestamp {
    /// `YYYY-MM-DDTHH:MM:SS`, and six decimals if there is a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanosecond() == 0 {
            write!(f, "{}", self.0)
        } else {
            write!(f, "{:.6}", self.0)
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;

    /// Parses the form that [`Timestamp`] is written in, and no other.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match Self::parse_postgres(&text) {
            Ok(timestamp) if timestamp.to_string() == text => Ok(timestamp),
            _ => Err(InvalidTimestamp(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn postgresql_timestamps_are_parsed() {
        for (text, expected) in [
            ("2000-01-01 00:00:00", "2000-01-01T00:00:00"),
            ("2000-01-01 00:00:00.000001", "2000-01-01T00:00:00.000001"),
            ("2000-01-01 00:00:00.5", "2000-01-01T00:00:00.500000"),
            ("0001-01-01 00:00:00", "0001-01-01T00:00:00"),
            ("9999-12-31 23:59:59.999999", "9999-12-31T23:59:59.999999"),
        ] {
            assert_eq!(Timestamp::parse_postgres(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn infinities_and_far_years_are_refused() {
        for text in [
            "infinity",
            "-infinity",
            "0044-03-15 12:00:00 BC",
            "10000-01-01 00:00:00",
            "294276-12-31 23:59:59.999999",
            "",
        ] {
            assert!(Timestamp::parse_postgres(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn timestamps_round_trip(
            (year, month, day) in (1..=9999_i16, 1..=12_i8, 1..=28_i8),
            (hour, minute, second, micros) in (0..24_i8, 0..60_i8, 0..60_i8, 0..1_000_000),
        ) {
            let timestamp = Timestamp(jiff::civil::date(year, month, day).at(hour, minute, second, micros * 1000));
            prop_assert_eq!(Timestamp::try_from(timestamp.to_string()), Ok(timestamp));
        }
    }
}
