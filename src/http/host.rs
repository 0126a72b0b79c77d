//! The header `Host` (RFC 9112, section 3.2). Proxies and caches could interpret a missing or repeated one
//! differently.

use axum::extract::Request;
use axum::http::Version;
use axum::http::header::HOST;
use axum::http::uri::Authority;

use super::problem::Problem;

/// Refuses a request without exactly one valid `Host`. HTTP/1.0 does not require the header.
pub(super) fn check(request: &Request) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => {
            Err(Problem::bad_request("The header Host is required."))
        }
        (Some(_), Some(_)) => Err(Problem::bad_request("The header Host must not be repeated.")),
        (Some(host), None) if !is_valid(host.as_bytes()) => Err(Problem::bad_request(
            "The header Host must be a host name or an address, with an optional port.",
        )),
        _ => Ok(()),
    }
}

/// Returns true for an empty value too, which the standard permits.
fn is_valid(host: &[u8]) -> bool {
    host.is_empty() || (!host.contains(&b'@') && Authority::try_from(host).is_ok())
}
