//! Attache's own token endpoint (`mode = "token"`), for programs that insist on being OAuth clients: they get the cached
//! token of the credential that their `client_id` stands for (RFC 6749 sections 4.4 and 5).
//!
//! Failures for an unknown client and for a wrong secret are the same bytes: which clients there are cannot be learnt.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::json;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::body::response::CallerBody;
use super::context::{RequestContext, TraceIds};
use super::outcome::Outcome;
use super::request_id::{REQUEST_ID, RequestId};
use super::response::PROXY_STATUS;
use crate::caller::Guesses;
use crate::http_auth::{BasicPair, find_proven};
use crate::listen::{CallerAt, Incoming};
use crate::runtime::{ListenerRuntime, TokenClientRuntime};
use crate::secret::Secret;
use crate::token::{Acquired, TokenError, TokenErrorKind};

/// A token request is a few hundred bytes.
const MAX_BODY: usize = 16 * 1024;

/// How long it may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers one request. Cannot fail: every failure is an answer of RFC 6749 section 5.2.
pub(super) async fn answer(
    ctx: &mut RequestContext,
    listener: &ListenerRuntime,
    clients: &[TokenClientRuntime],
    head: &Parts,
    body: Incoming,
    from: CallerAt<'_>,
) -> Response<CallerBody> {
    let granted = match request(head, body).await {
        Ok(request) => granted(&listener.guesses, clients, &request, from).await,
        Err(refused) => Err(refused),
    };
    let name = &listener.name;
    match granted {
        Ok((client, token)) => {
            tracing::debug!(target: "attache::proxy", listener = %name, credential = %client.credential.name, "token returned");
            ctx.note_caller(Some(&client.client_id));
            ctx.count(&listener.metrics, Outcome::Injected, StatusCode::OK);
            success(&token)
        }
        Err(refused) => {
            let request_id = RequestId::from_head(head);
            let (status, code) = (refused.status.as_u16(), refused.code);
            let (id, why) = (request_id.text(), &refused.description);
            let TraceIds { trace_id, span_id } = ctx.trace();
            match listener.refusals.take(status) {
                Some(suppressed) => {
                    tracing::info!(target: "attache::proxy", listener = %name, status, code, request_id = id, trace_id, span_id, suppressed, "no token returned: {why}");
                }
                None => {
                    tracing::debug!(target: "attache::proxy", listener = %name, status, code, request_id = id, trace_id, span_id, "no token returned: {why}");
                }
            }
            let outcome = if refused.status.is_server_error() { Outcome::Failed } else { Outcome::Denied };
            ctx.count(&listener.metrics, outcome, refused.status);
            refused.into_response(&request_id)
        }
    }
}

/// What a client asks for, once it has been read.
struct TokenRequest {
    claims: Vec<Claim>,
    grant_type: Option<String>,
    scope: Vec<String>,
}

/// Who a client claims to be, and the secret that is to prove it.
struct Claim {
    client_id: String,
    secret: Secret,
}

/// RFC 6749 section 5.2.
struct Refused {
    status: StatusCode,
    code: &'static str,
    description: String,
    retry_after: Option<Duration>,
}

fn invalid(description: &str) -> Refused {
    Refused {
        status: StatusCode::BAD_REQUEST,
        code: "invalid_request",
        description: description.to_owned(),
        retry_after: None,
    }
}

/// The same bytes for an unknown client and for a wrong secret.
fn invalid_client() -> Refused {
    let description = "there is no such client, or its secret is another one".to_owned();
    Refused { status: StatusCode::UNAUTHORIZED, code: "invalid_client", description, retry_after: None }
}

/// Not looked at: too many wrong ones have come from there.
fn too_many(after: Duration) -> Refused {
    let description = "too many wrong secrets have come from this address; try again shortly".to_owned();
    let status = StatusCode::TOO_MANY_REQUESTS;
    Refused { status, code: "temporarily_unavailable", description, retry_after: Some(after) }
}

/// Reads a token request (RFC 6749 section 4.4.2): a form, each field once, one way of client authentication.
async fn request(head: &Parts, body: Incoming) -> Result<TokenRequest, Refused> {
    if head.method != Method::POST {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(Refused {
            status,
            ..invalid("this is a token endpoint: POST a form with grant_type=client_credentials")
        });
    }
    let form = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = form.split(';').next().unwrap_or_default().trim();
    let is_json = media_type.eq_ignore_ascii_case("application/json");
    if !is_json && !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(invalid("send the fields as application/x-www-form-urlencoded"));
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    let body = match collected {
        Ok(Ok(collected)) => Zeroizing::new(collected.to_bytes().to_vec()),
        Ok(Err(_broken)) => return Err(invalid("the request body broke off, or is longer than 16 KiB")),
        Err(_elapsed) => return Err(invalid("the request body did not arrive within 10 s")),
    };
    let fields = if is_json { members(&body)? } else { form_fields(&body)? };
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.to_string());
    let posted = field("client_secret").map(Secret::new);
    let claims = match (basic(head)?, posted) {
        (Some(_), Some(_)) => {
            return Err(invalid("the client proves itself twice: use one method (RFC 6749 section 2.3)"));
        }
        (Some(mut claims), None) => {
            if let Some(posted) = field("client_id") {
                claims.retain(|claim| claim.client_id == posted);
            }
            if claims.is_empty() {
                return Err(invalid("client_id is another one than that of the Authorization field"));
            }
            claims
        }
        (None, Some(secret)) => {
            vec![Claim { client_id: field("client_id").ok_or_else(|| invalid("client_id is missing"))?, secret }]
        }
        (None, None) => return Err(invalid_client()),
    };
    let scope = field("scope").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    Ok(TokenRequest { claims, grant_type: field("grant_type"), scope })
}

/// The fields of a request, each once.
type Fields = Vec<(String, Zeroizing<String>)>;

fn form_fields(body: &[u8]) -> Result<Fields, Refused> {
    let fields = form_urlencoded::parse(body);
    let fields = fields.map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned()))).collect();
    each_once(fields)
}

/// The same as the members of a JSON object, as some clients send them (Auth0's do). What is no text is no field.
fn members(body: &[u8]) -> Result<Fields, Refused> {
    let read: Members = serde_json::from_slice(body).map_err(|_broken| invalid("the body is no JSON object"))?;
    if read.0.is_empty() {
        return Err(invalid("the body has no fields: send grant_type=client_credentials, as a form"));
    }
    each_once(read.0)
}

fn each_once(fields: Fields) -> Result<Fields, Refused> {
    let mut names = std::collections::HashSet::new();
    if fields.iter().all(|(name, _)| names.insert(name)) { Ok(fields) } else { Err(invalid("a field stands twice")) }
}

/// The text members of a JSON object, also those of one name.
struct Members(Fields);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
                    if let serde_json::Value::String(text) = value {
                        fields.push((name, Zeroizing::new(text)));
                    }
                }
                Ok(Members(fields))
            }
        }

        deserializer.deserialize_map(Texts)
    }
}

/// RFC 6749 section 2.3.1: id and secret, each form-encoded. Many clients send them as they are, which is another pair where
/// there is a `+` or a `%` in it: so either reading counts, and a client is known by the one that it proves.
fn basic(head: &Parts) -> Result<Option<Vec<Claim>>, Refused> {
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let pair = BasicPair::read(value).filter(|_| values.next().is_none()).ok_or_else(invalid_client)?;
    let claim = |pair: BasicPair| Claim { client_id: pair.name, secret: Secret::new(pair.password.to_string()) };
    Ok(Some(vec![claim(pair.form_decoded()), claim(pair)]))
}

/// The token of the credential that this client stands for.
async fn granted<'c>(
    guesses: &Guesses,
    clients: &'c [TokenClientRuntime],
    request: &TokenRequest,
    from: CallerAt<'_>,
) -> Result<(&'c TokenClientRuntime, Acquired), Refused> {
    for Claim { client_id, secret } in &request.claims {
        guesses.may_try(from, client_id, &secret.fingerprint()).map_err(too_many)?;
    }
    let claimed = request.claims.first();
    let Some(client) = authenticated(clients, request) else {
        if let Some(Claim { client_id, .. }) = claimed {
            guesses.was_wrong(from, client_id);
        }
        return Err(invalid_client());
    };
    if let Some(Claim { client_id, secret }) = claimed {
        guesses.was_right(from, client_id, &secret.fingerprint());
    }
    match request.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => {
            let description = "this endpoint knows the grant client_credentials".to_owned();
            return Err(Refused { code: "unsupported_grant_type", description, ..invalid("") });
        }
        None => return Err(invalid("grant_type is missing: write client_credentials")),
    }
    let token = client.credential.acquire().await.map_err(|error| unavailable(&error))?;
    let has =
        |wanted: &String| token.scope.as_ref().is_none_or(|scope| scope.split_whitespace().any(|one| one == wanted));
    if !request.scope.iter().all(has) {
        let description = "the token of this client has not all of these scopes; ask without scope".to_owned();
        return Err(Refused { code: "invalid_scope", description, ..invalid("") });
    }
    Ok((client, token))
}

/// Digests are compared, in constant time, also where there is no such client. They are known beforehand: a stranger must not
/// have files read and programs run.
fn authenticated<'c>(clients: &'c [TokenClientRuntime], request: &TokenRequest) -> Option<&'c TokenClientRuntime> {
    let mut authenticated = None;
    // Both readings in any case, so that the time tells nothing.
    for claim in &request.claims {
        let proven = proven(clients, claim);
        authenticated = authenticated.or(proven);
    }
    authenticated
}

fn proven<'c>(clients: &'c [TokenClientRuntime], claim: &Claim) -> Option<&'c TokenClientRuntime> {
    find_proven(clients, |client| client.client_id == claim.client_id, |client| client.secret.has(&claim.secret))
}

/// Why attache's own token request failed, in the words that a client may have (RFC 6749 section 4.1.2.1 has these codes).
fn unavailable(error: &Arc<TokenError>) -> Refused {
    let temporary =
        matches!(error.kind, TokenErrorKind::Transient | TokenErrorKind::Timeout | TokenErrorKind::Cancelled);
    Refused {
        status: if temporary { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_GATEWAY },
        code: if temporary { "temporarily_unavailable" } else { "server_error" },
        description: error.message.clone(),
        retry_after: if temporary { Some(error.retry_after.unwrap_or(Duration::from_secs(1))) } else { None },
    }
}

/// RFC 6749 section 5.1.
fn success(token: &Acquired) -> Response<CallerBody> {
    let mut document = json!({
        "access_token": token.access_token.expose(),
        "token_type": token.token_type.as_str(),
    });
    if let Some(members) = document.as_object_mut() {
        members.extend(token.expires_in.map(|left| ("expires_in".to_owned(), left.as_secs().into())));
        members.extend(token.scope.clone().map(|scope| ("scope".to_owned(), scope.into())));
    }
    json_response(StatusCode::OK, &document)
}

impl Refused {
    fn into_response(self, request_id: &RequestId) -> Response<CallerBody> {
        let document = json!({ "error": self.code, "error_description": self.description.replace(['"', '\\'], "'") });
        let mut response = json_response(self.status, &document);
        let headers = response.headers_mut();
        headers.insert(
            PROXY_STATUS,
            HeaderValue::from_static(match self.status {
                StatusCode::BAD_GATEWAY => "attache; error=proxy_configuration_error",
                StatusCode::SERVICE_UNAVAILABLE => "attache; error=proxy_internal_error",
                _ => "attache; error=http_request_denied",
            }),
        );
        // Not with the one answer that has to be the same for every client.
        if self.status != StatusCode::UNAUTHORIZED {
            headers.insert(REQUEST_ID, request_id.value());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"attache\""));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}

fn json_response(status: StatusCode, document: &serde_json::Value) -> Response<CallerBody> {
    let mut response = Response::new(CallerBody::own(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // RFC 6749 section 5.1.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
