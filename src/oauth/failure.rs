//! Why no answer came from the token endpoint, in a sentence that says what to look at.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use super::client_auth::Proof;
use super::wording;
use crate::token::{About, TokenError, TokenErrorKind};

/// The error of a token request whose transport failed. Trying again can always help: machines come back, and names and
/// certificates are mended without our being told.
pub(super) fn explain(host: &str, error: &reqwest::Error, proof: &Proof) -> TokenError {
    if error.is_timeout() {
        return TokenError::new(TokenErrorKind::Timeout, format!("{host} did not answer the token request in time"));
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        let failed = TokenError::new(TokenErrorKind::Transient, tls_failure(host, tls, proof));
        return match tls {
            rustls::Error::InvalidCertificate(_) => failed.about(About::Certificate),
            _ => failed,
        };
    }
    let message = if error.is_dns() {
        format!("the name of {host} cannot be resolved; check token_endpoint and this machine's name servers")
    } else if error.is_connect() {
        connect_failure(host, find::<io::Error>(error).map(io::Error::kind))
    } else {
        format!("the connection to {host} broke before its answer was complete")
    };
    TokenError::new(TokenErrorKind::Transient, message)
}

fn tls_failure(host: &str, error: &rustls::Error, proof: &Proof) -> String {
    use CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            Certificate::UnknownIssuer => {
                format!("the certificate of {host} is not trusted: its issuer is unknown; set ca_file to the issuer's")
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                format!("the certificate of {host} is made out to another name; check the host in token_endpoint")
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                format!("the certificate of {host} has expired; renew it there, or check this machine's clock")
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                format!("the certificate of {host} is not valid yet; check this machine's clock")
            }
            other => {
                let reason = wording::repeatable(&other.to_string(), 200, proof).unwrap_or_default();
                format!("the certificate of {host} is not trusted: {reason}; set ca_file to the CA that issued it")
            }
        },
        rustls::Error::InvalidMessage(_) => {
            format!("{host} does not speak TLS; check the scheme and the port in token_endpoint")
        }
        other => {
            let reason = wording::repeatable(&other.to_string(), 200, proof).unwrap_or_default();
            format!("no TLS connection to {host}: {reason}")
        }
    }
}

fn connect_failure(host: &str, kind: Option<io::ErrorKind>) -> String {
    match kind {
        Some(io::ErrorKind::ConnectionRefused) => {
            format!("{host} refuses connections; check that the authorization server runs, and the port")
        }
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
            format!("{host} closed the connection at once; check the scheme and the port in token_endpoint")
        }
        Some(kind) => format!("{host} cannot be reached: {kind}; check the network and its firewalls"),
        None => format!("{host} cannot be reached; check token_endpoint, the network and its firewalls"),
    }
}

/// The first error of this type in the chain. An `io::Error` hides what it wraps from `source`, so it is opened.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
