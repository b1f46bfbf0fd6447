//! A connection or a stream whose caller has asked for another protocol or a tunnel.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio_util::either::Either;

use super::connection::http2::tunnel::Tunnel;

/// The caller's side of a switch of protocols (RFC 9110 section 7.8) or of a tunnel (section 9.3.6), until the answer says
/// whether there will be one.
pub(crate) struct Upgrade(Way);

enum Way {
    Http1(OnUpgrade),
    Http2(oneshot::Receiver<Tunnel>, Option<h2::ext::Protocol>),
}

/// There is no connection any more, or the answer was another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotUpgraded;

impl Upgrade {
    pub(super) const fn of_http1(upgrade: OnUpgrade) -> Self {
        Self(Way::Http1(upgrade))
    }

    pub(super) const fn of_http2(tunnel: oneshot::Receiver<Tunnel>, protocol: Option<h2::ext::Protocol>) -> Self {
        Self(Way::Http2(tunnel, protocol))
    }

    pub(super) fn protocol(&self) -> Option<&str> {
        match &self.0 {
            Way::Http1(_) => None,
            Way::Http2(_, protocol) => protocol.as_ref().map(h2::ext::Protocol::as_str),
        }
    }

    /// The bytes that follow the answer. It waits for that, so the answer must not wait for this.
    ///
    /// # Errors
    /// [`NotUpgraded`].
    pub(crate) async fn upgraded(self) -> Result<Upgraded, NotUpgraded> {
        match self.0 {
            Way::Http1(upgrade) => {
                upgrade.await.map(|upgraded| Either::Left(TokioIo::new(upgraded))).map_err(|_failed| NotUpgraded)
            }
            Way::Http2(tunnel, _) => tunnel.await.map(Either::Right).map_err(|_failed| NotUpgraded),
        }
    }
}

impl std::fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrade").finish_non_exhaustive()
    }
}

/// A caller's bytes behind a switch of protocols: the whole connection, or one stream of it.
pub(crate) type Upgraded = Either<TokioIo<hyper::upgrade::Upgraded>, Tunnel>;
