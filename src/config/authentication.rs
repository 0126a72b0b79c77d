//! Authentication by tokens.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::defaults::parse_defaults;

/// Keys and claims that authenticate a request. Without a key, requests are not authenticated.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Authentication")]
pub struct AuthenticationSettings {
    /// Secret that signs and verifies tokens (HS256), at least 32 bytes
    #[arg(long, env, hide_env_values = true, value_name = "TEXT")]
    pub jwt_secret: Option<SecretString>,

    /// File with the public keys that verify tokens: PEM (RSA for RS256, P-256 for ES256, Ed25519 for EdDSA)
    /// or a JSON Web Key Set. Reloaded when it changes
    #[arg(long, env, value_name = "FILE")]
    pub jwt_public_key_file: Option<PathBuf>,

    /// URL of the issuer's JSON Web Key Set (https, or http on this machine). Fetched again every 5 minutes,
    /// and for an unknown key id
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub jwt_jwks_url: Option<String>,

    /// Comma-separated accepted issuers of tokens (iss)
    #[arg(long, env, value_name = "NAMES", value_delimiter = ',', value_parser = parse_name)]
    pub jwt_issuer: Vec<String>,

    /// Comma-separated accepted audiences of tokens (aud); a token needs one of them
    #[arg(long, env, value_name = "NAMES", value_delimiter = ',', value_parser = parse_name)]
    pub jwt_audience: Vec<String>,

    /// JSON pointer (RFC 6901) to the claim with the user id, such as /https:~1~1example.com~1user
    #[arg(long, env, value_name = "POINTER", default_value = "/sub", value_parser = parse_pointer)]
    pub jwt_subject_claim: String,

    /// JSON pointer to the claim with the organization that the token is restricted to
    #[arg(long, env, value_name = "POINTER", default_value = "/organization_id", value_parser = parse_pointer)]
    pub jwt_organization_claim: String,
}

impl Default for AuthenticationSettings {
    fn default() -> Self {
        parse_defaults()
    }
}

/// Parses an item of a list.
fn parse_name(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("a comma-separated list without empty items is expected"),
        name => Ok(name.to_owned()),
    }
}

/// Parses a JSON pointer to a claim. The pointer to the whole token ("") is not one.
fn parse_pointer(text: &str) -> Result<String, &'static str> {
    let has_valid_escapes = || text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && has_valid_escapes() {
        Ok(text.to_owned())
    } else {
        Err("a JSON pointer is expected, such as /sub; in a name, write ~1 for / and ~0 for ~")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_omits_the_secret() {
        let settings = AuthenticationSettings {
            jwt_secret: Some("hush-hush".into()),
            ..AuthenticationSettings::default()
        };
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn claim_locations_are_json_pointers() {
        for valid in ["/sub", "/a/0/b", "/https:~1~1example.com~1org", "/~0", "/"] {
            assert_eq!(parse_pointer(valid).as_deref(), Ok(valid));
        }
        for invalid in ["", "sub", "$.sub", "/a~", "/a~2b", " /sub"] {
            assert!(parse_pointer(invalid).is_err(), "{invalid}");
        }
    }
}
