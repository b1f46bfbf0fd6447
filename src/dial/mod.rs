//! Ways out: from a host and a port to the bytes to and from it, directly or through a parent proxy. What is spoken there,
//! and over which TLS, is the caller's business.
//!
//! Every connection that attache makes to another machine begins here: names are resolved, addresses filtered and raced, and the
//! network's own proxy is asked in one way.

mod address;
mod authority;
mod error;
pub(crate) mod fuzzing;
mod host;
mod maybe_tls;
mod names;
mod origin;
mod origin_pattern;
mod parent_proxy;
mod scheme;
mod tcp;

pub(crate) use address::{AddressPolicy, OwnAddresses};
pub(crate) use authority::Authority;
pub(crate) use error::{DialError, DialErrorKind};
pub use host::InvalidAuthority;
pub(crate) use host::{Host, is_loopback_host};
pub(crate) use maybe_tls::{MaybeTls, Transport};
pub(crate) use names::Names;
pub use origin::Origin;
pub use origin_pattern::OriginPattern;
pub(crate) use parent_proxy::{NoProxyRule, ParentProxy, ParentProxyLogin, ParentProxySettings, Target};
pub use scheme::Scheme;
pub(crate) use tcp::dial;
