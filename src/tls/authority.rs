//! The local CA: certificates for the upstreams whose tunnels are opened, made when they are first needed.
//!
//! A program that has its key can be every server to every program that trusts it. So it signs for one name at a time, that of a
//! configured upstream, for a week at most, with a key that never leaves the process; and a CA may be made with name
//! constraints, so that even its key is worth little elsewhere.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quick_cache::sync::Cache;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData as _, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority_certificate::{AuthorityCertificate, authority_error};
use super::error::TlsError;
use super::provider::provider;
use crate::secret::Secret;

/// How long a leaf is valid, at the most.
const LEAF_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How much of that has to be left; with less, another one is made.
const LEAF_RESERVE: Duration = Duration::from_secs(2 * 24 * 3600);

/// Clocks of callers may be behind this machine's.
const BACKDATED: Duration = Duration::from_secs(3600);

/// How long a new CA is valid.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Leaves that are kept. A configuration rarely has as many names, but a wildcard upstream covers any number.
const LEAVES: usize = 1024;

/// A certificate authority of this machine's own.
pub(crate) struct CertificateAuthority {
    certificate: AuthorityCertificate,
    issuer: Issuer<'static, KeyPair>,
    leaves: Cache<Box<str>, Arc<Leaf>>,
    /// One for all leaves: a program that opens many tunnels resumes its sessions.
    tickets: Arc<dyn ProducesTickets>,
}

/// A new CA, to be written into two files.
pub(crate) struct NewAuthority {
    /// The certificate in PEM.
    pub(crate) certificate: String,
    /// Its private key in PEM.
    pub(crate) key: Secret,
}

struct Leaf {
    config: Arc<ServerConfig>,
    replace_at: SystemTime,
}

impl CertificateAuthority {
    /// Makes a CA (ECDSA P-256, ten years) that may sign for these hosts and their subdomains, or for any if there are none.
    ///
    /// # Errors
    /// A host that is neither a DNS name nor an IP address; no randomness.
    pub(crate) fn generate(constrained_to: &[String]) -> Result<NewAuthority, TlsError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject()?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = SystemTime::now();
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + AUTHORITY_LIFE).into();
        if !constrained_to.is_empty() {
            params.name_constraints = Some(constraints(constrained_to));
        }
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(NewAuthority { certificate: certificate.pem(), key: Secret::new(key.serialize_pem()) })
    }

    /// Takes a certificate and its key out of two PEM texts.
    ///
    /// # Errors
    /// No certificate or no key, one that is no CA's, a key of another certificate, a certificate that has expired. No error
    /// repeats a byte of the key.
    pub(crate) fn from_pem(certificate_pem: &str, key: &Secret) -> Result<Self, TlsError> {
        let certificate = AuthorityCertificate::from_pem(certificate_pem)?;
        let key = KeyPair::from_pem(key.pem().expose())
            .map_err(|_broken| authority_key_error("is no private key in PEM that can sign"))?;
        if !certificate.is_of(&key.subject_public_key_info()) {
            return Err(authority_key_error("does not belong to the certificate"));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate.certificate, key)
            .map_err(|_unusable| authority_error("cannot sign", "make a CA with `attache ca init`"))?;
        let authority = Self { certificate, issuer, leaves: Cache::new(LEAVES), tickets: Ticketer::new()? };
        authority.check_name(&authority.certificate.subject)?;
        Ok(authority)
    }

    /// A leaf has to name its issuer byte for byte (RFC 5280 section 6.1.3), and the library keeps one value of each kind. What
    /// cannot be copied is found out here and not by callers.
    fn check_name(&self, subject: &[u8]) -> Result<(), TlsError> {
        let (leaf, _) = self.leaf("name.invalid", SystemTime::now())?;
        let same = X509Certificate::from_der(&leaf).is_ok_and(|(_, leaf)| leaf.issuer().as_raw() == subject);
        let remedy = "make a CA whose name has each kind of part once, or one with `attache ca init`";
        if same { Ok(()) } else { Err(authority_error("has a name that leaves cannot repeat", remedy)) }
    }

    /// What a TLS server for this canonical host needs: a leaf for that name alone, HTTP/2 and HTTP/1.1 by ALPN. A caller that
    /// asks for another name (SNI) is refused in the handshake.
    ///
    /// # Errors
    /// A host that no certificate can be for.
    pub(crate) fn server_config(&self, host: &str) -> Result<Arc<ServerConfig>, TlsError> {
        let now = SystemTime::now();
        if let Some(leaf) = self.leaves.get(host).filter(|leaf| now < leaf.replace_at) {
            return Ok(Arc::clone(&leaf.config));
        }
        // Two callers may both make one: that costs some microseconds, and the last one is kept.
        let leaf = Arc::new(self.mint(host, now)?);
        self.leaves.insert(host.into(), Arc::clone(&leaf));
        Ok(Arc::clone(&leaf.config))
    }

    fn mint(&self, host: &str, now: SystemTime) -> Result<Leaf, TlsError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let (leaf, key) = self.leaf(bare, now)?;
        let not_after = (now + LEAF_LIFE - BACKDATED).min(self.certificate.not_after());
        let key = any_supported_type(&PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        let certified = CertifiedKey::new(
            [&[leaf, self.certificate.certificate.clone()][..], &self.certificate.intermediates].concat(),
            key,
        );
        let resolver = OneName { name: bare.into(), certified: Arc::new(certified) };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        // The last one is for curl --http1.0, which offers nothing else.
        config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).to_vec();
        // Tickets do what a memory of sessions would, without one for each host.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(&self.tickets);
        // One that ends with the CA is used to its end: another would not live longer.
        let replace_at = if not_after == self.certificate.not_after() { not_after } else { not_after - LEAF_RESERVE };
        Ok(Leaf { config: Arc::new(config), replace_at })
    }

    /// A certificate for one name, and its key.
    fn leaf(&self, bare: &str, now: SystemTime) -> Result<(CertificateDer<'static>, KeyPair), TlsError> {
        let name = match bare.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(bare.try_into().map_err(failed)?),
        };
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        // A name of more than 64 characters is none (RFC 5280, ub-common-name); who verifies looks at the other one.
        params.distinguished_name = DistinguishedName::new();
        if bare.len() <= 64 {
            params.distinguished_name.push(DnType::CommonName, bare);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        if now >= self.certificate.not_after() {
            let at = humantime::format_rfc3339_seconds(self.certificate.not_after());
            return Err(authority_error(&format!("expired at {at}"), "make another CA with `attache ca init`"));
        }
        // With the hour before it was made it is a week.
        let not_after = (now + LEAF_LIFE - BACKDATED).min(self.certificate.not_after());
        params.not_before = (now - BACKDATED).into();
        params.not_after = not_after.into();
        let key = KeyPair::generate().map_err(failed)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((leaf.der().clone(), key))
    }

    /// What others are to trust.
    #[must_use]
    pub(crate) const fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("fingerprint", &self.certificate.fingerprint())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NewAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAuthority").finish_non_exhaustive()
    }
}

/// Refuses every name but one. No name at all is fine: programs that connect to an address send none.
#[derive(Debug)]
struct OneName {
    name: Box<str>,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OneName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = hello.server_name().is_none_or(|asked| asked.trim_end_matches('.').eq_ignore_ascii_case(&self.name));
        fits.then(|| Arc::clone(&self.certified))
    }
}

/// Tells CAs of several machines apart without naming a machine.
fn subject() -> Result<DistinguishedName, TlsError> {
    let mut random = [0; 4];
    aws_lc_rs::rand::fill(&mut random).map_err(|_none| TlsError::Certificate("there is no randomness".into()))?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("attache local CA {:08x}", u32::from_be_bytes(random)));
    name.push(DnType::OrganizationName, "attache");
    Ok(name)
}

/// A kind of name that is not mentioned would be unconstrained: without addresses among the hosts all of them are excluded, and
/// without names every name is, save one that no host can have (RFC 6761 section 6.4).
fn constraints(hosts: &[String]) -> NameConstraints {
    let mut permitted_subtrees: Vec<GeneralSubtree> = hosts.iter().map(|host| subtree(host)).collect();
    let is_address = |subtree: &GeneralSubtree| matches!(subtree, GeneralSubtree::IpAddress(_));
    let mut excluded_subtrees = Vec::new();
    if !permitted_subtrees.iter().any(is_address) {
        excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
        excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
    }
    if permitted_subtrees.iter().all(is_address) {
        permitted_subtrees.push(GeneralSubtree::DnsName("invalid".to_owned()));
    }
    NameConstraints { permitted_subtrees, excluded_subtrees }
}

/// RFC 5280 section 4.2.1.10: a DNS name stands for itself and everything under it.
fn subtree(host: &str) -> GeneralSubtree {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => GeneralSubtree::IpAddress(CidrSubnet::V4(ip.octets(), [255; 4])),
        Ok(IpAddr::V6(ip)) => GeneralSubtree::IpAddress(CidrSubnet::V6(ip.octets(), [255; 16])),
        Err(_) => GeneralSubtree::DnsName(bare.to_owned()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: rcgen::Error) -> TlsError {
    TlsError::Certificate(error.to_string())
}

fn authority_key_error(what: &'static str) -> TlsError {
    TlsError::AuthorityKey { what, remedy: "name the two files that `attache ca init` made together".into() }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject as _;
    use x509_parser::prelude::GeneralName;

    use super::*;

    fn authority(names: &[&str]) -> CertificateAuthority {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = CertificateAuthority::generate(&names).unwrap();
        CertificateAuthority::from_pem(&made.certificate, &made.key).unwrap()
    }

    #[test]
    fn a_leaf_is_made_once_and_again_before_it_expires() {
        let authority = authority(&[]);
        let first = authority.server_config("api.test").unwrap();
        assert!(Arc::ptr_eq(&first, &authority.server_config("api.test").unwrap()));
        assert!(!Arc::ptr_eq(&first, &authority.server_config("other.test").unwrap()));
        let old = Leaf { config: Arc::clone(&first), replace_at: SystemTime::now() };
        authority.leaves.insert("api.test".into(), Arc::new(old));
        assert!(!Arc::ptr_eq(&first, &authority.server_config("api.test").unwrap()));
        assert!(authority.server_config("[::1]").is_ok() && authority.server_config("192.0.2.1").is_ok());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let authority = authority(&[]);
        for number in 0..LEAVES + 50 {
            let leaf = Leaf { config: authority.server_config("a.test").unwrap(), replace_at: SystemTime::now() };
            authority.leaves.insert(format!("h{number}.test").into(), Arc::new(leaf));
        }
        assert!(authority.leaves.len() <= LEAVES);
    }

    #[test]
    fn a_leaf_is_for_one_name_and_a_week_and_signs_nothing() {
        let authority = authority(&["api.test"]);
        let now = SystemTime::now();
        let (leaf, _) = authority.leaf("api.test", now).unwrap();
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        assert!(!leaf.is_ca());
        let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
        assert!(life <= 7 * 24 * 3600, "{life}");
        let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        assert!(matches!(names.as_slice(), [GeneralName::DNSName("api.test")]), "{names:?}");
        assert!(authority.certificate.not_after() > now + AUTHORITY_LIFE - Duration::from_secs(60));
        assert!(authority.mint("api.test", now + AUTHORITY_LIFE).is_err(), "nothing is signed after the CA's own end");
    }

    #[test]
    fn what_cannot_be_a_local_ca_is_refused_with_a_remedy() {
        let (one, other) = (CertificateAuthority::generate(&[]).unwrap(), CertificateAuthority::generate(&[]).unwrap());
        let told =
            |certificate: &str, key: &Secret| CertificateAuthority::from_pem(certificate, key).unwrap_err().to_string();
        assert!(told(&one.certificate, &other.key).contains("does not belong to the certificate"));
        assert!(told("", &one.key).contains("holds no PEM certificate"));
        assert!(told(&one.certificate, &Secret::new("sentinel".to_owned())).contains("no private key"));
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        assert!(told(&leaf.pem(), &Secret::new(key.serialize_pem())).contains("no CA"));
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let old = params.self_signed(&key).unwrap();
        assert!(told(&old.pem(), &Secret::new(key.serialize_pem())).contains("expired at 2020-01-01"));
        assert!(!format!("{one:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_ca_with_two_parts_of_a_kind_is_refused_and_its_chain_is_shown() {
        // What a company's intermediate may be called: the library would sign with one OU of the two.
        let one = CertificateAuthority::generate(&[]).unwrap();
        let der = CertificateDer::from_pem_slice(one.certificate.as_bytes()).unwrap();
        let other = CertificateAuthority::generate(&[]).unwrap();
        let chain = format!("{}{}", one.certificate, other.certificate);
        let authority = CertificateAuthority::from_pem(&chain, &one.key).unwrap();
        assert_eq!((authority.certificate.der(), authority.certificate.intermediates.len()), (der.as_ref(), 1));
        assert!(authority.server_config("api.test").is_ok());
        let mut subject = authority.certificate.subject.clone();
        assert!(authority.check_name(&subject).is_ok());
        subject.push(0);
        let told = authority.check_name(&subject).unwrap_err().to_string();
        assert!(told.contains("has a name that leaves cannot repeat"), "{told}");
    }
}
