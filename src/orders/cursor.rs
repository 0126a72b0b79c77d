//! Where a page ends: the opaque text that asks for the next one.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The last order of a page, by what orders are sorted by. It survives inserts and deletes, since
/// it names a place in the order and not a count of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(pub(super) Option<Timestamp>, pub(super) String);

/// A text that no page gave out as its cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that an answer gave")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    /// JSON in base64url, so that it needs no escaping in a query (RFC 4648, section 5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        f.write_str(&BASE64URL_NOPAD.encode(&json))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let json = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| InvalidCursor)?;
        let cursor: Self = serde_json::from_slice(&json).map_err(|_| InvalidCursor)?;
        // PostgreSQL's text holds no NUL, so no order's id does.
        if cursor.1.contains('\0') {
            return Err(InvalidCursor);
        }
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_back(micros in proptest::option::of(0..252_455_616_000_000_000_i64), id in "[^\0]*") {
            let cursor = Cursor(micros.map(|micros| Timestamp::from_postgres(micros).unwrap()), id);
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn a_cursor_cut_short_is_refused(id in "[a-z0-9]{1,20}", cut in 1_usize..8) {
            let text = Cursor(None, id).to_string();
            prop_assert!(text[..text.len() - cut].parse::<Cursor>().is_err());
        }

        #[test]
        fn any_text_is_a_cursor_or_refused(text in any::<String>()) {
            let _ = text.parse::<Cursor>();
        }
    }

    #[test]
    fn broken_cursors_are_refused() {
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
