//! Authentication by tokens.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

/// Keys and claims that authenticate a request. Without a key, requests are not authenticated.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Authentication")]
pub struct AuthenticationSettings {
    /// Secret that signs and verifies tokens (HS256), at least 32 bytes
    #[arg(long, env = "JWT_SECRET", hide_env_values = true, value_name = "TEXT")]
    pub jwt_secret: Option<SecretString>,

    /// File with the public keys that verify tokens: PEM (RSA for RS256, P-256 for ES256, Ed25519 for EdDSA)
    /// or a JSON Web Key Set. Reloaded when it changes
    #[arg(long, env = "JWT_PUBLIC_KEY_FILE", value_name = "FILE")]
    pub jwt_public_key_file: Option<PathBuf>,

    /// Required issuer of tokens (iss)
    #[arg(long, env = "JWT_ISSUER", value_name = "NAME")]
    pub jwt_issuer: Option<String>,

    /// Required audience of tokens (aud)
    #[arg(long, env = "JWT_AUDIENCE", value_name = "NAME")]
    pub jwt_audience: Option<String>,
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
}
