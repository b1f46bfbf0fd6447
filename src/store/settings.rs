//! `[cache]`, as far as it is about the connection. Plain data; `config` fills it in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secrets;
use crate::tls::{IdentitySource, MinVersion, TlsError, client_config};

/// No name of a host is longer.
const LONGEST_HOST: usize = 255;

/// Where the store is and how it is spoken to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoreSettings {
    /// One server, the seeds of a cluster, or sentinels. At least one.
    pub(crate) servers: Vec<StoreAddress>,
    /// `rediss`, `valkeys`.
    pub(crate) with_tls: bool,
    /// `SELECT` after connecting; 0 is not selected.
    pub(crate) database: u16,
    /// The ACL user; `None` for the default one.
    pub(crate) username: Option<String>,
    /// Read at each dial.
    pub(crate) password: Option<Secrets>,
    /// `servers` are sentinels, which know the primary.
    pub(crate) sentinel: Option<SentinelSettings>,
    pub(crate) tls: StoreTlsSettings,
    /// One question, from when it is sent to its answer.
    pub(crate) timeout: Duration,
}

impl StoreSettings {
    /// Of one question, unless the configuration says another.
    pub(crate) const TIMEOUT: Duration = Duration::from_millis(250);

    /// As in the configuration, without a user, a password and the database: `rediss://a:6379, rediss://b:6379`.
    pub(crate) fn places(&self) -> String {
        let scheme = if self.with_tls { "rediss://" } else { "redis://" };
        let place = |address: &StoreAddress| match address {
            StoreAddress::Tcp { .. } => format!("{scheme}{address}"),
            StoreAddress::Unix(path) => format!("redis+unix://{}", path.display()),
        };
        self.servers.iter().map(place).collect::<Vec<_>>().join(", ")
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum StoreAddress {
    /// The host as it is looked up and verified, without brackets.
    Tcp { host: String, port: u16 },
    /// `redis+unix://`.
    Unix(PathBuf),
}

/// `[cache.sentinel]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SentinelSettings {
    /// The name under which the sentinels know the primary.
    pub(crate) master: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secrets>,
}

/// `[cache.tls]`. The files are read at each dial.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StoreTlsSettings {
    /// Whom to trust; the system's authorities without it.
    pub(crate) ca_file: Option<PathBuf>,
    /// Shown to a server that asks for a certificate.
    pub(crate) identity: Option<IdentitySource>,
    /// The name on the server's certificate, where it is not the host of the address.
    pub(crate) server_name: Option<String>,
}

impl StoreTlsSettings {
    /// Reads the files, blockingly.
    ///
    /// # Errors
    /// One that cannot be read, or is none.
    pub(crate) fn read(&self) -> Result<rustls::ClientConfig, TlsError> {
        let identity = self.identity.as_ref().map(IdentitySource::read).transpose()?;
        client_config(self.ca_file.as_deref(), &[], identity.as_ref(), MinVersion::default())
    }
}

impl StoreAddress {
    /// As another server names it, which may be anything; `None` for what should be neither dialled nor shown. The host may be empty.
    pub(super) fn named(host: &str, port: u16) -> Option<Self> {
        let is_fit = host.len() <= LONGEST_HOST && host.bytes().all(|byte| byte.is_ascii_graphic());
        is_fit.then(|| Self::Tcp { host: host.to_owned(), port })
    }

    /// The host, of an address that has one.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => Some(host),
            Self::Unix(_) => None,
        }
    }

    pub(super) const fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
