//! From an origin to an open connection: the way there, and the handshake.

use std::future::Future;

use tokio_rustls::TlsConnector;

use super::error::{ExchangeError, ExchangeErrorKind};
use super::http1::Stream;
use super::{Offer, Origin, Transport, Upstream};
use crate::coarse;
use crate::dial::{Target, dial, handshake_error, without_brackets};
use crate::tls::Keys;

/// Dials the origin (or what stands in for it in `connect`), within the connect timeout.
pub(super) async fn connect(upstream: &Upstream, origin: &Origin, offer: Offer) -> Result<Stream, ExchangeError> {
    let connecting = async {
        let transport = dial_upstream(upstream, origin).await?;
        let Some(tls) = upstream.tls(offer) else { return Ok(Stream::Plain(transport)) };
        let name = upstream.server_name(origin)?;
        match TlsConnector::from(std::sync::Arc::clone(tls)).connect(name, transport).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => Err(handshake_error(&error, &Keys::UPSTREAM).into()),
        }
    };
    in_time(upstream, origin, connecting).await
}

/// A way to the origin for a tunnel, within the connect timeout: nothing of ours is spoken on it.
pub(super) async fn connect_bare(upstream: &Upstream, origin: &Origin) -> Result<Transport, ExchangeError> {
    in_time(upstream, origin, dial_upstream(upstream, origin)).await
}

async fn in_time<T>(
    upstream: &Upstream,
    origin: &Origin,
    connecting: impl Future<Output = Result<T, ExchangeError>>,
) -> Result<T, ExchangeError> {
    let limit = upstream.settings.timeouts.connect;
    coarse::timeout(limit, connecting).await.unwrap_or_else(|_| {
        let via =
            upstream.onward_for(origin).map_or_else(String::new, |proxy| format!(" through the onward proxy {proxy}"));
        let detail = format!("no connection to {origin}{via} within {}", humantime::format_duration(limit));
        Err(ExchangeError::new(ExchangeErrorKind::ConnectionTimeout, detail))
    })
}

async fn dial_upstream(upstream: &Upstream, origin: &Origin) -> Result<Transport, ExchangeError> {
    let (host, port) = match &upstream.settings.connect {
        Some(connect) => (&connect.host, connect.port),
        None => (&origin.host, origin.port),
    };
    match upstream.onward.as_ref().filter(|onward| onward.covers(host, port)) {
        None => {
            let dialled = dial(without_brackets(host.as_str()), port, &upstream.addresses, &upstream.own).await;
            dialled.map(Transport::Tcp).map_err(ExchangeError::from)
        }
        Some(onward) => {
            let by_caller = !upstream.is_single_origin() && upstream.settings.connect.is_none();
            let target = Target { host, port, by_caller };
            // Boxed: few have one, and all would have room for it.
            Box::pin(onward.reach(&target, &upstream.addresses, &upstream.own)).await.map_err(ExchangeError::from)
        }
    }
}
