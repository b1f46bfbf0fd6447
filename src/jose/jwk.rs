//! Private keys as JWK (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

use std::borrow::Cow;

use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::pair::{Curve, KeyPair, P256, P384};
use super::{KeyError, pem};

/// A private key, and what its JWK says of it.
pub(super) struct Jwk<'a> {
    pub(super) pair: KeyPair,
    pub(super) key_id: Option<Cow<'a, str>>,
    /// The member `alg`, whatever it is.
    pub(super) algorithm: Option<&'a str>,
}

/// The members that matter. They borrow from the text, so that no copy of the key remains; base64url needs no escapes.
#[derive(Deserialize)]
struct Members<'a> {
    kty: Option<&'a str>,
    #[serde(rename = "use")]
    usage: Option<&'a str>,
    alg: Option<&'a str>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    crv: Option<&'a str>,
    x: Option<&'a str>,
    y: Option<&'a str>,
    d: Option<&'a str>,
    n: Option<&'a str>,
    e: Option<&'a str>,
    p: Option<&'a str>,
    q: Option<&'a str>,
    dp: Option<&'a str>,
    dq: Option<&'a str>,
    qi: Option<&'a str>,
    /// RSA with more than two primes.
    oth: Option<IgnoredAny>,
    /// A set of keys (RFC 7517 section 5).
    keys: Option<IgnoredAny>,
}

/// Reads one private key.
pub(super) fn read(text: &str) -> Result<Jwk<'_>, KeyError> {
    // serde_json's own sentence may quote a member.
    let members: Members<'_> = serde_json::from_str(text)
        .map_err(|error| KeyError::DamagedJwk { line: error.line(), column: error.column() })?;
    let pair = match members.kty {
        _ if members.keys.is_some() => return Err(KeyError::JwkSet),
        _ if members.usage.is_some_and(|usage| usage != "sig") => return Err(KeyError::NotForSigning),
        Some("oct") => return Err(KeyError::SharedSecret),
        Some("RSA" | "EC" | "OKP") if members.d.is_none() => return Err(KeyError::PublicOnly),
        Some("RSA") => rsa(&members)?,
        Some("EC") => ec(&members)?,
        Some("OKP") => ed25519(&members)?,
        Some(_) => return Err(KeyError::Unsupported),
        None => return Err(KeyError::JwkMember("kty")),
    };
    Ok(Jwk { pair, key_id: members.kid, algorithm: members.alg })
}

/// RFC 7518 section 6.3. The factors may be left out there; without them a key signs several times slower, and nobody
/// does.
fn rsa(members: &Members<'_>) -> Result<KeyPair, KeyError> {
    if members.oth.is_some() {
        return Err(KeyError::Unsupported);
    }
    // Some write the zero that DER puts before a number; aws-lc refuses it in the public ones.
    let (modulus, exponent) = (bytes("n", members.n)?, bytes("e", members.e)?);
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n: without_zeros(&modulus), e: without_zeros(&exponent) },
        d: &*bytes("d", members.d)?,
        p: &*bytes("p", members.p)?,
        q: &*bytes("q", members.q)?,
        dP: &*bytes("dp", members.dp)?,
        dQ: &*bytes("dq", members.dq)?,
        qInv: &*bytes("qi", members.qi)?,
    };
    RsaKeyPair::from_components(&components).map(KeyPair::Rsa).map_err(|error| match pem::rejected(error) {
        KeyError::RsaSize => KeyError::RsaSize,
        _ => KeyError::InconsistentJwk,
    })
}

/// RFC 7518 section 6.2.
fn ec(members: &Members<'_>) -> Result<KeyPair, KeyError> {
    let curve: &'static Curve = match members.crv {
        Some("P-256") => &P256,
        Some("P-384") => &P384,
        Some(_) => return Err(KeyError::Unsupported),
        None => return Err(KeyError::JwkMember("crv")),
    };
    let sized = |name, member| bytes(name, member).and_then(|bytes| of_size(name, bytes, curve.size));
    let (d, x, y) = (sized("d", members.d)?, sized("x", members.x)?, sized("y", members.y)?);
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing, &d, &point);
    pair.map(|pair| KeyPair::Ec(curve, pair)).map_err(|_rejected| KeyError::InconsistentJwk)
}

/// RFC 8037 section 2.
fn ed25519(members: &Members<'_>) -> Result<KeyPair, KeyError> {
    const SIZE: usize = 32;
    if members.crv != Some("Ed25519") {
        return Err(KeyError::Unsupported);
    }
    let sized = |name, member| bytes(name, member).and_then(|bytes| of_size(name, bytes, SIZE));
    let pair = Ed25519KeyPair::from_seed_and_public_key(&sized("d", members.d)?, &sized("x", members.x)?);
    pair.map(KeyPair::Ed25519).map_err(|_rejected| KeyError::InconsistentJwk)
}

fn bytes(name: &'static str, member: Option<&str>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let decoded = member.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).map(Zeroizing::new);
    decoded.filter(|bytes| !bytes.is_empty()).ok_or(KeyError::JwkMember(name))
}

/// Coordinates and keys have leading zeros, so that each has the full size (RFC 7518 section 6.2.1.2).
fn of_size(name: &'static str, bytes: Zeroizing<Vec<u8>>, size: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if bytes.len() == size { Ok(bytes) } else { Err(KeyError::JwkMember(name)) }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
