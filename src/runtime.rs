//! The immutable snapshot that one request works with, and the place where it is swapped.

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use tokio::sync::watch;

use crate::caller::{Callers, Guesses};
use crate::credential::Credential;
use crate::fleet::Fleet;
use crate::listen::{Misplaced, Networks, ProxyHeaderError, TrustedProxies};
use crate::route::{ForwardTable, ReverseTable, Route};
use crate::secret::Digests;
use crate::telemetry::{LogThrottle, RouteMetrics};
use crate::tls::CertificateAuthority;
use crate::upstream::Upstream;

/// Everything a configuration became.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// In the configuration's order.
    pub(crate) listeners: Vec<ListenerRuntime>,
    /// In the configuration's order.
    pub(crate) credentials: Vec<Arc<Credential>>,
    /// In the configuration's order.
    pub(crate) routes: Vec<Arc<Route>>,
    /// Where unmatched requests go, under `unmatched = "pass"` and `"report"`.
    pub(crate) unmatched: UnmatchedRuntime,
    /// `[intercept]`: without it no TLS is opened.
    pub(crate) authority: Option<Arc<CertificateAuthority>>,
    /// Those that are shown, or that sign.
    pub(crate) certificates: Vec<Certificate>,
    /// `[cache]`, if there is one. Owned elsewhere: a request that goes on for long keeps no connection that is not used any more.
    pub(crate) fleet: Weak<Fleet>,
}

impl Runtime {
    /// All that requests may go to.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let unmatched = match &self.unmatched {
            UnmatchedRuntime::Deny => [None, None],
            UnmatchedRuntime::Pass { http, https, .. } => [Some(http), Some(https)],
        };
        let configured = self.routes.iter().map(|route| &route.upstream);
        configured.chain(unmatched.into_iter().flatten())
    }

    /// The listener that has these sockets; `None` if a reload has taken it away.
    #[must_use]
    pub(crate) fn listener(&self, slot: usize) -> Option<&ListenerRuntime> {
        // As long as nothing was added or removed by a reload, the slot is the place.
        let expected = self.listeners.get(slot).filter(|listener| listener.slot == slot);
        expected.or_else(|| self.listeners.iter().find(|listener| listener.slot == slot))
    }
}

/// A certificate that has to be renewed in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) kind: CertificateKind,
    /// Of the listener, upstream or credential.
    pub(crate) name: String,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// Whom it is shown to, or what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CertificateKind {
    /// The local CA of `[intercept]`.
    Intercept,
    /// Shown to callers.
    Listener,
    /// Shown to an upstream.
    Upstream,
    /// Shown to a token endpoint.
    Credential,
}

/// What a listener does with requests.
#[derive(Debug)]
pub(crate) struct ListenerRuntime {
    /// Its sockets: a worker knows its listener by this number, which stays the same for as long as the sockets do.
    pub(crate) slot: usize,
    /// The name in `[listeners.NAME]`.
    pub(crate) name: String,
    /// How targets are read and found.
    pub(crate) mode: ModeRuntime,
    /// Who may use it; `None`: every caller that can connect.
    pub(crate) callers: Option<Arc<Callers>>,
    /// TLS towards callers.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Proxies in front that begin a connection with where its caller is.
    pub(crate) proxy_protocol: Option<Arc<Networks>>,
    /// Proxies in front that say in each request where its caller is.
    pub(crate) trusted_proxies: Option<TrustedProxies>,
    /// Names of fields in Title-Case over HTTP/1.1.
    pub(crate) title_case: bool,
    /// Users of this machine who may connect to its unix socket; `None`: whom the file's mode lets.
    pub(crate) users: Option<Vec<u32>>,
    /// For requests that reach no upstream.
    pub(crate) metrics: RouteMetrics,
    /// What has been logged of those refusals, by status.
    pub(crate) refusals: LogThrottle<u16>,
    /// Wrong secrets of a token listener's clients; [`Callers`] count for themselves.
    pub(crate) guesses: Arc<Guesses>,
    /// What has been logged of what strangers do.
    pub(crate) strangers: LogThrottle<Stranger>,
}

/// What anybody who can connect may do as often as it likes, and is worth a line once in a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// A greeting that is not SOCKS 5, or proves nothing.
    Greeting,
    /// A TLS handshake in a tunnel that came to nothing.
    Handshake,
    /// What is not HTTP where callers speak HTTP in clear.
    Misplaced(Misplaced),
    /// A proxy in front that does not say where its caller is.
    ProxyHeader(ProxyHeaderError),
    /// No HTTP in a tunnel that is for HTTP alone.
    NoHttp,
    /// A head that is not HTTP.
    Unreadable,
    /// Something for this origin would be denied.
    WouldBeDenied(String),
}

/// `mode`, live.
#[derive(Debug)]
pub(crate) enum ModeRuntime {
    /// Callers name the target.
    Forward(ForwardTable<Arc<ListenerRoute>>),
    /// The same in SOCKS 5: every target is a host and a port.
    Socks5(ForwardTable<Arc<ListenerRoute>>),
    /// The listener is the base URL.
    Reverse {
        /// Where its requests go.
        table: ReverseTable<Arc<ListenerRoute>>,
        /// `None`: any host.
        hosts: Option<Vec<HostRule>>,
    },
    /// The listener is a token endpoint for these.
    Token(Vec<TokenClientRuntime>),
}

/// A client of a token listener, and the credential whose tokens it is given.
#[derive(Debug)]
pub(crate) struct TokenClientRuntime {
    /// How it calls itself.
    pub(crate) client_id: String,
    /// What proves it.
    pub(crate) secret: Arc<Digests>,
    /// Whose token it gets.
    pub(crate) credential: Arc<Credential>,
}

/// A `Host` that a reverse listener accepts.
#[derive(Debug, Clone)]
pub(crate) enum HostRule {
    /// Loopback names and addresses.
    Loopback,
    /// This canonical host.
    Named(String),
    /// The hosts of an upstream.
    Of(crate::dial::OriginPattern),
}

impl HostRule {
    /// True if this canonical host is accepted.
    #[must_use]
    pub(crate) fn accepts(&self, host: &str) -> bool {
        match self {
            Self::Loopback => crate::dial::is_loopback_host(host),
            Self::Named(name) => name == host,
            Self::Of(pattern) => pattern.covers_host(host),
        }
    }
}

/// One listener's way to one route, with its counters.
#[derive(Debug)]
pub(crate) struct ListenerRoute {
    pub(crate) route: Arc<Route>,
    /// Counters of this listener and upstream.
    pub(crate) metrics: RouteMetrics,
    /// It has been said that a tunnel carries no token.
    pub(crate) tunnel_warned: AtomicBool,
    /// It has been said that requests go out without a token (`on_token_error = "pass"`).
    pub(crate) without_token: LogThrottle,
    /// What has been logged of refusals, by status.
    pub(crate) refusals: LogThrottle<u16>,
    /// What has been logged of 401s, by what was done about them.
    pub(crate) unauthorized: LogThrottle<&'static str>,
}

/// How unmatched requests are treated.
#[derive(Debug)]
pub(crate) enum UnmatchedRuntime {
    /// 403.
    Deny,
    /// Passed untouched; `report` says that each is logged and counted.
    Pass {
        /// Dials `http` targets and tunnels.
        http: Arc<Upstream>,
        /// Dials `https` targets that came in clear.
        https: Arc<Upstream>,
        /// Logged and counted as would-be denied.
        report: bool,
    },
}

/// The current [`Runtime`], for all threads.
#[derive(Debug, Clone)]
pub(crate) struct SharedRuntime {
    current: Arc<ArcSwap<Runtime>>,
    /// Tells what outlives its request that there is something new to look at.
    changes: watch::Sender<()>,
}

impl SharedRuntime {
    /// Begins with this snapshot.
    #[must_use]
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self { current: Arc::new(ArcSwap::new(runtime)), changes: watch::Sender::new(()) }
    }

    /// Puts the next snapshot in place; requests that have begun finish with theirs.
    pub(crate) fn swap(&self, runtime: Arc<Runtime>) {
        self.current.store(runtime);
        self.announce();
    }

    /// Says that something within the snapshot is another now: the passwords of callers.
    pub(crate) fn announce(&self) {
        self.changes.send_replace(());
    }

    /// The snapshot now.
    #[must_use]
    pub(crate) fn current(&self) -> Arc<Runtime> {
        self.current.load_full()
    }

    /// A reader for one thread.
    #[must_use]
    pub(crate) fn reader(&self) -> RuntimeReader {
        let changes = self.changes.subscribe();
        RuntimeReader { cache: RefCell::new(Cache::new(Arc::clone(&self.current))), changes }
    }
}

/// One thread's view of the current snapshot: as long as nothing was swapped, reading is comparing a pointer.
#[derive(Debug)]
pub(crate) struct RuntimeReader {
    cache: RefCell<Cache<Arc<ArcSwap<Runtime>>, Arc<Runtime>>>,
    changes: watch::Receiver<()>,
}

impl RuntimeReader {
    /// The snapshot for one request.
    #[must_use]
    pub(crate) fn current(&self) -> Arc<Runtime> {
        Arc::clone(self.cache.borrow_mut().load())
    }

    /// Tells of every change from now on, for what lives longer than a request.
    #[must_use]
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        changes
    }
}
