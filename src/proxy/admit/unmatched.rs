//! `[forward] unmatched`: whether a request may go to an origin that no upstream covers.

use std::fmt::Display;
use std::sync::Arc;

use crate::dial::{Origin, Scheme};
use crate::proxy::error::ProxyError;
use crate::proxy::refusals::Refused;
use crate::runtime::{ListenerRuntime, Runtime, Stranger, UnmatchedRuntime};
use crate::upstream::Upstream;

/// The upstream that dials unmatched origins, if policy lets them pass. `asked` is how the caller named this one.
pub(in crate::proxy) fn admit<'a>(
    runtime: &'a Runtime,
    listener: &ListenerRuntime,
    origin: &Origin,
    asked: &dyn Display,
) -> Result<&'a Arc<Upstream>, ProxyError> {
    let permitted = permitted(runtime, origin, asked);
    if !matches!(permitted, Ok((_, false))) {
        listener.metrics.refused_hosts.note(&listener.name, origin.to_string());
    }
    let (upstream, report) = permitted?;
    if report {
        listener.metrics.would_deny.inc();
        match listener.strangers.take(Stranger::WouldBeDenied(asked.to_string())) {
            Some(suppressed) => {
                tracing::warn!(target: "attache::proxy", listener = %listener.name, origin = %asked, suppressed, "would be denied: no upstream covers it");
            }
            None => {
                tracing::debug!(target: "attache::proxy", listener = %listener.name, origin = %asked, "would be denied");
            }
        }
    }
    Ok(upstream)
}

/// The same decision without counting or saying anything; true if it is to be reported.
pub(in crate::proxy) fn permitted<'a>(
    runtime: &'a Runtime,
    origin: &Origin,
    asked: &dyn Display,
) -> Result<(&'a Arc<Upstream>, bool), ProxyError> {
    match &runtime.unmatched {
        UnmatchedRuntime::Deny => Err(ProxyError::denied(format!(
            "no upstream covers {asked}; add one to the configuration, or set [forward] unmatched = \"pass\""
        ))
        .refusing(Refused::Unmatched(origin.host.as_str().into()))),
        UnmatchedRuntime::Pass { http, https, report } => {
            let upstream = match origin.scheme {
                Scheme::Http => http,
                Scheme::Https => https,
            };
            Ok((upstream, *report))
        }
    }
}
