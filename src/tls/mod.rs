//! TLS towards others: the crypto provider, what is trusted, what is shown, and client configurations.

mod authority;
mod authority_source;
mod fault;
mod identity;
mod pinned;
pub(crate) mod server;
pub(crate) mod trust_store;
mod validity;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};

pub(crate) use authority::{CertificateAuthority, NewAuthority};
pub(crate) use authority_source::AuthoritySource;
pub(crate) use fault::{HandshakeFault, Keys, broken_reason, handshake_reason, refused_identity};
pub(crate) use identity::{ClientIdentity, IdentitySource};

use pinned::FileVerifier;

use crate::secret::{Secret, SecretError};

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// `ca_file` cannot be read or holds no certificate.
    #[error("{path} holds no usable PEM certificate: {reason}")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system's trust store is missing or empty.
    #[error(
        "the system's trusted certificates cannot be loaded: {0}; install ca-certificates, set SSL_CERT_FILE, or name a ca_file"
    )]
    System(String),
    /// A certificate whose thumbprint was to be shown.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// A client certificate that cannot be shown to anybody.
    #[error("the client certificate {what}; {remedy}")]
    ClientCertificate {
        /// What is wrong with it.
        what: &'static str,
        /// What helps.
        remedy: &'static str,
    },
    /// A private key that cannot be used, or that of another certificate.
    #[error("the client key {what}; {remedy}")]
    ClientKey {
        /// What is wrong with it.
        what: &'static str,
        /// What helps.
        remedy: &'static str,
    },
    /// The certificate of the local CA.
    #[error("the CA certificate {what}; {remedy}")]
    Authority {
        /// What is wrong with it.
        what: String,
        /// What helps.
        remedy: &'static str,
    },
    /// The private key of the local CA.
    #[error("the CA key {what}; {remedy}")]
    AuthorityKey {
        /// What is wrong with it.
        what: &'static str,
        /// What helps.
        remedy: &'static str,
    },
    /// The place of the client certificate or of its key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// rustls refused the combination.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum MinVersion {
    /// TLS 1.2 (RFC 5246) and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446) alone.
    Tls13,
}

static TLS13_ALONE: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => rustls::ALL_VERSIONS,
            Self::Tls13 => TLS13_ALONE,
        }
    }
}

/// The one crypto provider of the process.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// A client configuration that trusts the certificates of `ca_file`, or the system's, offers these ALPN protocols, and shows
/// `identity` to a server that asks for a certificate. The server's name is always verified.
///
/// Sessions are resumed within one configuration only: what one identity began, no other goes on with.
///
/// # Errors
/// A file without certificates, or a system without a trust store.
pub(crate) fn client_config(
    ca_file: Option<&Path>,
    alpn: &[&[u8]],
    identity: Option<&ClientIdentity>,
    min_version: MinVersion,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(min_version.versions())?;
    let builder = match ca_file {
        Some(path) => builder.dangerous().with_custom_certificate_verifier(Arc::new(file_verifier(path)?)),
        None => builder.dangerous().with_custom_certificate_verifier(system_verifier()?),
    };
    let mut config = match identity {
        // Shown whatever authorities the server names: it may name none, and knows best whom it lets in.
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity.certified()))))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// "Dangerous" is rustls's word for any verifier of one's own; this one is the platform's. Made once: it reads the whole
/// trust store.
fn system_verifier() -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    static VERIFIER: OnceLock<Arc<dyn ServerCertVerifier>> = OnceLock::new();
    if let Some(verifier) = VERIFIER.get() {
        return Ok(Arc::clone(verifier));
    }
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(
        rustls_platform_verifier::Verifier::new(provider())
            .map_err(|_none| TlsError::System("there are none that can be read".into()))?,
    );
    Ok(Arc::clone(VERIFIER.get_or_init(|| verifier)))
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

fn file_verifier(path: &Path) -> Result<FileVerifier, TlsError> {
    FileVerifier::new(read_certificates(path)?).map_err(|_broken| TlsError::CaFile {
        path: path.display().to_string(),
        reason: "a certificate in it is of a form that is not read here".into(),
    })
}

/// At least one.
fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |reason: String| TlsError::CaFile { path: path.display().to_string(), reason };
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| bad(unreadable(&error)))?;
    if certificates.is_empty() { Err(bad("there is no certificate in it".into())) } else { Ok(certificates) }
}

/// In words of our own: the library's repeat the line.
fn unreadable(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("it cannot be read: {error}"),
        error => format!("it {}", identity::broken(error)),
    }
}
