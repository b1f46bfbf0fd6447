//! What of a tunnel to a configured upstream is opened. Opened are those with a credential, and what is inside goes the way of
//! every request: plain HTTP always, TLS where there is a local CA. Everything else passes unread.

use std::sync::Arc;

use crate::dial::Scheme;
use crate::proxy::error::ProxyError;
use crate::proxy::refusals::Refused;
use crate::proxy::routing::destination::Tunnel;
use crate::runtime::{ListenerRoute, Runtime};
use crate::tls::CertificateAuthority;

pub(in crate::proxy) enum Plan {
    /// Nothing is opened.
    Unread,
    /// Plain HTTP; anything else passes unread.
    PlainHttp,
    /// Plain HTTP, and nothing else may pass: it is an `http` name of an https upstream, or an `http` origin
    /// with rules.
    PlainHttpAlone,
    /// Plain HTTP and TLS.
    Intercept(Arc<CertificateAuthority>),
}

pub(in crate::proxy) fn plan(runtime: &Runtime, at: &ListenerRoute, tunnel: &Tunnel) -> Result<Plan, ProxyError> {
    if tunnel.alias {
        return Ok(Plan::PlainHttpAlone);
    }
    if let Some(authority) = authority(runtime, at) {
        return Ok(Plan::Intercept(authority));
    }
    if let Err(refused) = check_rules(at, tunnel.shared) {
        // Plain HTTP can be read, so that rules are kept; nothing else passes there.
        return if tunnel.only_way && is_plain(at) { Ok(Plan::PlainHttpAlone) } else { Err(refused) };
    }
    Ok(if at.route.credential.is_some() { Plan::PlainHttp } else { Plan::Unread })
}

/// The local CA, where this route's TLS is to be opened: a credential that goes into it, and nothing against it.
fn authority(runtime: &Runtime, at: &ListenerRoute) -> Option<Arc<CertificateAuthority>> {
    let wanted = at.route.credential.is_some() && at.route.settings.intercept;
    runtime.authority.as_ref().filter(|_| wanted && !is_plain(at)).cloned()
}

fn is_plain(at: &ListenerRoute) -> bool {
    at.route.upstream.settings.origin.base().scheme == Scheme::Http
}

/// A tunnel cannot keep rules about methods and paths.
pub(super) fn check_rules(at: &ListenerRoute, shared: bool) -> Result<(), ProxyError> {
    let settings = &at.route.settings;
    let why = if !settings.allow.is_empty() {
        "has `allow` rules"
    } else if shared {
        "shares its origin with others"
    } else if !settings.paths.is_empty() {
        "has `paths`"
    } else {
        return Ok(());
    };
    let name = at.route.name();
    Err(ProxyError::denied(format!(
        "upstream {name:?} {why}, which a tunnel cannot keep apart; request http:// through this proxy instead, or have it opened, for which it takes \
         [intercept] (`attache ca init`) and a credential of the upstream"
    ))
    .refusing(Refused::Rules(name.into())))
}
