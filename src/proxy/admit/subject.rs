//! The subject of a token exchange (RFC 8693): the caller's own bearer token, which stays here.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::credential::Credential;
use crate::http_auth::bearer;
use crate::proxy::error::ProxyError;
use crate::token::judge_token;

/// The credential of this caller, where the upstream's is an exchange. The caller's `Authorization` is taken out: it was
/// meant for attache.
pub(in crate::proxy) fn exchanged(
    credential: Option<&Credential>,
    head: &mut Parts,
) -> Result<Option<Arc<Credential>>, ProxyError> {
    let Some(exchange) = credential.and_then(Credential::exchanges) else { return Ok(None) };
    let missing = "this upstream wants the caller's own token: send it as Authorization: Bearer, and it is exchanged";
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(ProxyError::denied(missing)) };
    let subject = bearer(value).filter(|token| judge_token(token).is_ok());
    let exchanged = exchange.of(subject.ok_or_else(|| ProxyError::denied(missing))?);
    head.headers.remove(AUTHORIZATION);
    Ok(Some(exchanged))
}
