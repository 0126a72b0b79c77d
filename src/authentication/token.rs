//! The claims of a token.

use serde::Serialize;
use serde_json::{Map, Value};

use super::key_set::shorten;
use super::unique_json::UniqueJson;
use crate::config::AuthenticationSettings;

/// The scope that grants access to the orders of every user.
const READ_ANY_ORDERS: &str = "orders:read:any";

/// The claims of a verified token (RFC 7519).
#[derive(Debug, Clone, Default)]
pub struct Claims {
    subject: Option<String>,
    /// The organization that the token is restricted to, if any.
    pub(crate) organization: Option<String>,
    can_read_any_orders: bool,
}

impl Claims {
    /// Reads the claims from the locations in the settings.
    pub(super) fn from_json(
        UniqueJson(claims): &UniqueJson,
        settings: &AuthenticationSettings,
    ) -> Result<Self, InvalidToken> {
        let subject = match claims.pointer(&settings.jwt_subject_claim) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            // A fraction or an exponent has several texts.
            Some(Value::Number(number)) if !number.is_f64() => Some(number.to_string()),
            Some(_) => return Err(InvalidToken::Malformed),
        };
        let organization = match claims.pointer(&settings.jwt_organization_claim) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err(InvalidToken::Malformed),
        };
        let mut can_read_any_orders = false;
        for name in ["scope", "scp"] {
            can_read_any_orders |= match claims.get(name) {
                None | Some(Value::Null) => false,
                Some(Value::String(text)) => text.split(' ').any(|scope| scope == READ_ANY_ORDERS),
                Some(Value::Array(list)) if list.iter().all(Value::is_string) => contains_scope(list),
                Some(_) => return Err(InvalidToken::Malformed),
            };
        }
        // Issuers use this name for other things too, which grant nothing.
        can_read_any_orders |=
            (claims.get("permissions").and_then(Value::as_array)).is_some_and(|list| contains_scope(list));
        Ok(Self {
            subject,
            organization,
            can_read_any_orders,
        })
    }

    /// Returns whether the token grants access to the orders of this user, in any organization.
    pub(crate) fn has_access_to(&self, user_id: &str) -> bool {
        self.can_read_any_orders || self.subject.as_deref() == Some(user_id)
    }
}

fn contains_scope(list: &[Value]) -> bool {
    list.iter().any(|scope| scope == READ_ANY_ORDERS)
}

/// Returns the key id and the issuer that a refused token claims to have, for the log.
pub(super) fn claimed_origin(token: &str) -> (Option<String>, Option<String>) {
    let header = jsonwebtoken::decode_header(token).ok();
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Map<String, Value>>(token).ok();
    let issuer = claims.as_ref().and_then(|claims| claims.get("iss")?.as_str());
    let key_id = header.as_ref().and_then(|header| header.kid.as_deref());
    (key_id.map(shorten), issuer.map(shorten))
}

/// The reason for which a token is refused. Its text is part of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    #[error("it is not a well-formed, signed JSON Web Token")]
    Malformed,
    #[error("it requires an extension (crit), and none is supported")]
    Critical,
    #[error("no trusted key matches its algorithm and key id")]
    NoKey,
    #[error("no trusted key verifies its signature")]
    Signature,
    #[error("it lacks a required claim (exp, iss or aud)")]
    LacksClaim,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("its issuer is not trusted")]
    Issuer,
    #[error("it is intended for another audience")]
    Audience,
}

impl From<jsonwebtoken::errors::Error> for InvalidToken {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        use jsonwebtoken::errors::ErrorKind;
        match error.kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::MissingRequiredClaim(_) => Self::LacksClaim,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYetValid,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            _ => Self::Malformed,
        }
    }
}

/// The claims of a new token.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct NewToken<'a> {
    /// User id, in the subject claim of the settings.
    #[serde(skip)]
    pub(crate) subject: &'a str,
    /// The organization that the token is restricted to, in the organization claim of the settings.
    #[serde(skip)]
    pub(crate) organization: Option<&'a str>,
    /// Time of issue, in seconds since 1970.
    pub(crate) iat: u64,
    /// Expiry, in seconds since 1970.
    pub(crate) exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aud: Option<&'a str>,
    /// Scopes, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<&'a str>,
}

impl NewToken<'_> {
    pub(super) fn to_claims(&self, settings: &AuthenticationSettings) -> serde_json::Result<Value> {
        let mut claims = serde_json::to_value(self)?;
        insert(&mut claims, &settings.jwt_subject_claim, self.subject);
        if let Some(organization) = self.organization {
            insert(&mut claims, &settings.jwt_organization_claim, organization);
        }
        Ok(claims)
    }
}

/// Inserts a text at a JSON pointer, with the objects around it.
fn insert(claims: &mut Value, pointer: &str, text: &str) {
    let mut place = claims;
    for name in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(object) = place else { return };
        let name = name.replace("~1", "/").replace("~0", "~");
        place = object.entry(name).or_insert(Value::Null);
    }
    *place = text.into();
}
