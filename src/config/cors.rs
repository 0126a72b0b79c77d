//! Which web pages may read answers.

use axum::http::{HeaderValue, Uri};
use clap::Args;

/// Which web pages may read answers.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Service")]
pub struct CorsSettings {
    /// Origins (scheme, host, port) whose web pages may read answers, separated by commas; * for all
    #[arg(long, env = "CORS_ALLOWED_ORIGINS", value_name = "ORIGINS", value_parser = allowed_origins)]
    pub cors_allowed_origins: Option<AllowedOrigins>,
}

/// Origins whose web pages may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// All there are.
    Any,
    /// These, written as browsers send them.
    Named(Vec<HeaderValue>),
}

/// `*`, or origins with commas in between. An empty text is none.
fn allowed_origins(text: &str) -> Result<AllowedOrigins, String> {
    match text.trim() {
        "*" => Ok(AllowedOrigins::Any),
        "" => Ok(AllowedOrigins::Named(Vec::new())),
        origins => {
            let origins = origins.split(',').map(|origin| origin_header(origin.trim()));
            Ok(AllowedOrigins::Named(origins.collect::<Result<_, _>>()?))
        }
    }
}

/// An origin (RFC 6454), which must be exactly what a browser sends: it is compared byte by byte.
fn origin_header(text: &str) -> Result<HeaderValue, String> {
    let written = || {
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
    match (written(), header) {
        (Some(written), Some(header)) if written == text => Ok(header),
        (Some(written), _) => Err(format!(
            "{text:?} is not how browsers write an origin; {written} is"
        )),
        (None, _) => Err(format!(
            "{text:?} is no origin; write https://shop.example.com, or * alone"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_as_browsers_write_them() {
        assert_eq!(allowed_origins("*"), Ok(AllowedOrigins::Any));
        assert_eq!(allowed_origins(""), Ok(AllowedOrigins::Named(Vec::new())));
        let origins = [
            "https://shop.example.com",
            "http://localhost:3000",
            "http://[::1]:8080",
        ];
        let named = origins.map(HeaderValue::from_static).to_vec();
        assert_eq!(
            allowed_origins(&origins.join(", ")),
            Ok(AllowedOrigins::Named(named))
        );
        for wrong in [
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
            assert!(allowed_origins(wrong).is_err(), "{wrong}");
        }
    }
}
