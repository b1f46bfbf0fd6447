//! TLS towards callers: the certificate of a listener, and whose certificates it takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::certificates::read_certificates;
use super::error::TlsError;
use super::identity::{ClientIdentity, IdentitySource};
use super::provider::provider;

/// `listeners.L.tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerTls {
    /// The listener's certificate and its key.
    pub(crate) identity: IdentitySource,
    /// PEM certificates: callers have to show a certificate that one of these has signed.
    pub(crate) client_ca: Option<PathBuf>,
}

/// A listener's TLS as its files were when they were read; equal if they were equal.
#[derive(Debug, Clone)]
pub(crate) struct ListenerIdentity {
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
    pub(crate) fn read(&self) -> Result<ListenerIdentity, TlsError> {
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
    /// From when until when the certificate that is shown is valid.
    #[must_use]
    pub(crate) fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        self.identity.validity()
    }

    /// The server's side of a handshake: HTTP/2 and HTTP/1.1 by ALPN, unless `http` is false (SOCKS has no ALPN).
    ///
    /// # Errors
    /// Where rustls refuses the combination.
    pub(crate) fn server_config(&self, http: bool) -> Result<Arc<ServerConfig>, TlsError> {
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
        if self.client_ca.is_some() {
            // A resumed session brings the certificate of the first one along without a look at it: whether it has expired is seen in
            // a whole handshake only.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        }
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

/// A name in a certificate. What an authority vouches for in one kind of name it has not looked at in another: a URI that reads like
/// a DNS name is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CertificateName {
    /// The common name of the subject.
    Common(String),
    /// A DNS name, in small letters.
    Dns(String),
    /// A URI, such as a SPIFFE id.
    Uri(String),
    /// A mail address.
    Email(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedName(Vec<CertificateName>);

impl WantedName {
    /// `dns:NAME`, `uri:URI`, `email:ADDRESS` or `cn:NAME`. Without one of these, a text with `://` is a URI, one with `@` a mail
    /// address, and any other a DNS name or a common name. `None`: it names nothing.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        use CertificateName::{Common, Dns, Email, Uri};
        let dns = |name: &str| Dns(name.to_ascii_lowercase());
        let (kind, name) = match text.split_once(':') {
            Some((kind @ ("dns" | "uri" | "email" | "cn"), name)) => (kind, name),
            _ if text.contains("://") => ("uri", text),
            _ if text.contains('@') => ("email", text),
            _ => ("", text),
        };
        let name = name.trim();
        let wanted = match kind {
            "dns" => vec![dns(name)],
            "uri" => vec![Uri(name.to_owned())],
            "email" => vec![Email(name.to_owned())],
            "cn" => vec![Common(name.to_owned())],
            _ => vec![dns(name), Common(name.to_owned())],
        };
        (!name.is_empty()).then_some(Self(wanted))
    }

    /// True if one of the names in a certificate is this one.
    #[must_use]
    pub(crate) fn is_among(&self, shown: &[CertificateName]) -> bool {
        self.0.iter().any(|wanted| shown.contains(wanted))
    }
}

/// Every name that a certificate is for.
#[must_use]
pub(crate) fn names_in(certificate: &[u8]) -> Vec<CertificateName> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(str::to_owned);
    let mut names: Vec<CertificateName> = common.map(CertificateName::Common).collect();
    if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(text) => Some(CertificateName::Dns(text.to_ascii_lowercase())),
            GeneralName::URI(text) => Some(CertificateName::Uri((*text).to_owned())),
            GeneralName::RFC822Name(text) => Some(CertificateName::Email((*text).to_owned())),
            _ => None,
        }));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn shown(common: &str, alternative: Vec<SanType>) -> Vec<CertificateName> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        params.subject_alt_names = alternative;
        names_in(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    #[test]
    fn a_name_of_one_kind_cannot_pose_as_one_of_another() {
        let text = |text: &str| text.try_into().unwrap();
        let dns = shown("x", vec![SanType::DnsName(text("One.test"))]);
        let uri = shown("x", vec![SanType::URI(text("one.test")), SanType::URI(text("spiffe://a/b"))]);
        let email = shown("x", vec![SanType::Rfc822Name(text("me@one.test")), SanType::Rfc822Name(text("one.test"))]);
        let common = shown("one.test", vec![SanType::URI(text("y"))]);
        let odd = shown("spiffe://a/b", vec![SanType::DnsName(text("me@one.test"))]);
        let all = [&dns, &uri, &email, &common, &odd];
        for (wanted, has) in [
            ("one.test", [true, false, false, true, false]),
            ("ONE.test", [true, false, false, false, false]),
            ("dns:one.test", [true, false, false, false, false]),
            ("cn:one.test", [false, false, false, true, false]),
            ("uri:one.test", [false, true, false, false, false]),
            ("spiffe://a/b", [false, true, false, false, false]),
            ("uri:spiffe://a/b", [false, true, false, false, false]),
            ("cn:spiffe://a/b", [false, false, false, false, true]),
            ("me@one.test", [false, false, true, false, false]),
            ("email:one.test", [false, false, true, false, false]),
        ] {
            let name = WantedName::parse(wanted).unwrap();
            assert_eq!(all.map(|shown| name.is_among(shown)), has, "{wanted}");
        }
        assert_eq!((WantedName::parse(""), WantedName::parse("uri: ")), (None, None));
    }
}
