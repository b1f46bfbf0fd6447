//! Why no answer came from the token endpoint, in a sentence that says what to look at.

use std::error::Error as _;
use std::io;

use super::connection::Failure;
use crate::dial::{DialError, DialErrorKind};
use crate::tls::{HandshakeFault, Keys, handshake_reason, refused_identity};
use crate::token::{About, TokenError, TokenErrorKind};

const CHECK_PORT: &str = "check the scheme and the port in token_endpoint";

/// For an endpoint that is asked in clear.
const PERHAPS_TLS: &str = "perhaps it speaks TLS: write https:// in token_endpoint, or check the port";

/// The error of a token request whose transport failed. Trying again can always help: machines come back, and names and
/// certificates are mended without notice.
pub(super) fn explain(host: &str, in_clear: bool, failure: &Failure) -> TokenError {
    let port = if in_clear { PERHAPS_TLS } else { CHECK_PORT };
    let failed = |message: String| TokenError::new(TokenErrorKind::Transient, message);
    match failure {
        Failure::Dial(error) => {
            let (message, remedy) = dial_failure(host, error);
            failed(message).with_remedy(remedy)
        }
        Failure::ParentProxy(error) => failed(format!("{host} cannot be reached: {error}")).about(About::ParentProxy),
        Failure::Tls(error) => {
            let failed =
                failed(format!("no TLS connection to {host}: {}", handshake_reason(error, &Keys::TOKEN_ENDPOINT)));
            match HandshakeFault::of(error) {
                HandshakeFault::Certificate => failed.about(About::Certificate),
                HandshakeFault::CertificateName => failed.about(About::CertificateName),
                HandshakeFault::Alert | HandshakeFault::Protocol => failed.about(About::Handshake),
            }
        }
        Failure::Http(error) if identity_refused(error).is_some() => {
            let why = identity_refused(error).unwrap_or_default();
            failed(format!("no TLS connection to {host}: {why}")).about(About::Handshake)
        }
        Failure::Http(error) if error.is_parse() => failed(format!("what {host} answers is no HTTP")).with_remedy(port),
        Failure::Http(_) | Failure::Cut => {
            failed(format!("the connection to {host} broke before its answer was complete"))
                .with_remedy(in_clear.then_some(PERHAPS_TLS))
        }
        Failure::Unsaid => failed(format!("{host} closes each connection before it takes the token request"))
            .with_remedy("see what its own log says"),
        Failure::Request => failed(format!("no request can be made to {host}")).with_remedy("check token_endpoint"),
    }
}

/// In TLS 1.3 a server says only after the handshake that it wants another client certificate.
fn identity_refused(error: &hyper::Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(found) = cause {
        let refused =
            found.downcast_ref::<io::Error>().and_then(|broken| refused_identity(broken, &Keys::TOKEN_ENDPOINT));
        if refused.is_some() {
            return refused;
        }
        cause = found.source();
    }
    None
}

fn dial_failure(host: &str, error: &DialError) -> (String, Option<&'static str>) {
    let (message, remedy) = match (error.kind, error.system) {
        (DialErrorKind::ProxyConfiguration, _) => return (error.detail.clone(), None),
        (DialErrorKind::DnsError | DialErrorKind::DnsTimeout, _) => {
            (format!("the name of {host} cannot be resolved"), "check token_endpoint and this machine's name servers")
        }
        (_, Some(io::ErrorKind::ConnectionRefused)) => {
            (format!("{host} refuses connections"), "check that the authorization server runs, and the port")
        }
        (_, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof)) => {
            (format!("{host} closed the connection at once"), CHECK_PORT)
        }
        (_, Some(kind)) => (format!("{host} cannot be reached: {kind}"), "check the network and its firewalls"),
        (_, None) => (format!("{host} cannot be reached"), "check token_endpoint, the network and its firewalls"),
    };
    (message, Some(remedy))
}
