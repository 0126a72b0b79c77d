//! TLS as libpq uses it (PostgreSQL manual, section 34.19): `prefer` and `allow` leave the choice to the server.

use rustls::CertificateError;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};

/// An error that needs an explanation.
#[derive(Debug, thiserror::Error)]
#[error("{hint}")]
struct RefusedCertificate {
    hint: &'static str,
    #[source]
    error: sqlx::Error,
}

/// Opens a connection. If the server refuses the encryption that `sslmode` tries first, and the mode allows
/// both, it tries the other one.
pub(super) async fn open(options: PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let error = match options.connect().await {
        Ok(connection) => return Ok(connection),
        Err(error) => error,
    };
    let other_mode = match options.get_ssl_mode() {
        PgSslMode::Prefer if is_tls_failure(&error) || is_refused(&error) => PgSslMode::Disable,
        PgSslMode::Allow if is_refused(&error) => PgSslMode::Require,
        _ => return Err(add_hint(error)),
    };
    match options.ssl_mode(other_mode).connect().await {
        Err(second_error) if is_refused(&second_error) => Err(add_hint(error)),
        Err(second_error) => Err(add_hint(second_error)),
        Ok(connection) => Ok(connection),
    }
}

/// Returns whether the server's rules (`pg_hba.conf`) refuse the connection (`invalid_authorization_specification`).
fn is_refused(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.and_then(sqlx::error::DatabaseError::code).as_deref() == Some("28000")
}

fn is_tls_failure(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Tls(_)) || rustls_error(error).is_some()
}

fn rustls_error(error: &sqlx::Error) -> Option<&rustls::Error> {
    match error {
        sqlx::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Adds a hint to the errors of certificates that libpq accepts, or that people create by mistake.
fn add_hint(error: sqlx::Error) -> sqlx::Error {
    match rustls_error(&error).and_then(hint) {
        Some(hint) => sqlx::Error::Tls(Box::new(RefusedCertificate { hint, error })),
        None => error,
    }
}

fn hint(error: &rustls::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(error) = error else {
        return None;
    };
    Some(match error {
        // Of another authority with the same name, the signature is wrong.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no trusted authority has signed the server's certificate; set sslrootcert in DATABASE_URL to the file \
             with the authority's certificate"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is for another name; it needs the host of DATABASE_URL as \
             subjectAltName (a common name is not compared), or use sslmode=verify-ca, which compares no names"
        }
        // Errors of the crate webpki, which rustls passes on without a variant of its own.
        CertificateError::Other(error) => match error.to_string().as_str() {
            "CaUsedAsEndEntity" => {
                "the server's certificate signs itself and is marked as an authority's (CA:TRUE); create it with \
                 basicConstraints=CA:FALSE, or have an authority sign it"
            }
            "UnsupportedCertVersion" => {
                "the server's certificate is X.509 version 1; create a certificate of version 3, or use \
                 sslmode=disable in a network that you trust"
            }
            _ => return None,
        },
        _ => return None,
    })
}
