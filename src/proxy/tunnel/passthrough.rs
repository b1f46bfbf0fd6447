//! Bytes passed through unread: tunnels that are not opened, and what follows a WebSocket's 101.

use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::copy::splice;
use crate::dial::{Origin, Scheme};
use crate::listen::Upgrade;
use crate::proxy::Proxy;
use crate::proxy::body::RequestBody;
use crate::proxy::error::Refusal;
use crate::proxy::source::Entrance;
use crate::runtime::{ListenerRoute, ListenerRuntime, Runtime, Stranger, UnmatchedRuntime};
use crate::upstream::{ResponseBody, Upstream};

/// A tunnel cannot keep rules about methods and paths.
pub(in crate::proxy) fn check_rules(listener_route: &ListenerRoute, shared: bool) -> Result<(), Refusal> {
    let settings = &listener_route.route.settings;
    let why = if !settings.allow.is_empty() {
        "has `allow` rules"
    } else if shared {
        "shares its origin with others"
    } else if !settings.paths.is_empty() {
        "has `paths`"
    } else {
        return Ok(());
    };
    let name = listener_route.route.name();
    Err(Refusal::denied(format!(
        "upstream {name:?} {why}, which a tunnel cannot keep apart; request http:// through this proxy instead, or have it opened, for which it takes \
         [intercept] (`attache ca init`) and a credential of the upstream"
    )))
}

/// What a CONNECT asks for: nobody knows what will be spoken there.
pub(in crate::proxy) fn target(origin: &Origin) -> String {
    format!("{}:{}", origin.host, origin.port)
}

/// The host to request through the proxy instead of a tunnel: with its port, unless that goes without saying.
pub(in crate::proxy) fn instead(origin: &Origin) -> String {
    if matches!(origin.port, 80 | 443) { origin.host.to_string() } else { target(origin) }
}

/// The upstream that dials unmatched origins, if policy lets them pass. `asked` is how the caller named this one.
pub(in crate::proxy) fn unmatched<'a>(
    runtime: &'a Runtime,
    listener: &ListenerRuntime,
    origin: &Origin,
    asked: &dyn Display,
) -> Result<&'a Arc<Upstream>, Refusal> {
    let (upstream, report) = permitted(runtime, origin, asked)?;
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
) -> Result<(&'a Arc<Upstream>, bool), Refusal> {
    match &runtime.unmatched {
        UnmatchedRuntime::Deny => Err(Refusal::denied(format!(
            "no upstream covers {asked}; add one to the configuration, or set [forward] unmatched = \"pass\""
        ))),
        UnmatchedRuntime::Pass { http, https, report } => {
            let upstream = match origin.scheme {
                Scheme::Http => http,
                Scheme::Https => https,
            };
            Ok((upstream, *report))
        }
    }
}

/// Joins the two sides of a protocol switch that both have agreed to.
pub(in crate::proxy) fn switch(
    proxy: &Rc<Proxy>,
    entrance: Entrance,
    caller: Upgrade,
    upstream: ResponseBody<RequestBody>,
    idle: Duration,
) {
    let Some((mut upstream, early)) = upstream.into_upgraded() else { return };
    let admitting = Rc::clone(proxy);
    proxy.spawn(async move {
        let Ok(mut caller) = caller.upgraded().await else { return };
        let passing = async {
            // An upstream may speak right behind its 101.
            if caller.write_all(&early).await.is_ok() {
                splice(&mut caller, &mut upstream, idle).await;
            }
        };
        let _ended = admitting.while_admitted(&entrance, passing).await;
    });
}
