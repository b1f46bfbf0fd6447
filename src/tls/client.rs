//! TLS towards upstreams and authorization servers.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::ServerCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::certificates::read_certificates;
use super::error::TlsError;
use super::identity::ClientIdentity;
use super::pinned::FileVerifier;
use super::provider::provider;

/// What a client's handshakes are made with: HTTP/2 or else HTTP/1.1, and HTTP/1.1 alone. A clone is the same, with the same
/// sessions.
#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    pub(crate) any: Arc<ClientConfig>,
    pub(crate) http1: Arc<ClientConfig>,
}

impl From<ClientConfig> for ClientTls {
    fn from(any: ClientConfig) -> Self {
        let mut http1 = any.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { any: Arc::new(any), http1: Arc::new(http1) }
    }
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

fn file_verifier(path: &Path) -> Result<FileVerifier, TlsError> {
    FileVerifier::new(read_certificates(path)?).map_err(|_broken| TlsError::CaFile {
        path: path.display().to_string(),
        reason: "a certificate in it is of a form that is not read here".into(),
    })
}
