//! A refused token is counted and logged by what was done about it.

use tokio::time::Instant;

use crate::proxy::context::TraceIds;
use crate::proxy::outcome::UnauthorizedOutcome;
use crate::proxy::state::ProxyShared;
use crate::renewal::{Decision, Evidence, RefusedToken, Renewals, RequestPath};
use crate::runtime::ListenerRoute;

/// Of many with the same outcome, most are logged at debug.
pub(super) fn count(
    shared: &ProxyShared,
    at: &ListenerRoute,
    generation: u64,
    outcome: UnauthorizedOutcome,
    trace: TraceIds<'_>,
) {
    let TraceIds { trace_id, span_id } = trace;
    let (upstream, outcome) = (at.route.name(), outcome.label());
    shared.metrics.unauthorized(upstream, outcome);
    match at.unauthorized.take(outcome) {
        Some(suppressed) => {
            tracing::info!(target: "attache::proxy", upstream, generation, outcome, trace_id, span_id, suppressed, "the upstream refused the token");
        }
        None => {
            tracing::debug!(target: "attache::proxy", upstream, generation, outcome, trace_id, span_id, "the upstream refused the token");
        }
    }
}

/// Asks the rule, and says what it takes for a token request.
pub(super) fn warrant(
    renewals: &Renewals,
    place: RequestPath<'_>,
    standing: RefusedToken,
    decided: &mut Option<Decision>,
) -> Option<Evidence> {
    let decision = renewals.decide(place, standing, Instant::now());
    *decided = Some(decision);
    match decision {
        Decision::Renew(evidence) => Some(evidence),
        Decision::SendAgain | Decision::GiveBack => None,
    }
}
