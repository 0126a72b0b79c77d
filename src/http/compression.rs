//! Compression of responses, for clients that accept it.

use axum::http::header::ACCEPT_ENCODING;
use axum::http::{HeaderMap, HeaderValue};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

/// Minimum size of a compressed response. Smaller ones, such as most problems, fit into one packet anyway.
const MIN_COMPRESSED_BYTES: u64 = 1024;

pub(super) fn layer() -> CompressionLayer<SizeAbove> {
    // Level 1: the higher ones take a multiple of the time.
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES))
}

/// Reduces `Accept-Encoding` to the only supported coding, gzip. The layer would refuse a client that accepts
/// neither gzip nor an uncompressed response; the service sends an uncompressed one.
pub(super) fn normalize(headers: &mut HeaderMap) {
    let accepts_gzip = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|codings| codings.to_str().ok())
        .flat_map(|codings| codings.split(','))
        .any(is_gzip);
    if accepts_gzip {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    } else {
        headers.remove(ACCEPT_ENCODING);
    }
}

/// Returns true for `gzip` unless its weight is zero (RFC 9110, section 12.5.3).
fn is_gzip(coding: &str) -> bool {
    let mut parts = coding.split(';').map(str::trim);
    let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
    is_gzip
        && !parts
            .filter_map(|parameter| parameter.strip_prefix("q="))
            .any(|weight| weight.trim_matches(['0', '.']).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_accepted_unless_its_weight_is_zero() {
        for (accepted, expected) in [
            ("gzip", Some("gzip")),
            ("br, GZIP;q=0.5, identity;q=0", Some("gzip")),
            ("gzip;q=0.000", None),
            ("br;q=1.0, identity;q=0", None),
            ("*;q=0", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            normalize(&mut headers);
            let normalized = headers.get(ACCEPT_ENCODING).map(|value| value.to_str().unwrap());
            assert_eq!(normalized, expected, "{accepted}");
        }
    }
}
