//! Private keys in PEM, as the tools of this world write them: alone, behind the parameters of a curve, or in one file
//! with a chain of certificates.

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::KeyError;
use super::pair::{Curve, KeyPair, P256, P384};

/// Reads the first private key of a PEM text.
pub(super) fn read(text: &str) -> Result<KeyPair, KeyError> {
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map(Zeroizing::new);
    // pki-types' own errors quote lines of the text.
    match &*der.map_err(|_quotes| what_else(text))? {
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).map(KeyPair::Rsa).map_err(rejected),
        PrivateKeyDer::Sec1(key) => sec1(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der()),
        _ => Err(KeyError::Unsupported),
    }
}

/// SEC1 names its curve inside.
fn sec1(der: &[u8]) -> Result<KeyPair, KeyError> {
    let on = |curve: &'static Curve| {
        EcdsaKeyPair::from_private_key_der(curve.signing, der).map(|pair| KeyPair::Ec(curve, pair))
    };
    on(&P256).or_else(|_other| on(&P384)).map_err(rejected)
}

/// PKCS#8 names its kind inside, and aws-lc has a function for each kind.
fn pkcs8(der: &[u8]) -> Result<KeyPair, KeyError> {
    match RsaKeyPair::from_pkcs8(der) {
        Ok(pair) => return Ok(KeyPair::Rsa(pair)),
        Err(error) if rejected(error) == KeyError::RsaSize => return Err(KeyError::RsaSize),
        Err(_other_kind) => {}
    }
    let on = |curve: &'static Curve| EcdsaKeyPair::from_pkcs8(curve.signing, der).map(|pair| KeyPair::Ec(curve, pair));
    on(&P256)
        .or_else(|_other| on(&P384))
        .or_else(|_other| Ed25519KeyPair::from_pkcs8(der).map(KeyPair::Ed25519))
        .map_err(rejected)
}

/// Only an RSA key can be too small or too large: each of the others has one size.
pub(super) fn rejected(error: KeyRejected) -> KeyError {
    match error.description_() {
        "TooSmall" | "TooLarge" => KeyError::RsaSize,
        _ => KeyError::Unsupported,
    }
}

/// What a text is, in which no private key could be read.
fn what_else(text: &str) -> KeyError {
    let labels = || text.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")?.trim_end().strip_suffix("-----"));
    let encrypted = |line: &str| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED");
    if labels().any(|label| label == "ENCRYPTED PRIVATE KEY") || text.lines().any(encrypted) {
        KeyError::Encrypted
    } else if labels().any(|label| label == "OPENSSH PRIVATE KEY") {
        KeyError::OpenSsh
    } else if text.contains("-----BEGIN ") && text.trim().lines().count() == 1 {
        KeyError::OneLine
    } else if labels().any(|label| label.ends_with("PRIVATE KEY")) {
        KeyError::DamagedPem
    } else if labels().any(|label| label.ends_with("PUBLIC KEY")) {
        KeyError::PublicOnly
    } else if labels().any(|label| label.ends_with("CERTIFICATE")) {
        KeyError::CertificateOnly
    } else {
        KeyError::NoKey
    }
}
