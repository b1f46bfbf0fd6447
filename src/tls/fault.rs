//! Why a handshake failed, in a sentence that says what helps.

use std::io;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

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

/// What is wrong with this connection, and what to do about it; `None` where there is nothing better to say than the error.
#[must_use]
pub fn handshake_reason(error: &io::Error) -> Option<String> {
    const VERSION: &str =
        "the server does not speak the wanted version of TLS; update it there, or set tls.min_version = \"1.2\"";
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(reason) => Some(certificate_reason(reason)),
        rustls::Error::NoCertificatesPresented => Some("the server has no certificate; check origin".into()),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls12NotOffered,
        ) => Some(VERSION.into()),
        _ => refused_identity(error),
    }
}

/// The server's word that it wants a certificate of ours, or another one. In TLS 1.3 it comes when the handshake is over for
/// us, in the place of the first answer (RFC 8446 section 4.4.2.4).
#[must_use]
pub fn refused_identity(error: &io::Error) -> Option<String> {
    use AlertDescription as Alert;

    let rustls::Error::AlertReceived(alert) = error.get_ref()?.downcast_ref::<rustls::Error>()? else { return None };
    let reason = match alert {
        Alert::CertificateRequired => {
            "the server wants a client certificate and was shown none; set tls.client_certificate and tls.client_key"
        }
        Alert::CertificateExpired => "the server says that the client certificate has expired; renew it",
        Alert::CertificateRevoked => "the server says that the client certificate is revoked; have another one issued",
        Alert::UnknownCA => {
            "the server does not know the issuer of the client certificate; check tls.client_certificate, which also has to \
             hold the intermediate certificates"
        }
        // The last: its issuer's name is known, and the signature is not that issuer's.
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::AccessDenied
        | Alert::DecryptError => "the server does not accept the client certificate; check tls.client_certificate",
        _ => return None,
    };
    Some(reason.into())
}

fn certificate_reason(reason: &CertificateError) -> String {
    const PRIVATE: &str = "if it comes from a private authority, name that in tls.ca_file";
    match reason {
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
