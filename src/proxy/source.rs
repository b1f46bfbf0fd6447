//! Where a request came in: over which listener, through which tunnel, from whom.

use std::sync::Arc;

use crate::caller::Proven;
use crate::dial::Scheme;
use crate::listen::{CallerAddress, CallerAt, CallerConnection};

#[derive(Clone, Copy)]
pub(crate) struct RequestSource<'a> {
    pub(crate) listener: usize,
    pub(crate) inside: Option<&'a InTunnel>,
    pub(crate) connection: &'a Arc<CallerConnection>,
    /// Where its caller is.
    pub(crate) address: CallerAddress,
}

impl<'a> RequestSource<'a> {
    pub(crate) fn caller(&self) -> CallerAt<'a> {
        CallerAt { connection: self.connection, address: self.address }
    }
}

/// What a tunnel was opened for: where every request inside of it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InTunnel {
    /// `https` under TLS.
    pub(crate) scheme: Scheme,
    /// Canonical.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    /// Who opened it: as long as that is good, no request inside is asked again.
    pub(crate) opener: Option<Proven>,
    /// Where that is.
    pub(crate) opened_from: CallerAddress,
}

/// Where a tunnel came in; kept for its life, so that its caller's connection stays counted.
#[derive(Clone)]
pub(crate) struct TunnelSource {
    pub(crate) listener: usize,
    pub(crate) connection: Arc<CallerConnection>,
    /// Where its caller is.
    pub(crate) address: CallerAddress,
    /// As whom the caller is authenticated.
    pub(crate) proven: Option<Proven>,
}

impl TunnelSource {
    pub(crate) fn caller(&self) -> CallerAt<'_> {
        CallerAt { connection: &self.connection, address: self.address }
    }
}

/// A request that has been let in.
pub(crate) struct Admitted<'a> {
    pub(crate) source: RequestSource<'a>,
    /// As whom the caller is authenticated.
    pub(crate) proven: Option<Proven>,
}

impl Admitted<'_> {
    /// A name that is not authenticated is not one: it is what anybody may write.
    pub(crate) fn name(&self) -> Option<&str> {
        self.proven.as_ref().map(|proven| &*proven.name)
    }

    /// For what outlives the request.
    pub(crate) fn tunnel_source(&self) -> TunnelSource {
        let RequestSource { listener, connection, address, .. } = self.source;
        TunnelSource { listener, connection: Arc::clone(connection), address, proven: self.proven.clone() }
    }
}
