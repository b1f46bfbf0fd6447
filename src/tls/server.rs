//! TLS towards callers: the certificate of a listener, and whose certificates it takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{ClientIdentity, IdentitySource, TlsError, provider, read_certificates};

/// `listeners.L.tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// The listener's certificate and its key.
    pub identity: IdentitySource,
    /// PEM certificates: callers have to show a certificate that one of these has signed.
    pub client_ca: Option<PathBuf>,
}

/// A listener's TLS as its files were when they were read; equal if they were equal.
#[derive(Debug, Clone)]
pub struct ListenerIdentity {
    identity: ClientIdentity,
    /// With the digest of the file they came from.
    client_ca: Option<(Arc<RootCertStore>, [u8; 32])>,
}

impl PartialEq for ListenerIdentity {
    fn eq(&self, other: &Self) -> bool {
        let digest = |of: &Self| of.client_ca.as_ref().map(|(_, digest)| *digest);
        self.identity == other.identity && digest(self) == digest(other)
    }
}

impl ListenerTls {
    /// Reads all files now, blockingly.
    ///
    /// # Errors
    /// A file that cannot be read, a certificate and a key that do not belong together, no certificate in `client_ca`.
    pub fn read(&self) -> Result<ListenerIdentity, TlsError> {
        let read = |path: &PathBuf| {
            let content = std::fs::read(path).unwrap_or_default();
            let digest = digest::digest(&digest::SHA256, &content).as_ref().try_into().unwrap_or_default();
            Ok::<_, TlsError>((Arc::new(roots(path)?), digest))
        };
        let client_ca = self.client_ca.as_ref().map(read).transpose()?;
        Ok(ListenerIdentity { identity: self.identity.read()?, client_ca })
    }
}

impl ListenerIdentity {
    /// The server's side of a handshake: HTTP/2 and HTTP/1.1 by ALPN, unless `http` is false (SOCKS has no ALPN).
    ///
    /// # Errors
    /// Where rustls refuses the combination.
    pub fn server_config(&self, http: bool) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some((roots, _)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider()).build();
                let verifier = verifier.map_err(|error| TlsError::Certificate(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let certified = Arc::clone(self.identity.certified());
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        if http {
            // The last one is for curl --http1.0, which offers nothing else.
            config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).to_vec();
        }
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        Ok(Arc::new(config))
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|_broken| TlsError::CaFile {
            path: path.display().to_string(),
            reason: "a certificate in it is of a form that is not read here".into(),
        })?;
    }
    Ok(roots)
}

/// Every name that a certificate is for: the common name, DNS names, URIs, mail addresses.
#[must_use]
pub fn names_in(certificate: &[u8]) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(str::to_owned);
    let mut names: Vec<String> = common.collect();
    if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
                Some((*text).to_owned())
            }
            _ => None,
        }));
    }
    names
}
