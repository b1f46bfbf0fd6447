//! Which of the upstreams of one origin a request is for.

use std::sync::Arc;

use super::destination::Destination;
use crate::proxy::error::Refusal;
use crate::route::{NoRoute, PathTable};
use crate::runtime::ListenerRoute;

/// What came of looking for an upstream among those of an origin.
pub(in crate::proxy) enum Choice<'a> {
    /// This one.
    ListenerRoute(&'a Arc<ListenerRoute>),
    /// None for this caller; of the one it would have been, the refusal is counted.
    Refused(Destination),
}

/// The upstream for this path and caller.
pub(in crate::proxy) fn choose<'a>(
    routes: &'a PathTable<Arc<ListenerRoute>>,
    path: &str,
    caller: Option<&str>,
) -> Result<Choice<'a>, Refusal> {
    match routes.find(path, caller) {
        Ok(listener_route) => Ok(Choice::ListenerRoute(listener_route)),
        Err(NoRoute::Caller(listener_route)) => Ok(for_other_callers(listener_route)),
        Err(NoRoute::Ambiguous) => Err(ambiguous()),
        Err(NoRoute::Path) => Err(Refusal::denied(format!(
            "{path} is not among the `paths` of {}; add it to those of one, or an upstream of this origin without `paths`",
            names(routes)
        ))),
    }
}

/// The upstream that stands for all of its origin: a tunnel has no path yet.
pub(in crate::proxy) fn for_tunnel<'a>(
    routes: &'a PathTable<Arc<ListenerRoute>>,
    caller: Option<&str>,
) -> Result<Choice<'a>, Refusal> {
    match (routes.for_tunnel(caller), routes.routes().first()) {
        (Some(listener_route), _) => Ok(Choice::ListenerRoute(listener_route)),
        (None, Some(first)) => Ok(for_other_callers(first)),
        // A table has a route.
        (None, None) => Err(Refusal::denied("no upstream covers it")),
    }
}

/// True if a path, or the caller, says which upstream it is.
pub(in crate::proxy) fn is_shared(routes: &PathTable<Arc<ListenerRoute>>) -> bool {
    routes.routes().len() > 1
}

/// A path that cannot be held against rules.
pub(in crate::proxy) fn ambiguous() -> Refusal {
    Refusal::bad_request(
        "servers read this path in different ways (encoded or empty segments, dots, path parameters, blanks, control \
         characters), and those lead to different rules here; request the path that is meant",
    )
}

fn for_other_callers<'a>(listener_route: &Arc<ListenerRoute>) -> Choice<'a> {
    let name = listener_route.route.name();
    let detail = format!("upstream {name:?} is for other callers: name this one in its `callers`");
    Choice::Refused(Destination::Refused(Arc::clone(listener_route), Refusal::denied(detail)))
}

fn names(routes: &PathTable<Arc<ListenerRoute>>) -> String {
    /// A sentence has an end.
    const MOST: usize = 5;
    let all = routes.routes();
    let shown: Vec<String> =
        all.iter().take(MOST).map(|listener_route| format!("{:?}", listener_route.route.name())).collect();
    let more = if all.len() > MOST { format!(" and {} more", all.len() - MOST) } else { String::new() };
    let word = if all.len() == 1 { "upstream" } else { "upstreams" };
    format!("{word} {}{more}", shown.join(", "))
}
