//! Cross-origin access (CORS).

use axum::http::HeaderValue;
use clap::Args;
use reqwest::Url;
use tower_http::cors::AllowOrigin;

/// Cross-origin access (CORS).
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Service")]
pub struct CorsSettings {
    /// Comma-separated origins (scheme, host, port) whose web pages may read responses; * for all
    #[arg(long, env, value_name = "ORIGINS", value_parser = parse_origins)]
    pub cors_allowed_origins: Option<AllowOrigin>,
}

fn parse_origins(text: &str) -> Result<AllowOrigin, String> {
    match text.trim() {
        "*" => Ok(AllowOrigin::any()),
        "" => Ok(AllowOrigin::list([])),
        origins => {
            let origins = origins.split(',').map(|origin| parse_origin(origin.trim()));
            Ok(AllowOrigin::list(origins.collect::<Result<Vec<_>, _>>()?))
        }
    }
}

/// Parses an origin (RFC 6454). It must be exactly as browsers send it because it is compared byte by byte.
fn parse_origin(text: &str) -> Result<HeaderValue, String> {
    let normalize = || {
        let url = Url::parse(text).ok()?;
        let host = url.host_str().filter(|host| !host.contains('*'))?;
        // `port` leaves out the default port of the scheme.
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}://{host}{port}", url.scheme()).to_lowercase())
    };
    let header = HeaderValue::from_str(text).ok();
    match (normalize(), header) {
        (Some(normal), Some(header)) if normal == text => Ok(header),
        (Some(normal), _) => Err(format!(
            "{text:?} is not in the form that browsers send; write {normal}"
        )),
        (None, _) => Err(format!(
            "{text:?} is not an origin; write https://shop.example.com, or * alone"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_must_be_as_browsers_send_them() {
        let assert_parsed = |text, expected: AllowOrigin| {
            let parsed = parse_origins(text).unwrap();
            assert_eq!(format!("{parsed:?}"), format!("{expected:?}"));
        };
        assert_parsed("*", AllowOrigin::any());
        assert_parsed("", AllowOrigin::list([]));
        let origins = [
            "https://shop.example.com",
            "http://localhost:3000",
            "http://[::1]:8080",
        ];
        let named = origins.map(HeaderValue::from_static);
        assert_parsed(&origins.join(", "), AllowOrigin::list(named));
        for invalid in [
            "shop.example.com",
            "https://shop.example.com/",
            "https://shop.example.com/page",
            "https://shop.example.com?x",
            "https://Shop.example.com",
            "https://shop.example.com:443",
            "https://me:hush@shop.example.com",
            "https://shop.example.com,",
            "https://shop.example.com,*",
            "https://*.example.com",
            "null",
        ] {
            assert!(parse_origins(invalid).is_err(), "{invalid}");
        }
    }
}
