//! What a listener does with requests, and `[forward]`. Plain data; `config` fills it in.

use ipnet::IpNet;

use crate::dial::ParentProxySettings;
use crate::route::TunnelPorts;
use crate::secret::Secrets;

/// `mode`, with what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenerMode {
    /// Callers name the target themselves (`HTTP_PROXY`).
    Forward {
        /// The upstreams that this listener knows: all, unless the configuration lists some.
        upstreams: Vec<String>,
    },
    /// Callers name the target in SOCKS 5.
    Socks5 {
        /// As on a forward listener.
        upstreams: Vec<String>,
    },
    /// Callers use the listener as a base URL.
    Reverse {
        /// At least one upstream.
        upstreams: Vec<String>,
        /// Which `Host` values are accepted.
        hosts: AcceptedHosts,
    },
    /// Attache's own token endpoint.
    Token { clients: Vec<TokenClient> },
}

impl ListenerMode {
    /// As it is written in the configuration.
    #[must_use]
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Forward { .. } => "forward",
            Self::Socks5 { .. } => "socks5",
            Self::Reverse { .. } => "reverse",
            Self::Token { .. } => "token",
        }
    }
}

/// A program that gets tokens from a token listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenClient {
    /// How it calls itself.
    pub(crate) client_id: String,
    /// What proves it.
    pub(crate) secret: Secrets,
    /// Whose token it gets.
    pub(crate) credential: String,
}

/// `listeners.L.hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AcceptedHosts {
    Any,
    /// Loopback names, addresses of this listener, and the upstreams' own hosts: what a rebound browser name is not.
    LocalAndUpstream,
    /// These canonical hosts only.
    Listed(Vec<String>),
}

/// `[forward]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ForwardSettings {
    /// What happens to a target that no upstream covers.
    pub(crate) unmatched: Unmatched,
    /// Which addresses an unmatched target may resolve to.
    pub(crate) private_addresses: PrivateAddresses,
    /// Where tunnels to them may lead, besides port 443 and the ports of configured origins.
    pub(crate) connect_ports: TunnelPorts,
    /// The proxy that they are reached through.
    pub(crate) via: Option<ParentProxySettings>,
}

impl ForwardSettings {
    /// What a proxy beside one command has instead: the command could reach other hosts itself, wherever they are, so what the
    /// file does not say is open.
    pub(crate) fn open(&mut self, said: ForwardSaid) {
        if !said.unmatched {
            self.unmatched = Unmatched::Pass;
        }
        if !said.private_addresses {
            self.private_addresses = PrivateAddresses::Allow;
        }
        if !said.connect_ports {
            self.connect_ports = TunnelPorts::Any;
        }
    }
}

/// Which keys of `[forward]` a file has: without them a proxy beside one command has other defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each key of the table, and none depends on another")]
pub(crate) struct ForwardSaid {
    pub(crate) unmatched: bool,
    pub(crate) private_addresses: bool,
    pub(crate) connect_ports: bool,
    pub(crate) via: bool,
}

/// `[forward] unmatched`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Unmatched {
    /// 403.
    #[default]
    Deny,
    /// Untouched.
    Pass,
    /// Passed, logged and counted as would-be denied.
    Report,
}

/// `[forward] private_addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum PrivateAddresses {
    /// Loopback, link-local, private and other special addresses are refused.
    #[default]
    Deny,
    /// Every address may be dialled.
    Allow,
    /// Special addresses only within these networks.
    Networks(Vec<IpNet>),
}
