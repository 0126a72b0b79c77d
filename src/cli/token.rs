//! `token`: signs a token for testing.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::{CommandError, output};
use crate::authentication::{self, NewToken};
use crate::config::{AuthenticationSettings, parse_duration};

#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    /// User id of the token (claim sub)
    user: String,
    /// Lifetime of the token
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    expires_in: Duration,
    /// Scopes separated by spaces, such as orders:read:any
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// Organization that the token is limited to
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    #[command(flatten)]
    authentication: AuthenticationSettings,
}

/// Signs a token with the service's secret and prints it.
pub(super) fn token(arguments: &TokenArguments) -> Result<(), CommandError> {
    let settings = &arguments.authentication;
    let secret = settings.jwt_secret.as_ref().ok_or(CommandError::NoSecret)?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let token = NewToken {
        subject: &arguments.user,
        organization: arguments.organization.as_deref(),
        iat: now.as_secs(),
        exp: (now + arguments.expires_in).as_secs(),
        iss: settings.jwt_issuer.first().map(String::as_str),
        aud: settings.jwt_audience.first().map(String::as_str),
        scope: arguments.scope.as_deref(),
    };
    output::print(&(authentication::sign(&token, secret, settings)? + "\n"));
    Ok(())
}
