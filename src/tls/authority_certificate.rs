//! What is public of a local CA: its certificate, and those above it. To hand it on takes no key.

use std::net::IpAddr;
use std::time::SystemTime;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::error::TlsError;
use super::validity::{Validity, When};

/// The certificate of a CA that may sign, and has not expired.
#[derive(Debug)]
pub(crate) struct AuthorityCertificate {
    pub(super) certificate: CertificateDer<'static>,
    /// What stands behind it in its file: programs that trust only a root need them.
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    validity: Validity,
    public_key: Vec<u8>,
    /// Its name, as encoded.
    pub(super) subject: Vec<u8>,
}

impl AuthorityCertificate {
    /// Takes it out of a PEM text.
    ///
    /// # Errors
    /// No certificate, one that is no CA's, one that has expired.
    pub(crate) fn from_pem(text: &str) -> Result<Self, TlsError> {
        let none = || authority_error("holds no PEM certificate", "make one with `attache ca init`");
        let mut chain = CertificateDer::pem_slice_iter(text.as_bytes());
        let certificate = chain.next().and_then(Result::ok).ok_or_else(none)?;
        let intermediates: Vec<_> = chain.collect::<Result<_, _>>().map_err(|_broken| none())?;
        let broken = || authority_error("is no X.509 certificate", "make one with `attache ca init`");
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_broken| broken())?;
        let may_sign = match parsed.key_usage() {
            Ok(Some(usage)) => usage.value.key_cert_sign(),
            _ => true,
        };
        if !parsed.is_ca() || !may_sign {
            return Err(authority_error("is no CA's: it may not sign others", "make a CA with `attache ca init`"));
        }
        let validity = Validity::of_parsed(&parsed);
        if validity.when(SystemTime::now()) == When::After {
            let at = humantime::format_rfc3339_seconds(validity.times().1);
            let remedy = "make another CA with `attache ca init`, and have programs trust that";
            return Err(authority_error(&format!("expired at {at}"), remedy));
        }
        let (public_key, subject) = (parsed.public_key().raw.to_vec(), parsed.subject().as_raw().to_vec());
        Ok(Self { certificate, intermediates, validity, public_key, subject })
    }

    #[must_use]
    pub(crate) fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// True if this is the public key that it certifies, as encoded (`SubjectPublicKeyInfo`).
    pub(super) fn is_of(&self, public_key: &[u8]) -> bool {
        public_key == self.public_key
    }

    /// The name of the CA.
    #[must_use]
    pub(crate) fn subject(&self) -> String {
        let parsed = X509Certificate::from_der(&self.certificate);
        parsed.map_or_else(|_broken| String::new(), |(_, certificate)| certificate.subject().to_string())
    }

    /// What it may sign for, besides what is under these; empty: anything.
    #[must_use]
    pub(crate) fn constrained_to(&self) -> Vec<String> {
        let Ok((_, certificate)) = X509Certificate::from_der(&self.certificate) else { return Vec::new() };
        let Ok(Some(constraints)) = certificate.name_constraints() else { return Vec::new() };
        let permitted = constraints.value.permitted_subtrees.iter().flatten();
        permitted.map(|subtree| shown_subtree(&subtree.base)).collect()
    }

    /// Until when it is valid.
    #[must_use]
    pub(crate) const fn not_after(&self) -> SystemTime {
        self.validity.times().1
    }

    /// From when until when it is valid.
    #[must_use]
    pub(crate) const fn validity(&self) -> (SystemTime, SystemTime) {
        self.validity.times()
    }

    /// The SHA-256 of the certificate, as other programs show it: `AB:CD:…`.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, &self.certificate);
        let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    /// The beginning of the fingerprint, for names of files: enough to tell one from another.
    #[must_use]
    pub(crate) fn short_fingerprint(&self) -> String {
        self.fingerprint().split(':').take(8).collect::<String>().to_ascii_lowercase()
    }

    /// SHA-256 of its public key in base64, by which browsers are told to trust what it signs (RFC 7469 section 2.4).
    #[must_use]
    pub(crate) fn key_pin(&self) -> String {
        STANDARD.encode(digest::digest(&digest::SHA256, &self.public_key))
    }
}

fn shown_subtree(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(host) => (*host).to_owned(),
        // An address and a mask of the same length.
        GeneralName::IPAddress(bytes) => match bytes.split_at(bytes.len() / 2).0 {
            v4 if v4.len() == 4 => IpAddr::from(<[u8; 4]>::try_from(v4).unwrap_or_default()).to_string(),
            v6 => IpAddr::from(<[u8; 16]>::try_from(v6).unwrap_or_default()).to_string(),
        },
        other => other.to_string(),
    }
}

pub(super) fn authority_error(what: &str, remedy: &'static str) -> TlsError {
    TlsError::Authority { what: what.to_owned(), remedy }
}
