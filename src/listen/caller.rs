//! Who is at the other end of a connection: what is known of a caller besides what it says in its requests.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

use super::loopback;
use super::per_address::{AddressGuard, PerAddress, network_of};
use crate::tls::server::CertificateName;

/// A caller's connection, for as long as anything of it lives: its requests, and the tunnels that came of them.
#[derive(Debug)]
pub(crate) struct CallerConnection {
    /// The other end itself: what trust goes by.
    pub(crate) peer: Peer,
    /// Where the caller is, as a PROXY protocol header told.
    told: OnceLock<SocketAddr>,
    /// The address that it came to; `None` for a unix socket.
    at: Option<SocketAddr>,
    /// The names in the certificate that it has shown, once its TLS stands.
    certificate: OnceLock<Vec<CertificateName>>,
    /// A password has been right on it.
    proven: AtomicBool,
    _permit: Option<OwnedSemaphorePermit>,
    address_guard: OnceLock<AddressGuard>,
    open: Gauge,
}

/// The other end of a connection, as the system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// TCP.
    Address(SocketAddr),
    /// A unix socket, and the user at its other end, where the system tells.
    User(Option<u32>),
}

impl Peer {
    /// True if the system says that it is this process's own user, or root.
    #[must_use]
    pub(crate) fn is_own_user(self) -> bool {
        matches!(self, Self::User(Some(uid)) if is_own(uid))
    }
}

#[cfg(unix)]
fn is_own(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// The system tells of no user there.
#[cfg(not(unix))]
const fn is_own(_: u32) -> bool {
    false
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

/// Where a caller is, for limits, logs and traces. A proxy in front may have told it, so nothing is trusted for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallerAddress {
    /// The other end's, or what a PROXY protocol header says.
    Socket(SocketAddr),
    /// What a proxy has written into a request.
    Ip(IpAddr),
    /// A unix socket's, and its user, where the system tells.
    User(Option<u32>),
}

/// Whom a request comes from: over which connection, and where its caller is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallerAt<'a> {
    pub(crate) connection: &'a CallerConnection,
    pub(crate) address: CallerAddress,
}

impl CallerAt<'_> {
    /// True if the connection carries the requests of others too.
    #[must_use]
    pub(crate) fn is_one_of_many(&self) -> bool {
        self.address != self.connection.address()
    }
}

/// What counts as one place: limits are for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// See [`network_of`].
    Network(IpAddr),
    User(Option<u32>),
}

impl CallerAddress {
    #[must_use]
    pub(crate) fn place(self) -> Place {
        match self {
            Self::Socket(address) => Place::Network(network_of(address.ip())),
            Self::Ip(ip) => Place::Network(network_of(ip)),
            Self::User(uid) => Place::User(uid),
        }
    }
}

impl From<Peer> for CallerAddress {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Address(address) => Self::Socket(address),
            Peer::User(uid) => Self::User(uid),
        }
    }
}

impl fmt::Display for CallerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => Peer::Address(*address).fmt(f),
            Self::Ip(ip) => ip.fmt(f),
            Self::User(uid) => Peer::User(*uid).fmt(f),
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
            told: OnceLock::new(),
            at,
            certificate: OnceLock::new(),
            proven: AtomicBool::new(false),
            _permit: permit,
            address_guard: OnceLock::new(),
            open,
        }
    }

    /// Where its caller is: what limits, logs and traces go by.
    #[must_use]
    pub(crate) fn address(&self) -> CallerAddress {
        self.told.get().map_or_else(|| self.peer.into(), |told| CallerAddress::Socket(*told))
    }

    /// The caller of all that comes over it, where it is one caller's.
    #[must_use]
    pub(crate) fn as_caller(&self) -> CallerAt<'_> {
        CallerAt { connection: self, address: self.address() }
    }

    /// Notes what a PROXY protocol header says of the caller.
    pub(super) fn note_told(&self, address: SocketAddr) {
        // A connection begins with one header at most.
        let _first = self.told.set(address);
    }

    /// From now on it counts among those from the same address.
    pub(super) fn count(&self, all: &Arc<PerAddress>) {
        if let Place::Network(network) = self.address().place() {
            let _first = self.address_guard.set(all.count(network));
        }
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
        self.address_guard.get().is_some_and(|guard| guard.is_over)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_own_user_is_this_one_or_root_and_nobody_of_whom_the_system_does_not_tell() {
        let own = rustix::process::geteuid().as_raw();
        assert!(Peer::User(Some(own)).is_own_user() && Peer::User(Some(0)).is_own_user());
        assert!(!Peer::User(Some(own ^ 0x4000)).is_own_user(), "another user");
        assert!(!Peer::User(None).is_own_user());
        assert!(!Peer::Address(SocketAddr::from(([127, 0, 0, 1], 7))).is_own_user());
    }

    #[tokio::test]
    async fn an_address_that_is_told_is_for_limits_and_logs_and_never_for_trust() {
        let told = SocketAddr::from(([127, 0, 0, 1], 7));
        let of = |peer, at| {
            let connection = CallerConnection::new(peer, at, None, Gauge::default());
            connection.note_told(told);
            connection
        };
        let unix = of(Peer::User(Some(7)), None);
        assert_eq!((unix.address(), unix.user().await), (CallerAddress::Socket(told), Some(7)));
        // Not this machine's, though it says so.
        let far = of(Peer::Address(SocketAddr::from(([192, 0, 2, 7], 7))), Some(told));
        assert_eq!((far.address(), far.user().await), (CallerAddress::Socket(told), None));
    }

    #[test]
    fn a_place_is_the_same_however_its_address_is_known() {
        let socket = CallerAddress::Socket(SocketAddr::from(([192, 0, 2, 7], 1)));
        assert_eq!(socket.place(), CallerAddress::Ip("::ffff:192.0.2.7".parse().unwrap()).place());
        assert_eq!(CallerAddress::User(Some(7)).place(), Place::User(Some(7)));
    }
}
