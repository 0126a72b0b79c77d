//! The cursor: the opaque text by which a client asks for the next page.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Serialize, Serializer};

use super::Timestamp;

/// The time and the id of the last order of a page. It stays valid when orders are inserted or deleted, because
/// it names a position in the sort order and not a number of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub(super) Option<Timestamp>, pub(super) String);

/// A text that is not a cursor of this service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this service")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    /// JSON in base64url, which needs no escaping in a query (RFC 4648, section 5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(&(&self.0, &self.1)).map_err(|_| fmt::Error)?;
        f.write_str(&BASE64URL_NOPAD.encode(&json))
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let json = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| InvalidCursor)?;
        let (time, id): (_, String) = serde_json::from_slice(&json).map_err(|_| InvalidCursor)?;
        // PostgreSQL's text cannot contain a NUL, so no order has such an id.
        if id.contains('\0') {
            return Err(InvalidCursor);
        }
        Ok(Self(time, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cursors_round_trip(micros in proptest::option::of((0..=9, 0..1_000_000_u32)), id in "[^\0]*") {
            let time = |(day, micros)| Timestamp::parse_postgres(&format!("2024-02-1{day} 12:34:56.{micros:06}")).unwrap();
            let cursor = Cursor(micros.map(time), id);
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn truncated_cursors_are_refused(id in "[a-z0-9]{1,20}", cut in 1_usize..8) {
            let text = Cursor(None, id).to_string();
            prop_assert!(text[..text.len() - cut].parse::<Cursor>().is_err());
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            let _ = text.parse::<Cursor>();
        }
    }

    #[test]
    fn invalid_cursors_are_refused() {
        for json in [
            "",
            "null",
            "[]",
            "[null]",
            r#"["x","1"]"#,
            r#"[null,"a\u0000b"]"#,
            r#"[null,"1",2]"#,
            r#"["2024-01-01","1"]"#,
        ] {
            assert!(
                BASE64URL_NOPAD.encode(json.as_bytes()).parse::<Cursor>().is_err(),
                "{json}"
            );
        }
        for text in ["", "!", "===", "é"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
