//! Which of the upstreams of one origin a request is for.

use std::sync::Arc;

use super::error::Refusal;
use crate::route::{NoRoute, PathTable};
use crate::runtime::Lane;

/// The upstream for this path and caller.
pub(super) fn choose<'a>(
    routes: &'a PathTable<Arc<Lane>>,
    path: &str,
    caller: Option<&str>,
) -> Result<&'a Arc<Lane>, Refusal> {
    routes.find(path, caller).map_err(|why| match why {
        NoRoute::Path => Refusal::denied(format!(
            "{path} is not among the `paths` of {}; add it to those of one, or an upstream of this origin without `paths`",
            names(routes)
        )),
        NoRoute::Caller => for_other_callers(routes),
        NoRoute::Ambiguous => ambiguous(),
    })
}

/// The upstream that stands for all of its origin: a tunnel has no path yet. One whose tunnels are opened goes first.
pub(super) fn for_tunnel<'a>(routes: &'a PathTable<Arc<Lane>>, caller: Option<&str>) -> Result<&'a Arc<Lane>, Refusal> {
    let lets_in = |lane: &&Arc<Lane>| lane.route.lets_in(caller);
    let is_opened = |lane: &&Arc<Lane>| lane.route.credential.is_some() && lane.route.settings.intercept;
    let mut permitted = routes.routes().iter().filter(lets_in);
    let opened = permitted.clone().find(is_opened);
    opened.or_else(|| permitted.next()).ok_or_else(|| for_other_callers(routes))
}

/// True if a path, or the caller, says which upstream it is.
pub(super) fn is_shared(routes: &PathTable<Arc<Lane>>) -> bool {
    routes.routes().len() > 1
}

/// A path that cannot be held against rules.
pub(super) fn ambiguous() -> Refusal {
    Refusal::bad_request(
        "servers read this path in different ways (encoded or empty segments, dots, control characters), and those lead to \
         different rules here; request the path that is meant",
    )
}

fn for_other_callers(routes: &PathTable<Arc<Lane>>) -> Refusal {
    Refusal::denied(format!(
        "{} for other callers: name this one in its `callers`",
        match routes.routes() {
            [_] => format!("{} is", names(routes)),
            _ => format!("{} are", names(routes)),
        }
    ))
}

fn names(routes: &PathTable<Arc<Lane>>) -> String {
    /// A sentence has an end.
    const MOST: usize = 5;
    let all = routes.routes();
    let shown: Vec<String> = all.iter().take(MOST).map(|lane| format!("{:?}", lane.route.name())).collect();
    let more = if all.len() > MOST { format!(" and {} more", all.len() - MOST) } else { String::new() };
    let word = if all.len() == 1 { "upstream" } else { "upstreams" };
    format!("{word} {}{more}", shown.join(", "))
}
