//! Which of the upstreams of one origin a request is for.

use std::sync::Arc;

use crate::proxy::error::ProxyError;
use crate::proxy::refusals::Refused;
use crate::route::{NoRoute, PathTable};
use crate::runtime::ListenerRoute;

/// The upstream for this path and caller.
pub(in crate::proxy) fn choose<'a>(
    routes: &'a PathTable<Arc<ListenerRoute>>,
    path: &str,
    caller: Option<&str>,
) -> Result<&'a Arc<ListenerRoute>, ProxyError> {
    match routes.find(path, caller) {
        Ok(route) => Ok(route),
        Err(NoRoute::Caller(route)) => Err(for_other_callers(route)),
        Err(NoRoute::Ambiguous) => Err(ambiguous()),
        Err(NoRoute::Path) => Err(ProxyError::denied(format!(
            "{path} is not among the `paths` of {}; add it to those of one, or an upstream of this origin without `paths`",
            names(routes)
        ))
        .refusing(Refused::Rules(names(routes).into()))),
    }
}

/// The upstream that stands for all of its origin: a tunnel has no path yet.
pub(in crate::proxy) fn for_tunnel<'a>(
    routes: &'a PathTable<Arc<ListenerRoute>>,
    caller: Option<&str>,
) -> Result<&'a Arc<ListenerRoute>, ProxyError> {
    match (routes.for_tunnel(caller), routes.routes().first()) {
        (Some(route), _) => Ok(route),
        (None, Some(first)) => Err(for_other_callers(first)),
        // A table has a route.
        (None, None) => Err(ProxyError::denied("no upstream covers it")),
    }
}

/// True if a path, or the caller, says which upstream it is.
pub(in crate::proxy) fn is_shared(routes: &PathTable<Arc<ListenerRoute>>) -> bool {
    routes.routes().len() > 1
}

/// A path that cannot be held against rules.
pub(in crate::proxy) fn ambiguous() -> ProxyError {
    ProxyError::bad_request(
        "servers read this path in different ways (encoded or empty segments, dots, path parameters, blanks, control \
         characters), and those lead to different rules here; request the path that is meant",
    )
}

/// None for this caller; the failure is counted on the one that it would have been.
fn for_other_callers(route: &Arc<ListenerRoute>) -> ProxyError {
    let name = route.route.name();
    let detail = format!("upstream {name:?} is for other callers: name this one in its `callers`");
    ProxyError::denied(detail).on(route)
}

fn names(routes: &PathTable<Arc<ListenerRoute>>) -> String {
    /// A sentence has an end.
    const MAX_NAMES: usize = 5;
    let all = routes.routes();
    let shown: Vec<String> =
        all.iter().take(MAX_NAMES).map(|listener_route| format!("{:?}", listener_route.route.name())).collect();
    let more = if all.len() > MAX_NAMES { format!(" and {} more", all.len() - MAX_NAMES) } else { String::new() };
    let word = if all.len() == 1 { "upstream" } else { "upstreams" };
    format!("{word} {}{more}", shown.join(", "))
}
