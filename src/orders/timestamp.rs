//! A time without a time zone, as the databases have it.

use std::fmt;

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// The form of a time, with `0` for each digit.
const FORM: [u8; 26] = *b"0000-00-00T00:00:00.000000";

/// A date and time in the years 1 to 9999, with microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(
    value_type = String,
    pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?$",
    example = "2026-01-31T09:30:00"
)]
#[serde(try_from = "String")]
pub struct Timestamp([u8; FORM.len()]);

/// A text that is not a time in the years 1 to 9999, such as `infinity` or a year BC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time in the years 1 to 9999")]
pub struct InvalidTimestamp(String);

impl Timestamp {
    /// Parses a `timestamp` as PostgreSQL writes it in the `ISO` style (manual, section 8.5.2). It has to exist in the
    /// calendar, as every time that PostgreSQL writes.
    pub(super) fn parse_postgres(text: &str) -> Result<Self, InvalidTimestamp> {
        let mut time = FORM;
        let has_length = matches!(text.len(), 19 | 21..=26);
        let has_form = text.bytes().zip(&mut time).all(|(byte, place)| match *place {
            b'0' => {
                *place = byte;
                byte.is_ascii_digit()
            }
            b'T' => byte == b' ' || byte == b'T',
            separator => byte == separator,
        });
        if has_length && has_form && !text.starts_with("0000") {
            Ok(Self(time))
        } else {
            Err(InvalidTimestamp(text.to_owned()))
        }
    }

    /// `YYYY-MM-DDTHH:MM:SS`, and six decimals if there is a fraction.
    fn as_str(&self) -> &str {
        let text = self.0.strip_suffix(b".000000").unwrap_or(&self.0);
        str::from_utf8(text).unwrap_or_default() // it is ASCII
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;

    /// Parses the form that [`Timestamp`] is written in, and no other.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match Self::parse_postgres(&text) {
            Ok(timestamp) if timestamp.as_str() == text && text.parse::<DateTime>().is_ok() => Ok(timestamp),
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
            "2000-01-01",
            "2000-01-01 00:00:00.",
            "2000-01-01 00:00:00.0000001",
            "2000-01-01 00:00:0x",
            "2000-01-01 00:00:00+0",
        ] {
            assert!(Timestamp::parse_postgres(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_outside_the_calendar_are_refused_in_cursors() {
        for text in [
            "2023-02-29T00:00:00",
            "2000-01-01T24:00:00",
            "2000-13-01T00:00:00",
            "2000-01-01 00:00:00",
        ] {
            assert!(Timestamp::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn timestamps_round_trip(
            (year, month, day) in (1..=9999_i16, 1..=12_i8, 1..=28_i8),
            (hour, minute, second, micros) in (0..24_i8, 0..60_i8, 0..60_i8, 0..1_000_000),
        ) {
            let datetime = jiff::civil::date(year, month, day).at(hour, minute, second, micros * 1000);
            let timestamp = Timestamp::parse_postgres(&datetime.to_string()).unwrap();
            prop_assert_eq!(timestamp.to_string().parse::<DateTime>().unwrap(), datetime);
            prop_assert_eq!(Timestamp::try_from(timestamp.to_string()), Ok(timestamp));
        }
    }
}
