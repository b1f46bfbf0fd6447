//! The certificate that is shown to a server which asks for one, and the private key that proves it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::TlsError;
use super::validity::{Doubt, Validity};
use crate::digest::digest;
use crate::secret::{Secret, SecretSource};

/// Where a client certificate and its key are. Read each time, so that rotated files take effect without a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdentitySource {
    /// PEM certificates, the client's own first.
    pub(crate) certificate: SecretSource,
    /// Its private key in PEM; may be the same place.
    pub(crate) key: SecretSource,
}

impl IdentitySource {
    /// Reads both now, blockingly.
    ///
    /// # Errors
    /// A place that cannot be read, or what [`ClientIdentity::from_pem`] says about the two.
    pub(crate) fn read(&self) -> Result<ClientIdentity, TlsError> {
        ClientIdentity::from_pem(&self.certificate.read()?, &self.key.read()?)
    }
}

/// A client certificate with its chain and its private key. A clone is a reference.
#[derive(Clone)]
pub(crate) struct ClientIdentity {
    certified: Arc<CertifiedKey>,
    fingerprint: [u8; 32],
    validity: Option<Validity>,
}

impl ClientIdentity {
    /// Takes certificates and a key out of two PEM texts, which may be one and the same. The key is PKCS#8, PKCS#1 or SEC1;
    /// what else the texts hold is passed over. An expired certificate is no error: see [`ClientIdentity::doubt`].
    ///
    /// # Errors
    /// No certificate, no key, a key of a kind that is not supported, or one that does not belong to the first certificate.
    /// No error repeats a byte of the texts.
    pub(crate) fn from_pem(certificate: &Secret, key: &Secret) -> Result<Self, TlsError> {
        let chain = chain(certificate.pem().expose().as_bytes())?;
        let key = Zeroizing::new(private_key(key.pem().expose().as_bytes())?);
        // Not by the provider's `load_private_key`: it would leave a copy behind that is not zeroed.
        let signing = any_supported_type(&key).map_err(|_unsupported| TlsError::ClientKey {
            what: "is broken or of an unsupported kind",
            remedy: "use RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519",
        })?;
        let fingerprint = digest(chain.iter().map(AsRef::as_ref).chain([key.secret_der()]));
        let validity = chain.first().and_then(|leaf| Validity::of(leaf));
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            // Unknown: the kind of key cannot say what its public half is. The server will.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(TlsError::ClientKey {
                    what: "does not belong to the first certificate",
                    remedy: "name the two that were issued together, with the client's own certificate before its issuers'",
                });
            }
            Err(_) => return Err(TlsError::ClientCertificate { what: "is no X.509 certificate", remedy: ANEW }),
        }
        Ok(Self { certified: Arc::new(certified), fingerprint, validity })
    }

    /// A SHA-256 digest over the chain and the key: a certificate that is renewed, also for the same key, is another identity.
    #[must_use]
    pub(crate) const fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Why a server will hardly accept the certificate at this time. It is shown all the same: only the server's clock counts.
    #[must_use]
    pub(crate) fn doubt(&self, now: SystemTime) -> Option<Doubt> {
        self.validity.as_ref()?.doubt(now)
    }

    /// From when until when the first certificate is valid.
    #[must_use]
    pub(crate) fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        self.validity.as_ref().map(Validity::times)
    }

    pub(super) const fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

/// By fingerprint.
impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for ClientIdentity {}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity(")?;
        self.fingerprint.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

const ANEW: &str = "have it written anew";

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| TlsError::ClientCertificate { what: broken(&error), remedy: ANEW })?;
    if chain.is_empty() {
        return Err(TlsError::ClientCertificate {
            what: "holds no -----BEGIN CERTIFICATE----- block",
            remedy: "name a PEM file with the client's own certificate, and those of its issuers behind it",
        });
    }
    Ok(chain)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];
    let holds = |words: &[u8]| pem.windows(words.len()).any(|window| window == words);
    if ENCRYPTED.into_iter().any(holds) {
        return Err(TlsError::ClientKey {
            what: "is encrypted with a passphrase",
            remedy: "write it without one, such as with `openssl pkey -in KEY -out PLAIN`",
        });
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::ClientKey {
            what: "holds no -----BEGIN PRIVATE KEY----- block",
            remedy: "name the PEM file of the certificate's private key",
        },
        other => TlsError::ClientKey { what: broken(&other), remedy: ANEW },
    })
}

/// In attache's own words: the library's repeat the line.
pub(super) const fn broken(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "has a block without its -----END line",
        pem::Error::IllegalSectionStart { .. } => "has a broken -----BEGIN line",
        pem::Error::Base64Decode(_) => "has a block that is no base64",
        _ => "is no PEM text",
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
