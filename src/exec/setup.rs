//! What a program's environment is made for.

use std::net::SocketAddr;

use crate::dial::OriginPattern;

/// The proxy, as its callers are told about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// What programs are given. **The seam for a password of the proxy's**: it would stand in here, as
    /// `http://attache:PASSWORD@…`; Java's options have no place for one.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Where the certificate authority is found by those who are to trust it. Paths are text, because variables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    /// A PEM file with the system's trusted certificates, those of the current environment, and the local CA's.
    pub(crate) bundle: String,
    pub(crate) java: Option<TrustStore>,
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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// The proxy; `None` where programs are given its base URL, and only have to trust it.
    pub(crate) proxy: Option<Proxy>,
    /// `None` where no connection is opened, so that nothing has to be trusted.
    pub(crate) trust: Option<&'a Trust>,
    /// What the proxy is there for.
    pub(crate) upstreams: &'a [OriginPattern],
}
