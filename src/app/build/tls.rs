//! TLS of listeners and upstreams, and the local CA. What shows the same as before is kept.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::app::build::state::{Built, ListenerIdentities};
use crate::app::sources::BuildError;
use crate::config::{Config, ListenerConfig, UpstreamConfig};
use crate::credential::CredentialSettings;
use crate::dial::Scheme;
use crate::oauth::ClientAuth;
use crate::proxy::ListenerMode;
use crate::runtime::ListenerRuntime;
use crate::tls::server::ListenerIdentity;
use crate::tls::{
    CertificateAuthority, ClientIdentity, ClientTls, IdentitySource, MinVersion, TlsError, client_config,
};
use crate::upstream::{TlsSettings, UpstreamSettings};

/// TLS configurations by all that makes one: what is trusted, what is shown, the oldest version.
pub(crate) type TlsConfigs = HashMap<(Option<PathBuf>, Option<[u8; 32]>, MinVersion), ClientTls>;

/// What listeners show, as their files are now. A pair that cannot be used, perhaps because one file of it has been replaced and
/// the other not yet, is what it was.
pub(crate) fn listener_identities(config: &Config, before: Option<&Built>) -> Result<ListenerIdentities, BuildError> {
    let known = |name: &str| before.and_then(|built| built.listener_tls.get(name)).cloned();
    let read = |listener: &ListenerConfig| {
        let tls = listener.tls.as_ref()?;
        let identity = tls.read().or_else(|error| known(&listener.name).ok_or(error));
        let place = || format!("listener {:?}", listener.name);
        Some(
            identity
                .map(|identity| (listener.name.clone(), identity))
                .map_err(|error| BuildError::Tls { place: place(), error }),
        )
    };
    config.listeners.iter().filter_map(read).collect()
}

/// The live configuration of a listener's TLS, if it shows the same: its sessions go on.
pub(crate) fn listener_tls(
    config: &ListenerConfig,
    identity: &ListenerIdentity,
    live: Option<&ListenerRuntime>,
    before: Option<&Built>,
) -> Result<Arc<rustls::ServerConfig>, BuildError> {
    let shown = before.and_then(|built| built.listener_tls.get(&config.name));
    if let Some(tls) = live.filter(|_| shown == Some(identity)).and_then(|live| live.tls.clone()) {
        return Ok(tls);
    }
    let http = !matches!(config.mode, ListenerMode::Socks5 { .. });
    let made = identity.server_config(http);
    made.map_err(|error| BuildError::Tls { place: format!("listener {:?}", config.name), error })
}

/// The local CA. One that did not change keeps the leaves it has made.
pub(crate) fn authority(
    config: &Config,
    before: Option<&Built>,
) -> Result<Option<Arc<CertificateAuthority>>, BuildError> {
    let Some(source) = &config.intercept else { return Ok(None) };
    let place = || "[intercept]".to_owned();
    let read = source.read().map_err(|error| BuildError::Tls { place: place(), error })?;
    let live = before.and_then(|built| built.runtime.authority.as_ref());
    let same = live.filter(|live| live.certificate().der() == read.certificate().der());
    Ok(Some(same.map_or_else(|| Arc::new(read), Arc::clone)))
}

/// Where each upstream's certificate comes from, in the configuration's order.
pub(crate) fn certificate_sources(config: &Config) -> Vec<Option<IdentitySource>> {
    let credentials = config.credentials_by_name();
    config.upstreams.iter().map(|upstream| certificate_source(&credentials, upstream)).collect()
}

/// Where the certificate that an upstream shows comes from: its own, or that of a credential whose tokens may be bound to
/// it, and are worth nothing without it then (RFC 8705 section 3).
fn certificate_source(
    credentials: &HashMap<&str, &CredentialSettings>,
    upstream: &UpstreamConfig,
) -> Option<IdentitySource> {
    // Nobody asks for one over plain http.
    if upstream.connection.origin.base().scheme == Scheme::Http {
        return None;
    }
    let of_credential = || {
        let name = upstream.credential.as_ref()?;
        let credential = credentials.get(name.as_str())?;
        match &credential.oauth()?.client_auth {
            ClientAuth::Tls { certificate, key } => {
                Some(IdentitySource { certificate: certificate.clone(), key: key.clone() })
            }
            _ => None,
        }
    };
    upstream.connection.tls.identity.clone().or_else(of_credential)
}

/// The certificate that an upstream shows, as it is now.
pub(crate) fn upstream_certificate(
    upstream: &UpstreamConfig,
    source: Option<&IdentitySource>,
) -> Result<Option<ClientIdentity>, BuildError> {
    source.map(IdentitySource::read).transpose().map_err(|error| upstream_error(&upstream.connection, error))
}

pub(crate) fn upstream_tls(
    settings: &UpstreamSettings,
    identity: Option<&ClientIdentity>,
    known: &mut TlsConfigs,
) -> Result<ClientTls, BuildError> {
    let TlsSettings { ca_file, min_version, .. } = &settings.tls;
    let key = (ca_file.clone(), identity.map(ClientIdentity::fingerprint), *min_version);
    if let Some(config) = known.get(&key) {
        return Ok(config.clone());
    }
    let made = client_config(ca_file.as_deref(), &[b"h2", b"http/1.1"], identity, *min_version);
    let made = ClientTls::from(made.map_err(|error| upstream_error(settings, error))?);
    known.insert(key, made.clone());
    Ok(made)
}

fn upstream_error(settings: &UpstreamSettings, error: TlsError) -> BuildError {
    BuildError::Tls { place: format!("upstream {:?}", settings.name), error }
}
