//! By which tokens requests are let in.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use secrecy::{ExposeSecret, SecretString};

/// By which tokens requests are let in. An empty variable counts as unset.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Authentication")]
pub struct AuthenticationSettings {
    /// The secret that tokens are signed with (HS256): a text of at least 32 bytes
    #[arg(long, env = "JWT_SECRET", hide_env_values = true, value_name = "TEXT")]
    pub jwt_secret: Option<SecretString>,

    /// The public keys that verify tokens: PEM (RSA for RS256, P-256 for ES256, Ed25519 for EdDSA) or a
    /// JSON Web Key Set. Read again when it changes
    #[arg(long, env = "JWT_PUBLIC_KEY_FILE", value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub jwt_public_key_file: Option<PathBuf>,

    /// The issuer that tokens must name (iss)
    #[arg(long, env = "JWT_ISSUER", value_name = "NAME")]
    pub jwt_issuer: Option<String>,

    /// The audience that tokens must be for (aud)
    #[arg(long, env = "JWT_AUDIENCE", value_name = "NAME")]
    pub jwt_audience: Option<String>,
}

impl AuthenticationSettings {
    /// The secret that tokens are signed with, where there is one.
    #[must_use]
    pub fn secret(&self) -> Option<&SecretString> {
        self.jwt_secret
            .as_ref()
            .filter(|secret| !secret.expose_secret().is_empty())
    }

    /// The file with the public keys that verify tokens, where there is one.
    #[must_use]
    pub fn public_key_file(&self) -> Option<&Path> {
        self.jwt_public_key_file
            .as_deref()
            .filter(|path| !path.as_os_str().is_empty())
    }

    /// The issuer that tokens must name, if any will not do.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.jwt_issuer.as_deref().filter(|issuer| !issuer.is_empty())
    }

    /// The audience that tokens must be for, where they are for one.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.jwt_audience
            .as_deref()
            .filter(|audience| !audience.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_do_not_show_their_secret() {
        let settings = AuthenticationSettings {
            jwt_secret: Some("hush-hush".into()),
            ..AuthenticationSettings::default()
        };
        assert!(!format!("{settings:?}").contains("hush"));
    }
}
