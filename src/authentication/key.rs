//! Keys that verify tokens: secrets, PEM and JSON Web Key Sets.

use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use pkcs1::RsaPublicKeyRef;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::SliceIter;
use spki::der::Decode;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Required by RFC 7518, section 3.3.
const MIN_RSA_BITS: usize = 2048;

/// A key that verifies tokens. The key determines the algorithm, never the token.
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) material: DecodingKey,
}

/// A file of public keys is unusable.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeyFile {
    /// It contains a private key, which only the issuer of tokens may have.
    #[error(
        "it contains a private key, which belongs to the issuer of tokens; \
         extract the public key with openssl pkey -in FILE -pubout"
    )]
    PrivateKey,
    /// It contains a symmetric key.
    #[error("it contains a secret (kty oct); set JWT_SECRET to it instead")]
    Secret,
    /// It contains a certificate.
    #[error("it contains a certificate; extract its key with openssl x509 -in FILE -pubkey -noout")]
    Certificate,
    /// It is in neither form, or has no key that verifies signatures.
    #[error(
        "it contains no key that verifies tokens; PEM with BEGIN PUBLIC KEY or a JSON Web Key Set is expected"
    )]
    NoKey,
    /// It begins as JSON but is not a JSON Web Key Set.
    #[error("it is not a JSON Web Key Set (RFC 7517)")]
    NotAKeySet,
    /// It contains a key that cannot be parsed.
    #[error("it contains a public key that is damaged or compressed")]
    Damaged,
    /// It contains a key of an unsupported type.
    #[error("it contains a public key that is neither RSA, nor P-256, nor Ed25519")]
    UnknownKind,
    /// It contains an RSA key that is too short to be safe.
    #[error("it contains an RSA key of {0} bits; at least {MIN_RSA_BITS} are required")]
    ShortRsaKey(usize),
}

impl Key {
    pub(super) fn from_secret(secret: &[u8]) -> Self {
        Self {
            id: None,
            algorithm: Algorithm::HS256,
            material: DecodingKey::from_secret(secret),
        }
    }

    /// Parses all keys of a file, which is a JSON Web Key Set or PEM.
    pub(super) fn parse_file(file: &[u8]) -> Result<Vec<Self>, InvalidKeyFile> {
        let keys = if file.trim_ascii_start().starts_with(b"{") {
            Self::parse_key_set(file)?
        } else {
            Self::parse_pem(file)?
        };
        if keys.is_empty() {
            return Err(InvalidKeyFile::NoKey);
        }
        Ok(keys)
    }

    fn parse_pem(file: &[u8]) -> Result<Vec<Self>, InvalidKeyFile> {
        let text = std::str::from_utf8(file).map_err(|_| InvalidKeyFile::NoKey)?;
        if text.contains("PRIVATE KEY-----") {
            return Err(InvalidKeyFile::PrivateKey);
        }
        if text.contains("BEGIN CERTIFICATE-----") {
            return Err(InvalidKeyFile::Certificate);
        }
        SliceIter::<SubjectPublicKeyInfoDer<'_>>::new(file)
            .map(|key| Self::from_public_key_info(&key.map_err(|_| InvalidKeyFile::Damaged)?))
            .collect()
    }

    /// Parses a `SubjectPublicKeyInfo` (RFC 5280), which PEM calls PUBLIC KEY.
    fn from_public_key_info(der: &[u8]) -> Result<Self, InvalidKeyFile> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| InvalidKeyFile::Damaged)?;
        let key = info
            .subject_public_key
            .as_bytes()
            .ok_or(InvalidKeyFile::Damaged)?;
        let (algorithm, material) = match (info.algorithm.oid, info.algorithm.parameters_oid().ok()) {
            (RSA, _) => {
                let key = RsaPublicKeyRef::from_der(key).map_err(|_| InvalidKeyFile::Damaged)?;
                let (modulus, exponent) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
                let material = DecodingKey::from_rsa_raw_components(modulus, exponent);
                (Algorithm::RS256, material)
            }
            (ELLIPTIC_CURVE, Some(P256)) => (Algorithm::ES256, DecodingKey::from_ec_der(key)),
            (ED25519, None) => (Algorithm::EdDSA, DecodingKey::from_ed_der(key)),
            _ => return Err(InvalidKeyFile::UnknownKind),
        };
        Self::new_public(None, algorithm, material)
    }

    /// Parses a JSON Web Key Set. Keys for other purposes and of other types, which issuers publish in the same
    /// set, are skipped.
    fn parse_key_set(file: &[u8]) -> Result<Vec<Self>, InvalidKeyFile> {
        let set: serde_json::Value = serde_json::from_slice(file).map_err(|_| InvalidKeyFile::NotAKeySet)?;
        let keys = set.get("keys").and_then(|keys| keys.as_array());
        let mut usable = Vec::new();
        for key in keys.ok_or(InvalidKeyFile::NotAKeySet)? {
            if key.get("d").is_some() {
                return Err(InvalidKeyFile::PrivateKey);
            }
            if key.get("kty").is_some_and(|kind| kind == "oct") {
                return Err(InvalidKeyFile::Secret);
            }
            let key: Jwk = serde::Deserialize::deserialize(key).map_err(|_| InvalidKeyFile::Damaged)?;
            usable.extend(Self::from_jwk(&key)?);
        }
        Ok(usable)
    }

    fn from_jwk(key: &Jwk) -> Result<Option<Self>, InvalidKeyFile> {
        let (algorithm, name) = match &key.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            _ => return Ok(None),
        };
        let common = &key.common;
        let is_for_signatures = common
            .public_key_use
            .as_ref()
            .is_none_or(|usage| *usage == PublicKeyUse::Signature);
        if !is_for_signatures || common.key_algorithm.is_some_and(|other| other != name) {
            return Ok(None);
        }
        let material = DecodingKey::from_jwk(key).map_err(|_| InvalidKeyFile::Damaged)?;
        Self::new_public(common.key_id.clone(), algorithm, material).map(Some)
    }

    /// Creates a key of the right size. With any other size, every token would fail without an explanation.
    fn new_public(
        id: Option<String>,
        algorithm: Algorithm,
        material: DecodingKey,
    ) -> Result<Self, InvalidKeyFile> {
        match material.kind() {
            RsaModulusExponent { n, .. } => require_rsa_bits(n)?,
            SecretOrDer(point) => {
                let bytes = if algorithm == Algorithm::EdDSA { 32 } else { 65 };
                if point.len() != bytes {
                    return Err(InvalidKeyFile::Damaged);
                }
            }
        }
        Ok(Self {
            id,
            algorithm,
            material,
        })
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

/// Counts the bits of a modulus without leading zero bytes (RFC 7518, section 6.3.1.1).
fn require_rsa_bits(modulus: &[u8]) -> Result<(), InvalidKeyFile> {
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - leading;
    if bits < MIN_RSA_BITS {
        return Err(InvalidKeyFile::ShortRsaKey(bits));
    }
    Ok(())
}
