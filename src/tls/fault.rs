//! Why a handshake failed, in a sentence that says what helps. A library's own words are not shown.

use std::io;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

/// What a failed handshake was about, for the `error` parameter of `Proxy-Status` (RFC 9209 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeFault {
    /// The server's certificate was not accepted.
    Certificate,
    /// The server's certificate is for another name.
    CertificateName,
    /// The server sent an alert.
    Alert,
    /// Anything else.
    Protocol,
}

impl HandshakeFault {
    /// Reads the fault out of the I/O error that tokio-rustls wraps it in.
    #[must_use]
    pub(crate) fn of(error: &io::Error) -> Self {
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Self::CertificateName,
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Self::Certificate,
            Some(rustls::Error::AlertReceived(_)) => Self::Alert,
            _ => Self::Protocol,
        }
    }
}

/// By which keys of the configuration a connection is what it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    /// Where the server's name stands.
    pub(crate) place: &'static str,
    /// Where its trust is named.
    pub(crate) ca_file: &'static str,
    /// What else may be done about a certificate of another name; `""`, or begins with `, or`.
    pub(crate) other_name: &'static str,
    /// Where the certificate is that is shown, and where its key is; `None` where none is ever shown.
    pub(crate) identity: Option<(&'static str, &'static str)>,
    /// What may be done about an old version; `""`, or begins with `, or`.
    pub(crate) version: &'static str,
}

impl Keys {
    /// An upstream's.
    pub(crate) const UPSTREAM: Self = Self {
        place: "origin",
        ca_file: "tls.ca_file",
        other_name: ", or set tls.server_name",
        identity: Some(("tls.client_certificate", "tls.client_key")),
        version: ", or set tls.min_version = \"1.2\"",
    };

    /// A token endpoint's.
    pub(crate) const TOKEN_ENDPOINT: Self = Self {
        place: "token_endpoint",
        ca_file: "ca_file",
        other_name: "",
        identity: Some(("client_certificate", "client_key")),
        version: "",
    };

    /// The shared cache's.
    pub(crate) const CACHE: Self = Self {
        place: "cache.shared",
        ca_file: "cache.tls.ca_file",
        other_name: ", or set cache.tls.server_name",
        identity: Some(("cache.tls.client_certificate", "cache.tls.client_key")),
        version: "",
    };

    /// A parent proxy's, which is a table of its own.
    pub(crate) const PARENT_PROXY: Self =
        Self { place: "its url", ca_file: "its ca_file", other_name: "", identity: None, version: "" };
}

/// What is wrong with this connection, and what to do about it.
#[must_use]
pub(crate) fn handshake_reason(error: &io::Error, keys: &Keys) -> String {
    let Some(reason) = tls_error(error) else { return transport_reason(error, keys) };
    if let Some(refused) = refused_identity(error, keys) {
        return refused;
    }
    match reason {
        rustls::Error::InvalidCertificate(reason) => certificate_reason(reason, keys),
        rustls::Error::NoCertificatesPresented => format!("the server has no certificate; check {}", keys.place),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls12NotOffered,
        ) => {
            format!("the server does not speak the wanted version of TLS; update it there{}", keys.version)
        }
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            format!("the server does not know the name that it was asked for; check {}", keys.place)
        }
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity)
        | rustls::Error::PeerIncompatible(_) => {
            "the two have no kind of encryption in common; update the server, or ask who runs it whether it wants a client \
             certificate"
                .into()
        }
        rustls::Error::AlertReceived(_) => {
            format!("the server refused the handshake; see what its own log says, and check {}", keys.place)
        }
        rustls::Error::InvalidMessage(_) => {
            format!("what answers there does not speak TLS; check the scheme and the port in {}", keys.place)
        }
        _ => format!("what answers there keeps to no rule of TLS; check {}", keys.place),
    }
}

/// The server's word that it wants a client certificate, or another one. In TLS 1.3 it comes when the client's
/// handshake is over, in the place of the first answer (RFC 8446 section 4.4.2.4).
#[must_use]
pub(crate) fn refused_identity(error: &io::Error, keys: &Keys) -> Option<String> {
    use AlertDescription as Alert;

    let rustls::Error::AlertReceived(alert) = tls_error(error)? else { return None };
    let Some((certificate, key)) = keys.identity else {
        let wants = matches!(alert, Alert::CertificateRequired);
        return wants.then(|| "it wants a client certificate, and none is shown to a proxy; ask who runs it".into());
    };
    Some(match alert {
        Alert::CertificateRequired => {
            format!("the server wants a client certificate and was shown none; set {certificate} and {key}")
        }
        Alert::CertificateExpired => "the server says that the client certificate has expired; renew it".into(),
        Alert::CertificateRevoked => {
            "the server says that the client certificate is revoked; have another one issued".into()
        }
        Alert::UnknownCA => format!(
            "the server does not know the issuer of the client certificate; check {certificate}, which also has to hold the \
             intermediate certificates"
        ),
        // The last: its issuer's name is known, and the signature is not that issuer's.
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::AccessDenied
        | Alert::DecryptError => format!("the server does not accept the client certificate; check {certificate}"),
        _ => return None,
    })
}

/// A connection that broke, in words: the system's, and of TLS attache's.
#[must_use]
pub(crate) fn broken_reason(error: &io::Error) -> String {
    match tls_error(error) {
        Some(rustls::Error::AlertReceived(_)) => {
            "the other side ended TLS with an alert; see what its own log says".into()
        }
        Some(_) => "what came over TLS was not what TLS allows".into(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the other side closed the connection".into(),
        // What is wrapped in it is a library's.
        None if error.get_ref().is_some() => error.kind().to_string(),
        None => error.to_string(),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The connection broke before there was anything to say about TLS.
fn transport_reason(error: &io::Error, keys: &Keys) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            format!(
                "the connection was closed in the middle of the handshake; check the scheme and the port in {}",
                keys.place
            )
        }
        kind => format!("the connection broke: {kind}"),
    }
}

fn certificate_reason(reason: &CertificateError, keys: &Keys) -> String {
    let Keys { place, ca_file, other_name, .. } = keys;
    match reason {
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the certificate is for {}, not for {}; check {place}{other_name}",
            presented_names(presented),
            expected.to_str()
        ),
        CertificateError::NotValidForName => {
            format!("the certificate is for another name; check {place}{other_name}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired; renew it there, or check this machine's clock".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet; check this machine's clock".into()
        }
        CertificateError::UnknownIssuer => {
            format!(
                "the issuer of the certificate is unknown; if it comes from a private authority, name that in {ca_file}"
            )
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not made for servers; have one issued for server authentication".into()
        }
        CertificateError::Revoked => "the certificate has been revoked; have another one issued there".into(),
        CertificateError::BadSignature => {
            format!("the certificate's signature is not its issuer's; name in {ca_file} the authority that issued it")
        }
        CertificateError::BadEncoding | CertificateError::UnhandledCriticalExtension => {
            "the certificate is of a form that is not read here; have another one issued there".into()
        }
        // Above all a certificate that is an authority's by its own word (`openssl req -x509`), shown as a server's.
        _ => format!(
            "the certificate is not one of a server: it may be self-signed; if it is the right one, name it in {ca_file}"
        ),
    }
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
