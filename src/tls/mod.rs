//! TLS towards others: the crypto provider, what is trusted, and client configurations.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::secret::Secret;

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
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
    /// A certificate of ours.
    #[error("the client certificate cannot be used: {0}")]
    Certificate(String),
    /// rustls refused the combination.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The one crypto provider of the process.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// A client configuration that trusts the certificates of `ca_file`, or the system's, and offers these ALPN protocols.
/// TLS 1.2 and 1.3; the server's name is always verified.
///
/// # Errors
/// A file without certificates, or a system without a trust store.
pub fn client_config(ca_file: Option<&Path>, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = match ca_file {
        Some(path) => builder.with_root_certificates(read_roots(path)?).with_no_client_auth(),
        None => builder.dangerous().with_custom_certificate_verifier(system_verifier()?).with_no_client_auth(),
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
        rustls_platform_verifier::Verifier::new(provider()).map_err(|error| TlsError::System(error.to_string()))?,
    );
    Ok(Arc::clone(VERIFIER.get_or_init(|| verifier)))
}

/// The SHA-256 thumbprint of the first certificate in a PEM, in base64url: `x5t#S256` (RFC 7515 section 4.1.8).
///
/// # Errors
/// A text without a certificate.
pub fn certificate_thumbprint(pem: &Secret) -> Result<String, TlsError> {
    let no_certificate = || TlsError::Certificate("there is no PEM certificate in it".into());
    let certificate = CertificateDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_invalid| no_certificate())?;
    Ok(URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate)))
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let bad = |reason: String| TlsError::CaFile { path: path.display().to_string(), reason };
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| bad(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() { Err(bad("there is no certificate in it".into())) } else { Ok(roots) }
}

/// What a failed handshake was about, for the `error` parameter of `Proxy-Status` (RFC 9209 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFault {
    /// The server's certificate was not accepted.
    Certificate,
    /// The server sent an alert.
    Alert,
    /// Anything else.
    Protocol,
}

impl HandshakeFault {
    /// Reads the fault out of the I/O error that tokio-rustls wraps it in.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Self::Certificate,
            Some(rustls::Error::AlertReceived(_)) => Self::Alert,
            _ => Self::Protocol,
        }
    }
}

/// What is wrong with an upstream's certificate, and what to do about it; `None` where the fault is another one.
#[must_use]
pub fn certificate_fault(error: &io::Error) -> Option<String> {
    const PRIVATE: &str = "if it comes from a private authority, name that in tls.ca_file";
    let reason = match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(reason) => reason,
        rustls::Error::NoCertificatesPresented => return Some("the server has no certificate; check origin".into()),
        _ => return None,
    };
    Some(match reason {
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the certificate is for {}, not for {}; check origin, or set tls.server_name",
            presented_names(presented),
            expected.to_str()
        ),
        CertificateError::NotValidForName => {
            "the certificate is for another name; check origin, or set tls.server_name".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired; renew it there, or check this machine's clock".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet; check this machine's clock".into()
        }
        CertificateError::UnknownIssuer => format!("the issuer of the certificate is unknown; {PRIVATE}"),
        other => format!("the certificate is not acceptable: {other}; {PRIVATE}"),
    })
}

/// The first few names of a certificate. rustls writes them as `DnsName("api.example.com")`.
fn presented_names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').to_owned()
    };
    match presented {
        [] => "no name at all".into(),
        names if names.len() > 3 => {
            format!("{} and others", names.iter().take(3).map(bare).collect::<Vec<_>>().join(", "))
        }
        names => names.iter().map(bare).collect::<Vec<_>>().join(", "),
    }
}
