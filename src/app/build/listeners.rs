//! `[listeners.X]`, live: the tables by which requests find their way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::app::build::known::Credentials;
use crate::app::build::state::BuildContext;
use crate::caller::{CallerMetrics, CallerSettings, Callers};
use crate::config::ListenerConfig;
use crate::listen::{ListenAddress, ProxyHeaderError};
use crate::proxy::{AcceptedHosts, ForwardSettings, ListenerMode, TokenClient, Unmatched};
use crate::route::{ForwardTable, ReverseTable, Route, TunnelPorts};
use crate::runtime::{HostRule, ListenerRoute, ListenerRuntime, ModeRuntime, TokenClientRuntime};
use crate::secret::Digests;
use crate::telemetry::{LogThrottle, UNMATCHED};

/// What a listener has besides its configuration.
pub(crate) struct ListenerSocket<'a> {
    pub(crate) slot: usize,
    pub(crate) live: Option<&'a ListenerRuntime>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
}

/// What a listener does with its requests.
pub(crate) fn listener(
    context: &BuildContext,
    config: &ListenerConfig,
    socket: ListenerSocket<'_>,
    forward: &ForwardSettings,
    routes: &[Arc<Route>],
    credentials: &Credentials<'_>,
) -> ListenerRuntime {
    let listener_route = |route: &Arc<Route>| {
        let metrics = context.metrics.route(&config.name, route.name());
        Arc::new(ListenerRoute {
            route: Arc::clone(route),
            metrics,
            tunnel_warned: AtomicBool::new(false),
            without_token: LogThrottle::default(),
            refusals: LogThrottle::default(),
            unauthorized: LogThrottle::default(),
        })
    };
    let named = |names: &[String]| -> Vec<Arc<Route>> {
        let names: HashSet<&str> = names.iter().map(String::as_str).collect();
        routes.iter().filter(|route| names.contains(route.name())).cloned().collect()
    };
    let by_target = |upstreams: &[String]| {
        let mut table = ForwardTable::default();
        for route in named(upstreams) {
            table.insert(&route.upstream.settings.origin, route.selector(), listener_route(&route));
        }
        table.open(&tunnel_ports(forward));
        table
    };
    let mode = match &config.mode {
        ListenerMode::Forward { upstreams } => ModeRuntime::Forward(by_target(upstreams)),
        ListenerMode::Socks5 { upstreams } => {
            let mut table = by_target(upstreams);
            // In SOCKS there is no other way for http:// either.
            table.open(&TunnelPorts::Listed([80].into()));
            ModeRuntime::Socks5(table)
        }
        ListenerMode::Reverse { upstreams, hosts } => {
            let reached = named(upstreams);
            let mut table = ReverseTable::default();
            for route in &reached {
                let prefix = route.settings.path_prefix.as_ref();
                table.insert(prefix, &route.upstream.settings.origin, route.selector(), listener_route(route));
            }
            ModeRuntime::Reverse { table, hosts: host_rules(config, hosts, &reached) }
        }
        ListenerMode::Token { clients } => ModeRuntime::Token(token_clients(clients, credentials, socket.live)),
    };
    let metrics = context.metrics.route(&config.name, UNMATCHED);
    let callers = config.callers.as_ref().map(|known| callers(context, &config.name, known, socket.live));
    let users = config.users.clone();
    if config.proxy_protocol.is_some() {
        // From zero on, so that the first one is an increase.
        for why in ProxyHeaderError::ALL {
            drop(context.metrics.proxy_protocol_error(&config.name, why.label()));
        }
    }
    ListenerRuntime {
        slot: socket.slot,
        name: config.name.clone(),
        mode,
        callers,
        tls: socket.tls,
        proxy_protocol: config.proxy_protocol.clone().map(Arc::new),
        trusted_proxies: config.trusted_proxies.clone(),
        title_case: config.title_case,
        users,
        metrics,
        refusals: LogThrottle::default(),
        guesses: socket.live.map_or_else(Arc::default, |live| Arc::clone(&live.guesses)),
        strangers: LogThrottle::default(),
    }
}

/// Where nothing unmatched passes, that is the reason to give, whatever the port.
fn tunnel_ports(forward: &ForwardSettings) -> TunnelPorts {
    match forward.unmatched {
        Unmatched::Deny => TunnelPorts::Any,
        Unmatched::Pass | Unmatched::Report => forward.connect_ports.clone(),
    }
}

/// Those that are live, if nothing is said otherwise now: they know their passwords already.
fn callers(
    context: &BuildContext,
    listener: &str,
    callers: &[CallerSettings],
    live: Option<&ListenerRuntime>,
) -> Arc<Callers> {
    let live = live.and_then(|live| live.callers.as_ref()).filter(|live| live.is_of(callers.iter()));
    live.map_or_else(
        || {
            let count = |outcome| context.metrics.caller_authentication(listener, outcome);
            let metrics = CallerMetrics {
                accepted: count("accepted"),
                refused: count("refused"),
                missing: count("missing"),
                too_many: count("too_many"),
            };
            Arc::new(Callers::new(callers.to_vec(), metrics))
        },
        Arc::clone,
    )
}

/// What is live knows the secrets already, where they are said to be in the same places.
fn token_clients(
    clients: &[TokenClient],
    credentials: &Credentials<'_>,
    live: Option<&ListenerRuntime>,
) -> Vec<TokenClientRuntime> {
    let before: &[TokenClientRuntime] = match live.map(|live| &live.mode) {
        Some(ModeRuntime::Token(clients)) => clients,
        _ => &[],
    };
    let by_id: HashMap<&str, &TokenClientRuntime> =
        before.iter().map(|client| (client.client_id.as_str(), client)).collect();
    let known = |client: &TokenClient| {
        let own = by_id.get(client.client_id.as_str()).copied();
        own.filter(|known| *known.secret.secrets() == client.secret)
    };
    let live = clients.iter().filter_map(|client| {
        let credential = Arc::clone(credentials.get(client.credential.as_str())?);
        let secret = known(client).map(|known| Arc::clone(&known.secret));
        let secret = secret.unwrap_or_else(|| Arc::new(Digests::running_again(client.secret.clone())));
        Some(TokenClientRuntime { client_id: client.client_id.clone(), secret, credential })
    });
    live.collect()
}

/// `None` where every host is fine: by configuration, or because no browser reaches a unix socket.
fn host_rules(config: &ListenerConfig, hosts: &AcceptedHosts, routes: &[Arc<Route>]) -> Option<Vec<HostRule>> {
    if matches!(config.address, ListenAddress::Unix(_)) {
        return None;
    }
    match hosts {
        AcceptedHosts::Any => None,
        AcceptedHosts::Listed(hosts) => Some(hosts.iter().cloned().map(HostRule::Named).collect()),
        AcceptedHosts::LocalAndUpstream => {
            let origins = routes.iter().map(|route| HostRule::Of(route.upstream.settings.origin.clone()));
            Some([HostRule::Loopback].into_iter().chain(origins).collect())
        }
    }
}
