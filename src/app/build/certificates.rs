//! The certificates that attache shows, or signs with, for those who have to renew them.

use std::time::SystemTime;

use crate::app::build::provider::TokenProvider;
use crate::app::build::state::{Certificates, ListenerIdentities};
use crate::config::Config;
use crate::runtime::{Certificate, CertificateKind};
use crate::telemetry::UNMATCHED;
use crate::tls::{CertificateAuthority, ClientIdentity};

/// All of a configuration that is about to be live.
pub(crate) fn certificates(
    config: &Config,
    authority: Option<&CertificateAuthority>,
    listeners: &ListenerIdentities,
    upstreams: &Certificates,
    providers: &[TokenProvider],
) -> Vec<Certificate> {
    let signing = authority.map(|authority| authority.certificate().validity());
    let mut all: Vec<_> = one(CertificateKind::Intercept, UNMATCHED, signing).into_iter().collect();
    let listener = |name: &String| one(CertificateKind::Listener, name, listeners.get(name)?.validity());
    all.extend(config.listeners.iter().filter_map(|config| listener(&config.name)));
    let upstream = |name: &str, identity: &ClientIdentity| one(CertificateKind::Upstream, name, identity.validity());
    let shown = config.upstreams.iter().zip(upstreams);
    all.extend(shown.filter_map(|(config, identity)| upstream(&config.connection.name, identity.as_ref()?)));
    let credential =
        |name: &str, provider: &TokenProvider| one(CertificateKind::Credential, name, provider.certificate_validity());
    let proven = config.credentials.iter().zip(providers);
    all.extend(proven.filter_map(|(config, provider)| credential(&config.name, provider)));
    all
}

/// `None` where there is none, or one whose times cannot be read: others have more to say about that.
fn one(kind: CertificateKind, name: &str, validity: Option<(SystemTime, SystemTime)>) -> Option<Certificate> {
    let (not_before, not_after) = validity?;
    Some(Certificate { kind, name: name.to_owned(), not_before, not_after })
}
