//! Files by which other programs trust a CA: PEM bundles, and the two forms of Java's trust stores.

use aws_lc_rs::{digest, hmac};
use pem::{EncodeConfig, LineEnding, Pem};
use rustls_pki_types::CertificateDer;

use super::error::TlsError;

/// The certificates that this system trusts (or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name).
///
/// # Errors
/// When there are none.
pub(crate) fn system_roots() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        let reasons: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::System(reasons.join(", ")));
    }
    Ok(loaded.certs)
}

/// These certificates as PEM (RFC 7468), one after the other.
#[must_use]
pub fn pem_bundle<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    certificates
        .into_iter()
        .map(|certificate| pem::encode_config(&Pem::new("CERTIFICATE", certificate), config))
        .collect()
}

/// A Java trust store in Java's own first format, which every version of it reads. What it holds is public: the password only
/// guards it against accidents.
#[must_use]
pub(crate) fn jks<'a>(certificates: impl IntoIterator<Item = &'a [u8]>, password: &str) -> Vec<u8> {
    let certificates: Vec<&[u8]> = certificates.into_iter().collect();
    let mut store = vec![0xfe, 0xed, 0xfe, 0xed];
    store.extend(2_u32.to_be_bytes());
    store.extend(length(certificates.len()).to_be_bytes());
    for (number, certificate) in certificates.iter().enumerate() {
        // The tag of a trusted certificate, its alias, when it was put in (in ms), its kind, and itself.
        store.extend(2_u32.to_be_bytes());
        java_text(&mut store, &format!("attache-{number}"));
        store.extend(0_u64.to_be_bytes());
        java_text(&mut store, "X.509");
        store.extend(length(certificate.len()).to_be_bytes());
        store.extend(*certificate);
    }
    // The digest of the format; its age shows, and it protects nothing.
    let mut seal = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    seal.update(&utf16(password));
    seal.update(b"Mighty Aphrodite");
    seal.update(&store);
    store.extend(seal.finish().as_ref());
    store
}

/// `DataOutput.writeUTF`, for ASCII.
fn java_text(store: &mut Vec<u8>, text: &str) {
    store.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    store.extend(text.as_bytes());
}

fn length(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// A PKCS #12 store (RFC 7292) of trusted certificates, unencrypted since they are public, with a MAC by this password. Each
/// has the attribute by which Java takes it for trusted.
///
/// # Errors
/// When there is no randomness for the salt.
pub(crate) fn pkcs12<'a>(
    certificates: impl IntoIterator<Item = &'a [u8]>,
    password: &str,
) -> Result<Vec<u8>, TlsError> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_none| TlsError::Certificate("there is no randomness".into()))?;
    let bags: Vec<u8> =
        certificates.into_iter().enumerate().flat_map(|(number, certificate)| bag(number, certificate)).collect();
    let contents = der(SEQUENCE, &[content(&der(SEQUENCE, &[bags]))]);
    let key = mac_key(password, &salt);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &contents);
    let algorithm = der(SEQUENCE, &[oid(SHA256_OID), der(NULL, &[])]);
    let info = der(SEQUENCE, &[algorithm, der(OCTET_STRING, &[mac.as_ref().to_vec()])]);
    let iterations = der(INTEGER, &[u16::try_from(ITERATIONS).unwrap_or(u16::MAX).to_be_bytes().to_vec()]);
    let mac_data = der(SEQUENCE, &[info, der(OCTET_STRING, &[salt.to_vec()]), iterations]);
    Ok(der(SEQUENCE, &[der(INTEGER, &[vec![3]]), content(&contents), mac_data]))
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const EXPLICIT_0: u8 = 0xa0;

/// RFC 7292 appendix B.3: rounds of the key derivation; there is nothing to guess here.
const ITERATIONS: usize = 2048;

// Object identifiers in DER.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
/// 2.16.840.1.113894.746875.1.1, Oracle's `trustedKeyUsage`: without it Java sees no trusted certificate in the store.
const TRUSTED_KEY_USAGE: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01];
/// 2.5.29.37.0: any use.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
const SHA256_OID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// Tag, length, and the concatenated parts.
fn der(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ 0..0x80 => out.push(u8::try_from(short).unwrap_or(0)),
        long => {
            let bytes: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0));
            out.extend(bytes);
        }
    }
    out.extend(content);
    out
}

fn oid(bytes: &[u8]) -> Vec<u8> {
    der(OBJECT_IDENTIFIER, &[bytes.to_vec()])
}

/// `ContentInfo` of plain data.
fn content(data: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[oid(DATA), der(EXPLICIT_0, &[der(OCTET_STRING, &[data.to_vec()])])])
}

/// `SafeBag` with one certificate.
fn bag(number: usize, certificate: &[u8]) -> Vec<u8> {
    let certificate = der(EXPLICIT_0, &[der(OCTET_STRING, &[certificate.to_vec()])]);
    let certificate = der(EXPLICIT_0, &[der(SEQUENCE, &[oid(X509), certificate])]);
    let name = der(BMP_STRING, &[utf16(&format!("attache-{number}"))]);
    let name = der(SEQUENCE, &[oid(FRIENDLY_NAME), der(SET, &[name])]);
    let usage = der(SEQUENCE, &[oid(TRUSTED_KEY_USAGE), der(SET, &[oid(ANY_USAGE)])]);
    der(SEQUENCE, &[oid(CERT_BAG), certificate, der(SET, &[name, usage])])
}

/// RFC 7292 appendix B.2 with SHA-256, for a key of one block: the derivation then needs no carrying over.
fn mac_key(password: &str, salt: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    /// The identifier of a MAC key.
    const MAC: u8 = 3;
    let filled = |bytes: &[u8]| -> Vec<u8> {
        let rounded = bytes.len().div_ceil(BLOCK) * BLOCK;
        bytes.iter().copied().cycle().take(if bytes.is_empty() { 0 } else { rounded }).collect()
    };
    let password = [utf16(password), vec![0, 0]].concat();
    let mut block = digest::digest(&digest::SHA256, &[vec![MAC; BLOCK], filled(salt), filled(&password)].concat());
    for _ in 1..ITERATIONS {
        block = digest::digest(&digest::SHA256, block.as_ref());
    }
    block.as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::authority::CertificateAuthority;
    use super::*;
    use crate::secret::Secret;
    use std::process::Command;

    fn authority() -> CertificateAuthority {
        let made = CertificateAuthority::generate(&[]).unwrap();
        CertificateAuthority::from_pem(&made.certificate, &Secret::new(made.key.expose().to_owned())).unwrap()
    }

    /// `None` where the program is not installed, which is said.
    fn run(program: &str, arguments: &[&str]) -> Option<String> {
        match Command::new(program).args(arguments).output() {
            Ok(output) => Some(format!(
                "{}{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(_) => {
                assert!(
                    std::env::var_os("ATTACHE_TESTS_SKIP_NOTHING").is_none(),
                    "{program} is not installed (.ci/run)"
                );
                eprintln!("SKIPPED: {program} is not installed");
                None
            }
        }
    }

    #[test]
    fn java_and_openssl_read_the_trust_stores() {
        let authority = authority();
        let folder = tempfile::tempdir().unwrap();
        let certificates = || [authority.certificate().der(), authority.certificate().der()];
        std::fs::write(folder.path().join("a.jks"), jks(certificates(), "changeit")).unwrap();
        std::fs::write(folder.path().join("a.p12"), pkcs12(certificates(), "changeit").unwrap()).unwrap();
        for (file, kind) in [("a.jks", "JKS"), ("a.p12", "PKCS12")] {
            let path = folder.path().join(file).display().to_string();
            let list = ["-list", "-v", "-keystore", &path, "-storetype", kind, "-storepass", "changeit"];
            let Some(told) = run("keytool", &list) else { continue };
            assert_eq!(told.matches("trustedCertEntry").count(), 2, "{told}");
            assert!(told.contains(&authority.certificate().fingerprint()), "{told}");
            let wrong = ["-list", "-keystore", &path, "-storetype", kind, "-storepass", "changed"];
            assert!(run("keytool", &wrong).is_none_or(|told| !told.contains("attache-0")));
        }
        let path = folder.path().join("a.p12").display().to_string();
        if let Some(told) = run("openssl", &["pkcs12", "-in", &path, "-nokeys", "-passin", "pass:changeit"]) {
            assert_eq!(told.matches("BEGIN CERTIFICATE").count(), 2, "{told}");
        }
    }

    #[test]
    fn a_bundle_holds_every_certificate_in_lines() {
        use rustls_pki_types::pem::PemObject as _;
        let authority = authority();
        let bundle = pem_bundle([authority.certificate().der(), b"another"]);
        assert!(bundle.lines().all(|line| line.len() <= 64), "RFC 7468 section 2");
        let read: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes()).map(Result::unwrap).collect();
        assert_eq!((read[0].as_ref(), read[1].as_ref()), (authority.certificate().der(), &b"another"[..]));
        assert!(!system_roots().unwrap().is_empty());
    }
}
