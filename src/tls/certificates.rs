//! Certificates in PEM files.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};

use super::error::TlsError;
use super::identity;
use crate::secret::Secret;

/// At least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |reason: String| TlsError::CaFile { path: path.display().to_string(), reason };
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| bad(unreadable(&error)))?;
    if certificates.is_empty() { Err(bad("there is no certificate in it".into())) } else { Ok(certificates) }
}

/// In attache's own words: the library's repeat the line.
fn unreadable(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("it cannot be read: {error}"),
        error => format!("it {}", identity::broken(error)),
    }
}

/// The SHA-256 thumbprint of the first certificate in a PEM, in base64url: `x5t#S256` (RFC 7515 section 4.1.8).
///
/// # Errors
/// A text without a certificate.
pub(crate) fn certificate_thumbprint(pem: &Secret) -> Result<String, TlsError> {
    let no_certificate = || TlsError::Certificate("there is no PEM certificate in it".into());
    let certificate =
        CertificateDer::from_pem_slice(pem.pem().expose().as_bytes()).map_err(|_invalid| no_certificate())?;
    Ok(URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate)))
}
