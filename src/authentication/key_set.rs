//! JSON Web Key Sets (RFC 7517), as issuers publish them.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::Value;

use super::key::{InvalidKeyFile, Key, UnusableKey};

const UTF8_BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Maximum number of skipped keys that a log line or an error describes.
const MAX_DESCRIBED_KEYS: usize = 10;
/// Maximum length of text of others in the log.
const MAX_LOGGED_CHARS: usize = 64;

/// Parses a file, which is a JSON Web Key Set or PEM.
pub(super) fn parse_file(file: &[u8]) -> Result<Vec<Key>, InvalidKeyFile> {
    let file = file.strip_prefix(UTF8_BYTE_ORDER_MARK).unwrap_or(file);
    if file.trim_ascii_start().starts_with(b"{") {
        parse("JWT_PUBLIC_KEY_FILE", file)
    } else {
        Key::parse_pem(file)
    }
}

/// Parses the JSON Web Key Set of `setting`. Issuers publish keys for other purposes and of other types in the same
/// set. These keys are skipped and logged. A private key makes the whole set unusable, because it has been disclosed.
pub(super) fn parse(setting: &str, json: &[u8]) -> Result<Vec<Key>, InvalidKeyFile> {
    let json = json.strip_prefix(UTF8_BYTE_ORDER_MARK).unwrap_or(json);
    let set: Value = serde_json::from_slice(json).map_err(|_| InvalidKeyFile::NotAKeySet)?;
    let members = set.get("keys").and_then(Value::as_array);
    let (mut keys, mut skipped) = (Vec::new(), Vec::new());
    for member in members.ok_or(InvalidKeyFile::NotAKeySet)? {
        if member.get("d").is_some() {
            return Err(InvalidKeyFile::PrivateKey);
        }
        match parse_member(member) {
            Ok(key) => keys.push(key),
            Err(reason) => skipped.push(match member.get("kid").and_then(Value::as_str) {
                Some(id) => format!("key {:?}: {reason}", shorten(id)),
                None => format!("key without kid: {reason}"),
            }),
        }
    }
    match (keys.is_empty(), summarize(skipped)) {
        (true, None) => Err(InvalidKeyFile::NoKey),
        (true, Some(skipped)) => Err(InvalidKeyFile::NoUsableKey(skipped)),
        (false, None) => Ok(keys),
        (false, Some(skipped)) => {
            tracing::warn!("{setting} contains keys that cannot verify tokens; {skipped}");
            Ok(keys)
        }
    }
}

/// A member of a key set. The parameters for other types of keys are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn parse_member(member: &Value) -> Result<Key, UnusableKey> {
    let jwk = Jwk::deserialize(member).map_err(|_| UnusableKey::Malformed)?;
    if jwk.usage.as_ref().is_some_and(|usage| usage != "sig") {
        return Err(UnusableKey::OtherUse);
    }
    if (jwk.key_ops.as_ref()).is_some_and(|operations| !operations.iter().any(|name| name == "verify")) {
        return Err(UnusableKey::OtherOperations);
    }
    let require_algorithm = |name| match &jwk.alg {
        Some(alg) if alg != name => Err(UnusableKey::OtherAlgorithm(name)),
        _ => Ok(()),
    };
    let key = match (jwk.kty.as_deref(), jwk.crv.as_deref()) {
        (None, _) => return Err(UnusableKey::Lacks("kty")),
        (Some("oct"), _) => return Err(UnusableKey::Secret),
        (Some("RSA"), _) => {
            require_algorithm("RS256")?;
            Key::rsa(&decode("n", jwk.n.as_ref())?, &decode("e", jwk.e.as_ref())?)?
        }
        (Some("EC"), Some("P-256")) => {
            require_algorithm("ES256")?;
            let (x, y) = (decode("x", jwk.x.as_ref())?, decode("y", jwk.y.as_ref())?);
            // The key is of the right size too if a byte of one coordinate is missing from the other.
            if x.len() != y.len() {
                return Err(UnusableKey::Damaged);
            }
            Key::p256(&[&[UNCOMPRESSED], x.as_slice(), &y].concat())?
        }
        (Some("OKP"), Some("Ed25519")) => {
            require_algorithm("EdDSA")?;
            Key::ed25519(&decode("x", jwk.x.as_ref())?)?
        }
        _ => return Err(UnusableKey::UnknownKind),
    };
    Ok(Key { id: jwk.kid, ..key })
}

/// Tag of a point with both coordinates (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

fn decode(name: &'static str, value: Option<&String>) -> Result<Vec<u8>, UnusableKey> {
    let value = value.ok_or(UnusableKey::Lacks(name))?;
    (BASE64URL_NOPAD.decode(value.as_bytes())).map_err(|_| UnusableKey::Encoding(name))
}

/// Summarizes the descriptions of skipped keys.
fn summarize(mut skipped: Vec<String>) -> Option<String> {
    let count = skipped.len();
    if let Some(more @ 1..) = count.checked_sub(MAX_DESCRIBED_KEYS) {
        skipped.truncate(MAX_DESCRIBED_KEYS);
        skipped.push(format!("and {more} more"));
    }
    (count > 0).then(|| format!("skipped {count}: {}", skipped.join("; ")))
}

/// Returns the beginning of a text that others wrote, short enough for the log.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(MAX_LOGGED_CHARS).collect()
}
