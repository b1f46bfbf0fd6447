//! What a program's environment is made for.

use std::fmt;
use std::net::SocketAddr;

use crate::dial::OriginPattern;

/// The proxy, as its callers are told about it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// With the name and password of a caller, where it wants them.
    url: String,
    has_password: bool,
}

impl Proxy {
    /// One that asks nobody who they are.
    #[must_use]
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, url: format!("http://{address}"), has_password: false }
    }

    /// One that wants to know its callers, by a URL that says who asks.
    #[must_use]
    pub(crate) const fn for_caller(address: SocketAddr, url: String) -> Self {
        Self { address, url, has_password: true }
    }

    /// What programs are given.
    #[must_use]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// True if the URL says who asks. Java's options have no place for that.
    #[must_use]
    pub(crate) const fn has_password(&self) -> bool {
        self.has_password
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Where the certificate authority is found by those who are to trust it. Paths are text, because variables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    /// A PEM file with the system's trusted certificates, those of the current environment, and the local CA's.
    pub(crate) bundle: String,
    pub(crate) java: Option<TrustStore>,
    /// Variables that name files in a program's own format.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// A Java trust store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustStore {
    pub(crate) path: String,
    /// `PKCS12` or `JKS`.
    pub(crate) kind: &'static str,
    /// Guards nothing: what is in there is public.
    pub(crate) password: String,
}

/// What a program's environment is made for.
#[derive(Debug, Clone)]
pub(crate) struct Setup<'a> {
    /// The proxy; `None` where programs are given its base URL, and only have to trust it.
    pub(crate) proxy: Option<Proxy>,
    /// `None` where no connection is opened, so that nothing has to be trusted.
    pub(crate) trust: Option<&'a Trust>,
    /// What the proxy is there for.
    pub(crate) upstreams: &'a [OriginPattern],
}
