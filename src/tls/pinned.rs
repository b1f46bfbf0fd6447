//! Trust by a file: its authorities, and its certificates themselves.
//!
//! Many name as `ca_file` the very certificate that their server has (`openssl req -x509`), and other programs take that. So
//! a certificate that is in the file to the letter is trusted as exactly that one, no matter who has signed it and what it says
//! of what it may sign; its time and its name count all the same. It vouches for no other.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::error::TlsError;
use super::provider::provider;
use super::validity::{Validity, When};

/// Takes what the authorities of a file have signed, and the certificates of the file themselves.
#[derive(Debug)]
pub(super) struct FileVerifier {
    authorities: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl FileVerifier {
    /// # Errors
    /// When one of the certificates cannot be read, or there is none.
    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone())?;
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let authorities =
            authorities.map_err(|_none| TlsError::Certificate("there is no certificate to trust".into()))?;
        Ok(Self { authorities, certificates })
    }
}

impl ServerCertVerifier for FileVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by_authority =
            self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match by_authority {
            Err(_not_by_them) if self.certificates.iter().any(|known| known == end_entity) => {
                itself(end_entity, server_name, now)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// That it is this certificate is known; that it is for this name and this time is not.
fn itself(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<ServerCertVerified, Error> {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    match Validity::of(certificate).map(|validity| validity.when(at)) {
        Some(When::Within) => {}
        Some(When::Before) => return Err(CertificateError::NotValidYet.into()),
        Some(When::After) => return Err(CertificateError::Expired.into()),
        None => return Err(CertificateError::BadEncoding.into()),
    }
    match verify_server_name(&ParsedCertificate::try_from(certificate)?, name) {
        Err(_another) if is_common_name(certificate, name) => {}
        verified => verified?,
    }
    Ok(ServerCertVerified::assertion())
}

/// A certificate of the simplest kind has no list of names but a common name. Where there is a list it alone counts (RFC 9525
/// section 6.3).
fn is_common_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let listed = parsed.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => {
            names.general_names.iter().any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
        }
        _ => false,
    });
    let mut common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    !listed && common.any(|common| common.eq_ignore_ascii_case(&name.to_str()))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

    use super::*;

    /// What `openssl req -x509` makes: a CA by its own word. With these names, or with a common name alone.
    fn made(names: &[&str], common: &str, until: i32) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verify(trusted: &CertificateDer<'static>, shown: &CertificateDer<'static>, name: &str) -> Result<(), Error> {
        let verifier = FileVerifier::new(vec![trusted.clone()]).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).map(|_verified| ())
    }

    #[test]
    fn a_certificate_that_is_in_the_file_is_trusted_as_that_one() {
        let own = made(&["login.test", "127.0.0.1"], "x", 2100);
        assert_eq!(verify(&own, &own, "login.test"), Ok(()));
        assert_eq!(verify(&own, &own, "127.0.0.1"), Ok(()));
        assert!(matches!(verify(&own, &own, "other.test"), Err(Error::InvalidCertificate(_))), "its names count");
        let twin = made(&["login.test"], "x", 2100);
        assert!(verify(&own, &twin, "login.test").is_err(), "another of the same name is another");
    }

    #[test]
    fn without_a_list_of_names_the_common_name_counts() {
        let own = made(&[], "login.test", 2100);
        assert_eq!(verify(&own, &own, "LOGIN.test"), Ok(()));
        assert!(verify(&own, &own, "other.test").is_err());
        let listed = made(&["other.test"], "login.test", 2100);
        assert!(verify(&listed, &listed, "login.test").is_err());
    }

    #[test]
    fn its_time_counts() {
        let old = made(&["login.test"], "x", 2001);
        assert_eq!(verify(&old, &old, "login.test"), Err(Error::InvalidCertificate(CertificateError::Expired)));
    }
}
