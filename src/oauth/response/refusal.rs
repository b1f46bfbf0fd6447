//! Why the authorization server gave no token, and whether asking again can help (RFC 6749 section 5.2).

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;

use super::super::answer::Answer;
use super::super::redact::Redactor;
use super::members::Members;
use crate::token::{About, TokenError, TokenErrorKind};

const CHECK_CLIENT: &str = "check client_id, the client secret and client_auth";

const CHECK_ENDPOINT: &str = "check token_endpoint";

/// No server may put off token requests for longer.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// Registered codes of a request that is wrong: they mean what they say even under a 5xx (RFC 6749 section 5.2, RFC 8707
/// section 2, RFC 9449 section 5, RFC 9396 section 5; OpenID Connect Core section 3.1.2.6 for what only a person can do).
const PERMANENT: [&str; 13] = [
    "invalid_client",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_grant",
    "invalid_request",
    "invalid_target",
    "access_denied",
    "invalid_dpop_proof",
    "invalid_authorization_details",
    "interaction_required",
    "consent_required",
    "login_required",
];

/// Codes of a server that is not able to just now (RFC 6749 section 4.1.2.1, RFC 8628 section 3.5, and common use).
const TRANSIENT: [&str; 4] = ["temporarily_unavailable", "server_error", "slow_down", "too_many_requests"];

/// By which servers say, in whatever status, that they do not know the client or that its secret is another one:
/// `invalid_client`, and what is said in its place by GitHub, Slack, Salesforce, Oracle and others.
const CLIENT: [&str; 10] = [
    "invalid_client",
    "incorrect_client_credentials",
    "invalid_client_credentials",
    "invalid_client_id",
    "invalid_client_secret",
    "bad_client_id",
    "bad_client_secret",
    "client_authentication_failed",
    "client_not_found",
    "invalid_credentials",
];

/// Codes about the proof of possession: they come with 401 too, and no other secret helps (RFC 9449 sections 5 and 8).
const POSSESSION: [&str; 2] = ["use_dpop_nonce", "invalid_dpop_proof"];

/// The error of an answer that brings no token.
pub(crate) fn refused(answer: &Answer<'_>, members: Option<&Members>, redactor: &Redactor) -> TokenError {
    let error = refusal(answer, members, redactor);
    if answer.status == StatusCode::TOO_MANY_REQUESTS && error.about.is_none() {
        error.about(About::Rate)
    } else {
        error
    }
}

fn refusal(answer: &Answer<'_>, members: Option<&Members>, redactor: &Redactor) -> TokenError {
    let (host, status) = (answer.host, answer.status);
    let is_json = members.is_some();
    let refusal = members.and_then(|members| Refusal::read(members, redactor));
    if let Some(refusal) = refusal.filter(|refusal| !status.is_redirection() && refusal.counts_under(status)) {
        return refusal.into_error(answer);
    }
    if is_overload(status) {
        let message = format!("{host} cannot give a token now: it answered {status}");
        return TokenError::new(TokenErrorKind::Transient, message).with_retry_after(retry_after(&answer.headers));
    }
    let (message, remedy) = match status.as_u16() {
        300..=399 => (redirect(answer, redactor), Some("put the final address into token_endpoint")),
        200..=299 if is_json => (format!("{host} answered {status} without an access_token"), Some(CHECK_ENDPOINT)),
        200..=299 => {
            let message = format!("{host} answered {status} with no JSON object, or with one that repeats a member");
            (message, Some(CHECK_ENDPOINT))
        }
        404 | 405 | 410 => {
            (format!("{host} answered {status} to the token request"), Some("check the path in token_endpoint"))
        }
        400 | 401 | 403 => (format!("{host} answered {status} without saying why"), Some(CHECK_CLIENT)),
        _ => (format!("{host} answered {status} to the token request without saying why"), Some(CHECK_ENDPOINT)),
    };
    let error = TokenError::new(TokenErrorKind::InvalidResponse, message).with_remedy(remedy);
    match status {
        // There it means one thing (RFC 6749 section 5.2), which asking again does not change.
        StatusCode::UNAUTHORIZED => TokenError { kind: TokenErrorKind::Permanent, ..error.about(About::Client) },
        // Some servers say nothing else to a client that they do not know; others to whom they keep out in between.
        StatusCode::FORBIDDEN => error.about(About::Client),
        _ => error,
    }
}

/// The OAuth error that stands in a successful answer, if one does.
pub(crate) fn stated(answer: &Answer<'_>, members: &Members, redactor: &Redactor) -> Option<TokenError> {
    Refusal::read(members, redactor).map(|refusal| refusal.into_error(answer))
}

/// `error` and `error_description`, filtered; `None` where nothing of them may be shown.
struct Refusal {
    code: Option<String>,
    description: Option<String>,
}

impl Refusal {
    /// An `error` that is no text, or empty, is none.
    fn read(members: &Members, redactor: &Redactor) -> Option<Self> {
        let error = members.get("error").and_then(Value::as_str).filter(|error| !error.is_empty())?;
        // A server that states an error beside a token may well quote that token.
        let token = members.get("access_token").and_then(Value::as_str).filter(|token| token.len() >= 8);
        let shown = |text: &str, limit| match token {
            Some(token) if text.contains(token) => None,
            _ => redactor.redacted(text, limit),
        };
        // A known code tells nothing, even where a secret is a part of the word.
        let known = PERMANENT.iter().chain(&TRANSIENT).chain(&CLIENT).chain(&POSSESSION);
        let code = match known.into_iter().find(|code| code.eq_ignore_ascii_case(error)) {
            Some(code) => Some((*code).to_owned()),
            None => shown(error, 64),
        };
        let description = members.get("error_description").and_then(Value::as_str);
        Some(Self { code, description: description.and_then(|text| shown(text, 200)) })
    }

    /// Under 429 and 5xx the status is believed rather than the code, unless that is one that no overload explains.
    fn counts_under(&self, status: StatusCode) -> bool {
        !is_overload(status) || (status.is_server_error() && self.is_one_of(&PERMANENT))
    }

    fn is_one_of(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// A 401 means that the client could not prove itself, whatever the code is (RFC 6749 section 5.2): `unauthorized_client`
    /// (Keycloak), `access_denied` (Auth0), `unauthorized` (XSUAA).
    fn is_about_the_client(&self, status: StatusCode) -> bool {
        self.is_one_of(&CLIENT) || (status == StatusCode::UNAUTHORIZED && !self.is_one_of(&POSSESSION))
    }

    /// A code that nobody has registered says nothing about whether asking again helps, so it is asked again.
    fn into_error(self, answer: &Answer<'_>) -> TokenError {
        let client = self.is_about_the_client(answer.status);
        let permanent = client || self.is_one_of(&PERMANENT);
        let code = self.code.as_deref().unwrap_or("it gave an error that cannot be shown");
        let description = self.description.map(|text| format!(" ({text})")).unwrap_or_default();
        let remedy = match code {
            _ if client => Some(CHECK_CLIENT),
            "invalid_scope" => Some("check scope"),
            "invalid_target" => Some("check resource and audience"),
            "unauthorized_client" | "unsupported_grant_type" => Some("allow this client the grant there"),
            _ => None,
        };
        let kind = if permanent { TokenErrorKind::Permanent } else { TokenErrorKind::Transient };
        let message = format!("{} refused the token request: {code}{description}", answer.host);
        TokenError {
            code: self.code,
            about: client.then_some(About::Client),
            retry_after: if permanent { None } else { retry_after(&answer.headers) },
            ..TokenError::new(kind, message).with_remedy(remedy)
        }
    }
}

fn is_overload(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Only the host of the new place is named: path and query may hold anything.
fn redirect(answer: &Answer<'_>, redactor: &Redactor) -> String {
    let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let place = location.and_then(|text| url::Url::parse(text).ok()).and_then(|url| url.host_str().map(str::to_owned));
    let place = match place.and_then(|place| redactor.redacted(&place, 253)) {
        Some(place) => format!(" to {place}"),
        None => String::new(),
    };
    let host = answer.host;
    format!("{host} answered with a redirect{place}, which is not followed")
}

/// RFC 9110 section 10.2.3: seconds or a date. A date is read against the answer's own `Date`, so that a wrong clock
/// here does no harm.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(LONGEST_RETRY_AFTER, Duration::from_secs)
    } else {
        let now = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let until = httpdate::parse_http_date(text).ok()?;
        until.duration_since(now.unwrap_or_else(SystemTime::now)).unwrap_or_default()
    };
    Some(after.min(LONGEST_RETRY_AFTER))
}
