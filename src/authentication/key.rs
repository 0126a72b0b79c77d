//! Keys that verify tokens: secrets, and public keys in PEM. `key_set` parses JSON Web Key Sets.

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use pkcs1::RsaPublicKeyRef;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::SliceIter;
use spki::der::Decode;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::config::AuthenticationSettings;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The algorithms of all supported keys.
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::HS256,
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
];
/// Required by RFC 7518, section 3.3.
const MIN_RSA_BITS: usize = 2048;
/// Maximum of ring.
const MAX_RSA_BITS: usize = 8192;
/// Maximum exponent of ring, 33 bits.
const MAX_RSA_EXPONENT: u64 = (1 << 33) - 1;
/// An uncompressed point: a tag and two coordinates.
const P256_POINT_BYTES: usize = 65;
const ED25519_KEY_BYTES: usize = 32;
/// Tolerance for clocks that differ.
const LEEWAY_SECONDS: u64 = 60;

/// A key that verifies tokens. The key determines the algorithm, never the token.
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) material: DecodingKey,
}

/// The reason for which a key cannot verify tokens.
#[derive(Debug, thiserror::Error)]
pub enum UnusableKey {
    #[error("a parameter has the wrong type")]
    Malformed,
    #[error("it lacks the parameter {0}")]
    Lacks(&'static str),
    #[error("the parameter {0} is not base64url without padding")]
    Encoding(&'static str),
    #[error("it is damaged or compressed")]
    Damaged,
    #[error("it is a secret (kty oct); set JWT_SECRET to it instead")]
    Secret,
    #[error("it is neither RSA, nor P-256, nor Ed25519")]
    UnknownKind,
    #[error("it is an RSA key of {0} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are required")]
    RsaSize(usize),
    #[error("its use is not sig")]
    OtherUse,
    #[error("its key_ops lack verify")]
    OtherOperations,
    #[error("its algorithm is not {0}")]
    OtherAlgorithm(&'static str),
}

/// A file or response with public keys is unusable.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeyFile {
    #[error(
        "it contains a private key, which belongs to the issuer of tokens; \
         extract the public key with openssl pkey -in FILE -pubout"
    )]
    PrivateKey,
    #[error("it contains a certificate; extract its key with openssl x509 -in FILE -pubkey -noout")]
    Certificate,
    #[error(
        "it contains no key that verifies tokens; PEM with BEGIN PUBLIC KEY or a JSON Web Key Set is expected"
    )]
    NoKey,
    /// The text describes the skipped keys.
    #[error("it contains no usable key; {0}")]
    NoUsableKey(String),
    #[error("it is not a JSON Web Key Set (RFC 7517)")]
    NotAKeySet,
    #[error("it contains an unusable public key: {0}")]
    Key(#[from] UnusableKey),
}

impl Key {
    pub(super) fn from_secret(secret: &[u8]) -> Self {
        Self::new(Algorithm::HS256, DecodingKey::from_secret(secret))
    }

    /// Parses all keys of a PEM file.
    pub(super) fn parse_pem(file: &[u8]) -> Result<Vec<Self>, InvalidKeyFile> {
        let text = std::str::from_utf8(file).map_err(|_| InvalidKeyFile::NoKey)?;
        if text.contains("PRIVATE KEY-----") {
            return Err(InvalidKeyFile::PrivateKey);
        }
        if text.contains("BEGIN CERTIFICATE-----") {
            return Err(InvalidKeyFile::Certificate);
        }
        let keys = SliceIter::<SubjectPublicKeyInfoDer<'_>>::new(file)
            .map(|key| Self::from_public_key_info(&key.map_err(|_| UnusableKey::Damaged)?))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(InvalidKeyFile::NoKey);
        }
        Ok(keys)
    }

    /// Parses a `SubjectPublicKeyInfo` (RFC 5280), which PEM calls PUBLIC KEY.
    fn from_public_key_info(der: &[u8]) -> Result<Self, UnusableKey> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| UnusableKey::Damaged)?;
        let key = info.subject_public_key.as_bytes().ok_or(UnusableKey::Damaged)?;
        match (info.algorithm.oid, info.algorithm.parameters_oid().ok()) {
            (RSA, _) => {
                let key = RsaPublicKeyRef::from_der(key).map_err(|_| UnusableKey::Damaged)?;
                Self::rsa(key.modulus.as_bytes(), key.public_exponent.as_bytes())
            }
            (ELLIPTIC_CURVE, Some(P256)) => Self::p256(key),
            (ED25519, None) => Self::ed25519(key),
            _ => Err(UnusableKey::UnknownKind),
        }
    }

    /// Creates an RSA key that ring accepts. With any other key, every token would fail without an explanation.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, UnusableKey> {
        // RFC 7518, section 6.3.1.1, forbids leading zero bytes, which some issuers write nevertheless.
        let [modulus, exponent] = [modulus, exponent].map(without_leading_zeros);
        let leading_bits = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = modulus.len() * 8 - leading_bits;
        if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
            return Err(UnusableKey::RsaSize(bits));
        }
        let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
        let value = exponent.iter().try_fold(0_u64, |value, byte| {
            Some(value.checked_mul(256)? + u64::from(*byte))
        });
        let has_valid_exponent = value.is_some_and(|value| (3..=MAX_RSA_EXPONENT).contains(&value));
        if !is_odd(modulus) || !is_odd(exponent) || !has_valid_exponent {
            return Err(UnusableKey::Damaged);
        }
        let material = DecodingKey::from_rsa_raw_components(modulus, exponent);
        Ok(Self::new(Algorithm::RS256, material))
    }

    pub(super) fn p256(point: &[u8]) -> Result<Self, UnusableKey> {
        let point: &[u8; P256_POINT_BYTES] = point.try_into().map_err(|_| UnusableKey::Damaged)?;
        Ok(Self::new(Algorithm::ES256, DecodingKey::from_ec_der(point)))
    }

    pub(super) fn ed25519(key: &[u8]) -> Result<Self, UnusableKey> {
        let key: &[u8; ED25519_KEY_BYTES] = key.try_into().map_err(|_| UnusableKey::Damaged)?;
        Ok(Self::new(Algorithm::EdDSA, DecodingKey::from_ed_der(key)))
    }

    fn new(algorithm: Algorithm, material: DecodingKey) -> Self {
        Self {
            id: None,
            algorithm,
            material,
        }
    }

    /// Returns whether the key can have signed a token with this header. If either has no id, the signature
    /// decides.
    pub(super) fn is_candidate_for(&self, header: &Header) -> bool {
        let has_same_id = match (&self.id, &header.kid) {
            (Some(id), Some(requested)) => id == requested,
            _ => true,
        };
        has_same_id && self.algorithm == header.alg
    }
}

/// Returns the requirements for tokens, by the algorithm of the key that verifies them.
pub(super) fn build_validations(settings: &AuthenticationSettings) -> HashMap<Algorithm, Validation> {
    let validation = |algorithm| {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        if !settings.jwt_issuer.is_empty() {
            validation.set_issuer(&settings.jwt_issuer);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if !settings.jwt_audience.is_empty() {
            validation.set_audience(&settings.jwt_audience);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        (algorithm, validation)
    };
    ALGORITHMS.map(validation).into()
}

fn without_leading_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}
