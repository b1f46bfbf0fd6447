//! From an origin to an open connection: the way there, and the handshake.

use std::future::Future;

use tokio_rustls::TlsConnector;

use super::error::{ExchangeError, ExchangeErrorKind};
use super::live::{Offer, Upstream};
use crate::dial::{DialError, Host, MaybeTls, Names, Origin, Target, Transport, dial};
use crate::timer;
use crate::tls::Keys;

/// A connection to an origin.
pub(super) type Stream = MaybeTls<Transport>;

/// Dials the origin (or what stands in for it in `connect`), within the connect timeout.
pub(super) async fn connect(upstream: &Upstream, origin: &Origin, offer: Offer) -> Result<Stream, ExchangeError> {
    let connecting = async {
        let transport = dial_upstream(upstream, origin).await?;
        let Some(tls) = upstream.tls(offer) else { return Ok(Stream::Plain(transport)) };
        let name = upstream.server_name(origin)?;
        match TlsConnector::from(std::sync::Arc::clone(tls)).connect(name, transport).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => Err(DialError::of_handshake(&error, &Keys::UPSTREAM).into()),
        }
    };
    in_time(upstream, origin, connecting).await
}

impl Upstream {
    /// A way to the origin (or its `connect`) for a tunnel, within the connect timeout.
    ///
    /// # Errors
    /// As for any exchange: resolution, policy, refusal, timeout.
    pub(crate) async fn dial(&self, origin: &Origin) -> Result<Transport, ExchangeError> {
        in_time(self, origin, dial_upstream(self, origin)).await
    }
}

async fn in_time<T>(
    upstream: &Upstream,
    origin: &Origin,
    connecting: impl Future<Output = Result<T, ExchangeError>>,
) -> Result<T, ExchangeError> {
    let limit = upstream.settings.timeouts.connect;
    timer::timeout(limit, connecting).await.unwrap_or_else(|_| {
        let Way { host, names, .. } = way(upstream, origin);
        let parent_proxy = upstream.parent_proxy_for(origin);
        if parent_proxy.is_none() && names.is_silent(host.bare()) {
            return Err(DialError::unresolved(host.as_str(), limit).into());
        }
        let via = parent_proxy.map_or_else(String::new, |proxy| format!(" through the parent proxy {proxy}"));
        let limit = humantime::format_duration(limit);
        let through = if via.is_empty() { "" } else { " through the parent proxy" };
        let detail = format!("no connection to {origin}{via} within {limit}");
        let error = ExchangeError::new(ExchangeErrorKind::ConnectionTimeout, detail);
        Err(error.with_caller_message(format!("no connection{through} within {limit}")))
    })
}

/// What is dialled for an origin.
struct Way<'a> {
    host: &'a Host,
    port: u16,
    /// A caller chose the host, and not the configuration.
    by_caller: bool,
    names: &'a Names,
}

fn way<'a>(upstream: &'a Upstream, origin: &'a Origin) -> Way<'a> {
    match &upstream.settings.connect {
        Some(connect) => Way { host: &connect.host, port: connect.port, by_caller: false, names: Names::configured() },
        None => {
            let by_caller = !upstream.is_single_origin();
            let names = if by_caller { &upstream.names } else { Names::configured() };
            Way { host: &origin.host, port: origin.port, by_caller, names }
        }
    }
}

async fn dial_upstream(upstream: &Upstream, origin: &Origin) -> Result<Transport, ExchangeError> {
    let Way { host, port, by_caller, names } = way(upstream, origin);
    match upstream.parent_proxy.as_ref().filter(|parent_proxy| parent_proxy.covers(host, port)) {
        None => {
            let dialled = dial(host, port, &upstream.addresses, &upstream.own, names).await;
            dialled.map(Transport::Plain).map_err(ExchangeError::from)
        }
        Some(parent_proxy) => {
            let target = Target { host, port, by_caller };
            // Boxed: few have one, and all would have room for it.
            Box::pin(parent_proxy.reach(&target, &upstream.addresses, &upstream.own)).await.map_err(ExchangeError::from)
        }
    }
}
