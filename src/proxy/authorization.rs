//! What is put on a request: which credential, and its token, or a reason why it goes without.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use http::request::Parts;

use super::admit::subject;
use super::context::{RequestContext, TraceIds};
use super::error::ProxyError;
use super::outcome::Outcome;
use crate::credential::{Authorization, Credential};
use crate::route::{CallerAuthorization, OnTokenError};
use crate::runtime::ListenerRoute;
use crate::telemetry::Action;
use crate::token::TokenError;

pub(super) struct Authorized<'a> {
    /// Owned where it is the caller's own, as for exchanged tokens.
    credential: Option<Cow<'a, Arc<Credential>>>,
    /// `None` too where requests go out without one while there is no token.
    authorization: Option<Authorization>,
}

pub(super) async fn obtain<'a>(
    ctx: &mut RequestContext,
    at: &'a ListenerRoute,
    head: &mut Parts,
) -> Result<Authorized<'a>, ProxyError> {
    ctx.note_permitted();
    let credential = match subject::exchanged(at.route.credential.as_deref(), head)? {
        Some(exchanged) => Some(Cow::Owned(exchanged)),
        None => caller_authorization(at, head)?.map(Cow::Borrowed),
    };
    let authorization = match credential.as_deref() {
        Some(credential) => match credential.ready() {
            Some(authorization) => Some(authorization),
            None => {
                let began = Instant::now();
                let obtained = Box::pin(wait_for_token(at, credential, ctx)).await;
                ctx.note_waited(credential.token_name(), began.elapsed());
                obtained?
            }
        },
        None => None,
    };
    ctx.note_token(authorization.as_ref().map(Authorization::generation));
    Ok(Authorized { credential, authorization })
}

impl Authorized<'_> {
    pub(super) fn credential(&self) -> Option<&Arc<Credential>> {
        self.credential.as_deref()
    }

    pub(super) fn with_token(&self) -> Option<&Credential> {
        self.authorization.as_ref().and(self.credential.as_deref()).map(|credential| &**credential)
    }

    pub(super) fn outcome(&self) -> Outcome {
        match (&self.authorization, &self.credential) {
            (Some(_), _) => Outcome::Injected,
            (None, Some(_)) => Outcome::PassedWithoutToken,
            (None, None) => Outcome::Passed,
        }
    }

    /// What is put on, if anything.
    pub(super) fn take(&mut self) -> Option<(&Arc<Credential>, Authorization)> {
        self.credential.as_deref().zip(self.authorization.take())
    }
}

/// The token for a request that found none: from the token request in flight.
async fn wait_for_token(
    at: &ListenerRoute,
    credential: &Credential,
    ctx: &RequestContext,
) -> Result<Option<Authorization>, ProxyError> {
    match credential.obtain().await {
        Ok(authorization) => Ok(Some(authorization)),
        Err(error) if at.route.settings.on_token_error == OnTokenError::Pass => {
            log_without_token(at, &credential.name, &error, ctx.trace());
            Ok(None)
        }
        Err(error) => Err(ProxyError::token(&credential.name, &error)),
    }
}

/// Loudly once for each back-off of the token requests.
fn log_without_token(at: &ListenerRoute, credential: &str, error: &TokenError, trace: TraceIds<'_>) {
    let TraceIds { trace_id, span_id } = trace;
    let upstream = at.route.name();
    let quiet = error.retry_after.unwrap_or(Duration::from_secs(1));
    if at.without_token.take_for((), quiet).is_some() {
        tracing::warn!(target: "attache::proxy", upstream, credential, trace_id, span_id, "requests go out without a token for now, as on_token_error says: {error}");
    } else {
        tracing::debug!(target: "attache::proxy", upstream, credential, trace_id, span_id, "a request goes out without a token: {error}");
    }
}

/// What happens to the caller's own Authorization, and which credential takes its place.
fn caller_authorization<'a>(
    at: &'a ListenerRoute,
    head: &mut Parts,
) -> Result<Option<&'a Arc<Credential>>, ProxyError> {
    let Some(credential) = &at.route.credential else { return Ok(None) };
    if !head.headers.contains_key(AUTHORIZATION) {
        return Ok(Some(credential));
    }
    let count = |action| at.metrics.count_authorization(action);
    match at.route.settings.caller_authorization {
        CallerAuthorization::Replace => {
            count(Action::Replace);
            // Here and not only where another is put on: under on_token_error = "pass" there may be none to put on.
            head.headers.remove(AUTHORIZATION);
            Ok(Some(credential))
        }
        CallerAuthorization::Keep => {
            count(Action::Keep);
            // Both leave, where the credential goes elsewhere.
            Ok((!credential.is_in_authorization()).then_some(credential))
        }
        CallerAuthorization::Reject => {
            count(Action::Reject);
            let detail = "this upstream's requests are authorized by the proxy: leave out the Authorization field";
            Err(ProxyError::bad_request(detail))
        }
    }
}
