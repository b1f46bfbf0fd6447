//! What `[upstreams.X]` says about connections. Plain data; `config` fills it in.

use std::path::PathBuf;
use std::time::Duration;

use crate::dial::{Host, OriginPattern, ParentProxySettings};
use crate::tls::{IdentitySource, MinVersion};

/// How an upstream is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamSettings {
    /// The name in `[upstreams.NAME]`: the label of metrics, logs and the pool.
    pub(crate) name: String,
    /// The only place its credential may go.
    pub(crate) origin: OriginPattern,
    /// Dial this host and port instead; Host, SNI and verification keep the origin's name.
    pub(crate) connect: Option<ConnectTo>,
    /// The proxy that connections are made through.
    pub(crate) via: Option<ParentProxySettings>,
    /// TLS towards the origin; ignored for an `http` origin.
    pub(crate) tls: TlsSettings,
    /// Deadlines.
    pub(crate) timeouts: Timeouts,
    /// Bounds of the connection pool.
    pub(crate) pool: PoolSettings,
    /// Names of fields go out in Title-Case over HTTP/1.1, for servers that read no others.
    pub(crate) title_case: bool,
}

/// `connect = "host:port"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectTo {
    /// A host name or address, resolved when it is dialled.
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// `tls = { … }` of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TlsSettings {
    /// PEM certificates that are trusted **instead of** the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Where the certificate is that is shown to a server which asks for one.
    pub(crate) identity: Option<IdentitySource>,
    /// The oldest version that is spoken.
    pub(crate) min_version: MinVersion,
    /// The name sent in SNI and verified, where it differs from the origin's host.
    pub(crate) server_name: Option<String>,
}

/// `timeouts = { … }` of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// Name resolution, TCP and TLS together.
    pub(crate) connect: Duration,
    /// From the sent request until the response head.
    pub(crate) response: Duration,
    /// How long an unused connection stays in the pool, and how long a tunnel may be silent.
    pub(crate) idle: Duration,
    /// How long a body may stand still, in either direction.
    pub(crate) body: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(60),
            idle: Duration::from_secs(90),
            body: Duration::from_secs(300),
        }
    }
}

/// `pool = { … }` of an upstream. All bounds are for the whole process and divided among the workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PoolSettings {
    /// Idle connections that are kept.
    pub(crate) max_idle: usize,
    /// Connections in all; one more request waits for the connect timeout and is then refused.
    pub(crate) max: usize,
    /// Requests that wait so; one more is refused at once.
    pub(crate) queue: usize,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { max_idle: 64, max: 1024, queue: 1024 }
    }
}
