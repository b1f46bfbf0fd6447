//! One worker's request path: what its steps have in common. The steps themselves are in `mod.rs`.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admit::rate::Admission;
use super::body::replay_memory::{ReplayBudget, ReplayMemory};
use super::body::request::RequestBody;
use super::head::via::ViaIdentity;
use super::refusals::Refusals;
use super::unreadable::{unreadable, unreadable_proxy_header};
use crate::listen::{CallerAddress, CallerConnection, Misplaced, Networks, ProxyHeaderError, Serving, Unreadable};
use crate::runtime::{ModeRuntime, RuntimeReader, Stranger};
use crate::telemetry::{AccessLog, RecentRequests, RequestMetrics, Traces};
use crate::upstream::Pool;

pub(crate) struct Proxy {
    pub(super) runtime: RuntimeReader,
    pub(super) pool: Pool<RequestBody>,
    pub(super) replays: Rc<ReplayMemory>,
    pub(super) shared: Arc<ProxyShared>,
    /// Tunnels and drained bodies: what outlives its request.
    tasks: TaskTracker,
    /// For what is served inside of tunnels.
    pub(super) serving: Serving,
    /// Ends tasks at the shutdown deadline.
    pub(super) stop: CancellationToken,
}

/// What all workers share besides the runtime.
#[derive(Debug)]
pub(crate) struct ProxyShared {
    pub(crate) via: ViaIdentity,
    pub(crate) replay_budget: Arc<ReplayBudget>,
    pub(crate) admission: Admission,
    /// `telemetry.access_log`.
    pub(crate) access_log: Option<AccessLog>,
    /// For the status page.
    pub(crate) recent: RecentRequests,
    pub(crate) traces: Option<Traces>,
    /// `telemetry.server_timing`.
    pub(crate) server_timing: bool,
    /// `telemetry.request_id`.
    pub(crate) request_id: bool,
    pub(crate) metrics: RequestMetrics,
    /// Who wants to hear of what is refused.
    pub(crate) refusals: Option<Refusals>,
}

impl Proxy {
    /// The request path of one of `workers` workers.
    #[must_use]
    pub(crate) fn new(
        runtime: RuntimeReader,
        shared: Arc<ProxyShared>,
        workers: usize,
        serving: Serving,
        stop: CancellationToken,
    ) -> Rc<Self> {
        let (pool, replays) = (Pool::new(workers), ReplayMemory::new(Arc::clone(&shared.replay_budget)));
        Rc::new(Self { runtime, pool, replays, shared, tasks: TaskTracker::new(), serving, stop })
    }

    /// Runs something that outlives its request, until the shutdown deadline.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let stop = self.stop.clone();
        let task = async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        };
        // Owned by the tracker, which the worker waits for.
        drop(tokio::task::spawn_local(self.tasks.track_future(task)));
    }

    /// The number of lines that were held back, if one about what strangers do at this listener is to be shown now.
    pub(super) fn may_log(&self, listener: usize, what: Stranger) -> Option<u64> {
        self.runtime.current().listener(listener)?.strangers.take(what)
    }

    /// A caller of a listener in clear spoke TLS: mostly its proxy URL, or its base URL, begins with https. Or a proxy in front
    /// sends a header that nobody has asked for.
    pub(crate) fn note_misplaced(&self, listener: usize, what: Misplaced, caller: &CallerConnection) {
        let runtime = self.runtime.current();
        let Some(listener) = runtime.listener(listener) else { return };
        let Some(suppressed) = listener.strangers.take(Stranger::Misplaced(what)) else { return };
        let name = &listener.name;
        match what {
            Misplaced::Tls => {
                let url = match listener.mode {
                    ModeRuntime::Forward(_) => "the proxy's URL",
                    _ => "its base URL",
                };
                tracing::warn!(
                    target: "attache::proxy", listener = %name, peer = %caller.address(), suppressed,
                    "a caller spoke TLS, and this listener does not; write http:// in {url}, or give the listener `tls`"
                );
            }
            Misplaced::ProxyHeader => tracing::warn!(
                target: "attache::proxy", listener = %name, peer = %caller.peer, suppressed,
                "a connection begins with a PROXY protocol header, and from there none is read; if a proxy in front sends it, add its network to listeners.{name}.proxy_protocol"
            ),
        }
    }

    /// A proxy in front did not say where its caller is, or not so that it can be read.
    pub(crate) fn note_proxy_header(&self, listener: usize, why: ProxyHeaderError, caller: &CallerConnection) {
        let runtime = self.runtime.current();
        let Some(listener) = runtime.listener(listener) else { return };
        let name = &listener.name;
        self.shared.metrics.proxy_protocol_error(name, why.label()).inc();
        if let Some(suppressed) = listener.strangers.take(Stranger::ProxyHeader(why)) {
            tracing::warn!(
                target: "attache::proxy", listener = %name, peer = %caller.peer, suppressed,
                "a connection was closed: {}; have the proxy in front send one, or take its network out of listeners.{name}.proxy_protocol",
                unreadable_proxy_header(why)
            );
        }
    }

    /// `listeners.L.proxy_protocol`.
    #[must_use]
    pub(crate) fn proxy_protocol(&self, listener: usize) -> Option<Arc<Networks>> {
        self.runtime.current().listener(listener)?.proxy_protocol.clone()
    }

    /// True if a proxy is there that speaks for many callers.
    #[must_use]
    pub(crate) fn is_trusted_proxy(&self, listener: usize, address: CallerAddress) -> bool {
        let runtime = self.runtime.current();
        let proxies = runtime.listener(listener).and_then(|listener| listener.trusted_proxies.as_ref());
        proxies.is_some_and(|proxies| proxies.networks.hold(address))
    }

    /// The head of a request could not be read: what cannot be answered by a rule has no other trace.
    pub(crate) fn note_unreadable(&self, listener: usize, why: Unreadable, caller: &CallerConnection) {
        let runtime = self.runtime.current();
        let Some(listener) = runtime.listener(listener) else { return };
        if let Some(suppressed) = listener.strangers.take(Stranger::Unreadable) {
            tracing::warn!(
                target: "attache::proxy", listener = %listener.name, peer = %caller.address(), suppressed,
                "a request was refused that cannot be read: {}", unreadable(why)
            );
        }
    }

    /// The TLS of a listener towards its callers.
    #[must_use]
    pub(crate) fn tls(&self, listener: usize) -> Option<Arc<rustls::ServerConfig>> {
        self.runtime.current().listener(listener)?.tls.clone()
    }

    /// `listeners.L.title_case`: how its callers read names of fields.
    #[must_use]
    pub(crate) fn title_case(&self, listener: usize) -> bool {
        self.runtime.current().listener(listener).is_some_and(|listener| listener.title_case)
    }

    /// True if the callers of this listener speak SOCKS 5 now.
    #[must_use]
    pub(crate) fn speaks_socks(&self, listener: usize) -> bool {
        let runtime = self.runtime.current();
        runtime.listener(listener).is_some_and(|listener| matches!(listener.mode, ModeRuntime::Socks5(_)))
    }

    /// Closes connections that have been idle for too long; the worker calls it every few seconds.
    pub(crate) fn sweep(&self) {
        let runtime = self.runtime.current();
        let known: HashSet<u64> = runtime.upstreams().map(|upstream| upstream.id).collect();
        self.pool.sweep(|upstream| known.contains(&upstream));
        self.replays.sweep();
    }

    /// Waits for tunnels and the like; they are ended by the token given to [`Proxy::new`].
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}
