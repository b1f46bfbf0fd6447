//! A configured upstream, live: what is known of it, and what is dialled, verified and named for it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use http::uri;
use rustls_pki_types::ServerName;

use super::error::{ExchangeError, ExchangeErrorKind};
use super::settings::UpstreamSettings;
use crate::dial::{AddressPolicy, Names, Origin, OriginPattern, OwnAddresses, ParentProxy};
use crate::telemetry::UpstreamMetrics;
use crate::tls::{ClientIdentity, ClientTls};

/// What a TLS handshake offers to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Offer {
    /// HTTP/2, or else HTTP/1.1.
    Any,
    /// HTTP/1.1: for a request that may switch protocols.
    Http1,
}

/// A configured upstream, live: shared by all workers, immutable.
pub(crate) struct Upstream {
    /// What the configuration says.
    pub(crate) settings: Arc<UpstreamSettings>,
    /// The certificate that is shown to a server which asks for one: its own, or that of its credential.
    pub(crate) identity: Option<ClientIdentity>,
    /// Of all workers.
    pub(crate) metrics: UpstreamMetrics,
    /// Keys the pools: two upstreams never share a connection, even to one origin.
    pub(crate) id: u64,
    tls: Option<ClientTls>,
    pub(super) addresses: AddressPolicy,
    pub(super) own: Arc<OwnAddresses>,
    /// Where hosts are looked up that callers choose: of an upstream with more than one origin.
    pub(super) names: Names,
    pub(super) parent_proxy: Option<ParentProxy>,
    /// Ready-made for an upstream with one origin.
    authority: Option<(HeaderValue, uri::Authority)>,
}

impl Upstream {
    /// An upstream without connections. `tls` is there exactly for an `https` origin, and shows `identity`.
    #[must_use]
    pub(crate) fn new(
        settings: Arc<UpstreamSettings>,
        identity: Option<ClientIdentity>,
        tls: Option<ClientTls>,
        addresses: AddressPolicy,
        own: Arc<OwnAddresses>,
        metrics: UpstreamMetrics,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let authority = match &settings.origin {
            OriginPattern::Exact(origin) => authority_of(origin),
            OriginPattern::Wildcard { .. } => None,
        };
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let names = Names::configured().clone();
        Self { settings, identity, metrics, id, tls, addresses, own, names, parent_proxy: None, authority }
    }

    /// The same, with the hosts that its callers choose looked up there.
    #[must_use]
    pub(crate) fn with_names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// True if these are the addresses that it may dial.
    #[must_use]
    pub(crate) fn dials_only(&self, addresses: &AddressPolicy) -> bool {
        self.addresses == *addresses
    }

    /// The same, with its connections made through the proxy of its settings' `via`.
    #[must_use]
    pub(crate) fn through(mut self, parent_proxy: Option<ParentProxy>) -> Self {
        self.parent_proxy = parent_proxy;
        self
    }

    /// The parent proxy that this origin is reached through, as `host:port`, for people.
    #[must_use]
    pub(crate) fn parent_proxy_for(&self, origin: &Origin) -> Option<String> {
        let (host, port) = match &self.settings.connect {
            Some(connect) => (&connect.host, connect.port),
            None => (&origin.host, origin.port),
        };
        self.parent_proxy.as_ref().filter(|parent_proxy| parent_proxy.covers(host, port)).map(ParentProxy::name)
    }

    /// True if it may be spoken to in HTTP/2: it is where TLS agrees on that.
    #[must_use]
    pub(crate) const fn may_speak_http2(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn tls(&self, offer: Offer) -> Option<&Arc<rustls::ClientConfig>> {
        let tls = self.tls.as_ref()?;
        Some(match offer {
            Offer::Any => &tls.any,
            Offer::Http1 => &tls.http1,
        })
    }

    pub(super) fn is_single_origin(&self) -> bool {
        matches!(self.settings.origin, OriginPattern::Exact(_))
    }

    /// The name in SNI and in the certificate.
    pub(super) fn server_name(&self, origin: &Origin) -> Result<ServerName<'static>, ExchangeError> {
        let host = origin.host.bare();
        let name = self.settings.tls.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_invalid| {
            let detail = format!("{name} is no name that a certificate could be for");
            ExchangeError::new(ExchangeErrorKind::TlsCertificateError, detail)
        })
    }

    /// `Host` and `:authority` for this origin.
    pub(super) fn authority(&self, origin: &Origin) -> Option<Cow<'_, (HeaderValue, uri::Authority)>> {
        self.authority.as_ref().map(Cow::Borrowed).or_else(|| authority_of(origin).map(Cow::Owned))
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// `None` never comes of a canonical host; the type of `http` cannot know that.
fn authority_of(origin: &Origin) -> Option<(HeaderValue, uri::Authority)> {
    let text = origin.authority();
    Some((HeaderValue::from_str(&text).ok()?, text.parse().ok()?))
}
