//! A private key as aws-lc keeps it: parsed once, checked, ready to sign.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Algorithm, KeyError};

/// A key of one of the kinds that sign here.
pub(super) enum KeyPair {
    Rsa(RsaKeyPair),
    Ec(&'static Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Shared(Box<hmac::Key>),
}

/// A curve of RFC 7518 section 6.2.1.1, with the one algorithm that goes with it.
pub(super) struct Curve {
    pub(super) name: &'static str,
    /// Octets of a coordinate, and of the private key.
    pub(super) size: usize,
    pub(super) signing: &'static EcdsaSigningAlgorithm,
}

pub(super) static P256: Curve = Curve { name: "P-256", size: 32, signing: &ECDSA_P256_SHA256_FIXED_SIGNING };
pub(super) static P384: Curve = Curve { name: "P-384", size: 48, signing: &ECDSA_P384_SHA384_FIXED_SIGNING };

/// The public half of a key.
pub(super) struct PublicKey {
    /// The members that RFC 7638 section 3.2 counts, and no others.
    pub(super) jwk: Value,
    /// RFC 7638, with SHA-256.
    pub(super) thumbprint: String,
}

impl KeyPair {
    /// What the key signs with, the usual one first; and both sides of the sentence for one that does not fit.
    pub(super) fn algorithms(&self) -> (&'static [Algorithm], &'static str, &'static str) {
        match self {
            Self::Rsa(_) => (&[Algorithm::RS256, Algorithm::PS256], "RSA", "RS256 or PS256"),
            Self::Ec(curve, _) if curve.size == P256.size => (&[Algorithm::ES256], "EC on P-256", "ES256"),
            Self::Ec(..) => (&[Algorithm::ES384], "EC on P-384", "ES384"),
            Self::Ed25519(_) => (&[Algorithm::EdDSA], "Ed25519", "EdDSA"),
            Self::Shared(_) => (&[Algorithm::HS256], "a shared secret", "HS256"),
        }
    }

    /// The signature in the form that a JWS carries. The algorithm is one of [`KeyPair::algorithms`].
    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_unspecified| KeyError::Signing;
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let padding: &'static dyn RsaEncoding =
                    if algorithm == Algorithm::PS256 { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Self::Ec(_, pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Self::Ed25519(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
            Self::Shared(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }

    /// The public half; a shared secret has none.
    pub(super) fn public(&self) -> Option<PublicKey> {
        let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(pair) => {
                let public: PublicKeyComponents<Vec<u8>> = pair.public_key().into();
                Some(PublicKey::new(&[("e", &base64(&public.e)), ("kty", "RSA"), ("n", &base64(&public.n))]))
            }
            Self::Ec(curve, pair) => {
                // An uncompressed point: a 4, then x and y.
                let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(curve.size)?;
                Some(PublicKey::new(&[("crv", curve.name), ("kty", "EC"), ("x", &base64(x)), ("y", &base64(y))]))
            }
            Self::Ed25519(pair) => {
                let x = base64(pair.public_key().as_ref());
                Some(PublicKey::new(&[("crv", "Ed25519"), ("kty", "OKP"), ("x", &x)]))
            }
            Self::Shared(_) => None,
        }
    }
}

impl PublicKey {
    /// From the required members of a key, in the order of their names (RFC 7638 section 3.3). None of their values has
    /// a character that JSON would escape.
    fn new(members: &[(&str, &str)]) -> Self {
        let text: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        let canonical = format!("{{{}}}", text.join(","));
        let jwk: Map<_, _> = members.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        Self { jwk: Value::Object(jwk), thumbprint: URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes())) }
    }
}
