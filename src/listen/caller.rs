//! Who is at the other end of a connection: what is known of a caller besides what it says in its requests.

use std::fmt;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

use super::loopback;
use super::per_address::AddressGuard;
use crate::tls::server::CertificateName;

/// A caller's connection, for as long as anything of it lives: its requests, and the tunnels that came of them.
#[derive(Debug)]
pub(crate) struct CallerConnection {
    /// Where it comes from.
    pub(crate) peer: Peer,
    /// The address that it came to; `None` for a unix socket.
    at: Option<SocketAddr>,
    /// The names in the certificate that it has shown, once its TLS stands.
    certificate: OnceLock<Vec<CertificateName>>,
    /// A password has been right on it.
    proven: AtomicBool,
    _permit: Option<OwnedSemaphorePermit>,
    address_guard: Option<AddressGuard>,
    open: Gauge,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// TCP.
    Address(SocketAddr),
    /// A unix socket, and the user at its other end, where the system tells.
    User(Option<u32>),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::User(Some(uid)) => write!(f, "unix:uid={uid}"),
            Self::User(None) => f.write_str("unix"),
        }
    }
}

impl CallerConnection {
    /// Counted in `open`, and holding its permit, until it is dropped.
    #[must_use]
    pub(crate) fn new(peer: Peer, at: Option<SocketAddr>, permit: Option<OwnedSemaphorePermit>, open: Gauge) -> Self {
        open.inc();
        Self {
            peer,
            at,
            certificate: OnceLock::new(),
            proven: AtomicBool::new(false),
            _permit: permit,
            address_guard: None,
            open,
        }
    }

    /// The same, counted among those from the same address.
    pub(super) fn counted(mut self, guard: Option<AddressGuard>) -> Self {
        self.address_guard = guard;
        self
    }

    /// The user at the other end, as the system tells: of a unix socket, and on Linux of a connection within this machine.
    pub(crate) async fn user(&self) -> Option<u32> {
        match (self.peer, self.at) {
            (Peer::User(uid), _) => uid,
            (Peer::Address(peer), Some(at)) if peer.ip().to_canonical().is_loopback() => {
                // Boxed: few listeners ask, and every connection's future would have room for it.
                Box::pin(loopback::owner(peer, at)).await
            }
            (Peer::Address(_), _) => None,
        }
    }

    /// True if it is one more than may come from its address.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.address_guard.as_ref().is_some_and(|guard| guard.is_over)
    }

    /// True the first time: what a connection has proven need not be remembered with each request.
    pub(crate) fn is_first_proof(&self) -> bool {
        !self.proven.load(Ordering::Relaxed) && !self.proven.swap(true, Ordering::Relaxed)
    }

    /// Notes the names in a certificate that has been verified.
    pub(crate) fn note_certificate(&self, names: Vec<CertificateName>) {
        // There is one handshake, so they are noted once.
        let _first = self.certificate.set(names);
    }

    /// The names in the certificate that was shown, if one was.
    #[must_use]
    pub(crate) fn certificate_names(&self) -> &[CertificateName] {
        self.certificate.get().map_or(&[], Vec::as_slice)
    }
}

impl Drop for CallerConnection {
    fn drop(&mut self) {
        self.open.dec();
    }
}
