//! Cross-origin access (CORS).

use axum::http::{HeaderValue, Uri};
use clap::Args;

/// Cross-origin access (CORS).
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Service")]
pub struct CorsSettings {
    /// Comma-separated origins (scheme, host, port) whose web pages may read responses; * for all
    #[arg(long, env = "CORS_ALLOWED_ORIGINS", value_name = "ORIGINS", value_parser = parse_origins)]
    pub cors_allowed_origins: Option<AllowedOrigins>,
}

/// The origins whose web pages may read responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// All origins.
    Any,
    /// Origins as browsers send them.
    Named(Vec<HeaderValue>),
}

fn parse_origins(text: &str) -> Result<AllowedOrigins, String> {
    match text.trim() {
        "*" => Ok(AllowedOrigins::Any),
        "" => Ok(AllowedOrigins::Named(Vec::new())),
        origins => {
            let origins = origins.split(',').map(|origin| parse_origin(origin.trim()));
            Ok(AllowedOrigins::Named(origins.collect::<Result<_, _>>()?))
        }
    }
}

/// Parses an origin (RFC 6454). It must be exactly as browsers send it because it is compared byte by byte.
fn parse_origin(text: &str) -> Result<HeaderValue, String> {
    let normalize = || {
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?;
        let host = uri.host().filter(|host| !host.contains('*'))?;
        let default_port = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = uri.port_u16().filter(|port| Some(*port) != default_port);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{scheme}://{host}{port}").to_lowercase())
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
        assert_eq!(parse_origins("*"), Ok(AllowedOrigins::Any));
        assert_eq!(parse_origins(""), Ok(AllowedOrigins::Named(Vec::new())));
        let origins = [
            "https://shop.example.com",
            "http://localhost:3000",
            "http://[::1]:8080",
        ];
        let named = origins.map(HeaderValue::from_static).to_vec();
        assert_eq!(
            parse_origins(&origins.join(", ")),
            Ok(AllowedOrigins::Named(named))
        );
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
