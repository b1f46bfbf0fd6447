//! Why the authorization server gave no token, and whether asking again can help (RFC 6749 section 5.2).

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;

use super::client_auth::Proof;
use super::members::Members;
use super::response::Answer;
use super::wording;
use crate::token::{TokenError, TokenErrorKind};

/// No server may keep us away for longer.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Codes that mean what they say even under a 5xx (RFC 6749 section 5.2, RFC 8707 section 2).
const PERMANENT: [&str; 8] = [
    "invalid_client",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_grant",
    "invalid_request",
    "invalid_target",
    "access_denied",
];

/// Codes of a server that is not able to just now (RFC 6749 section 4.1.2.1, RFC 8628 section 3.5, and common use).
const TRANSIENT: [&str; 4] = ["temporarily_unavailable", "server_error", "slow_down", "too_many_requests"];

/// The error of an answer that brings no token.
pub(super) fn refused(answer: &Answer<'_>, members: Option<&Members>, proof: &Proof) -> TokenError {
    let (host, status) = (answer.host, answer.status);
    let is_json = members.is_some();
    let refusal = members.and_then(|members| Refusal::read(members, proof));
    if let Some(refusal) = refusal.filter(|refusal| !status.is_redirection() && refusal.counts_under(status)) {
        return refusal.into_error(answer);
    }
    if is_overload(status) {
        let message = format!("{host} cannot give a token now: it answered {status}");
        return TokenError::new(TokenErrorKind::Transient, message).with_retry_after(retry_after(&answer.headers));
    }
    let message = match status.as_u16() {
        300..=399 => redirect(answer, proof),
        200..=299 if is_json => format!("{host} answered {status} without an access_token; check token_endpoint"),
        200..=299 => {
            format!(
                "{host} answered {status} with no JSON object, or with one that repeats a member; check token_endpoint"
            )
        }
        404 | 405 | 410 => format!("{host} answered {status} to the token request; check the path in token_endpoint"),
        400 | 401 | 403 => {
            format!("{host} answered {status} without saying why; check client_id, the client secret and client_auth")
        }
        _ => format!("{host} answered {status} to the token request without saying why; check token_endpoint"),
    };
    TokenError::new(TokenErrorKind::InvalidResponse, message)
}

/// The OAuth error that stands in a successful answer, if one does.
pub(super) fn stated(answer: &Answer<'_>, members: &Members, proof: &Proof) -> Option<TokenError> {
    Refusal::read(members, proof).map(|refusal| refusal.into_error(answer))
}

/// `error` and `error_description`, filtered; `None` where nothing of them may be shown.
struct Refusal {
    code: Option<String>,
    description: Option<String>,
}

impl Refusal {
    /// An `error` that is no text, or empty, is none.
    fn read(members: &Members, proof: &Proof) -> Option<Self> {
        let error = members.get("error").and_then(Value::as_str).filter(|error| !error.is_empty())?;
        // A server that states an error beside a token may well quote that token.
        let token = members.get("access_token").and_then(Value::as_str).filter(|token| token.len() >= 8);
        let shown = |text: &str, limit| match token {
            Some(token) if text.contains(token) => None,
            _ => wording::repeatable(text, limit, proof),
        };
        // A code of the standard's tells nothing, even where somebody's secret is a part of the word.
        let code = match PERMANENT.iter().chain(&TRANSIENT).find(|code| **code == error) {
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

    fn into_error(self, answer: &Answer<'_>) -> TokenError {
        let transient = self.is_one_of(&TRANSIENT);
        let code = self.code.as_deref().unwrap_or("it gave an error that cannot be shown");
        let description = self.description.map(|text| format!(" ({text})")).unwrap_or_default();
        let hint = match code {
            "invalid_client" => "; check client_id, the client secret and client_auth",
            "invalid_scope" => "; check scope",
            "invalid_target" => "; check resource and audience",
            "unauthorized_client" | "unsupported_grant_type" => {
                "; allow this client the client_credentials grant there"
            }
            _ => "",
        };
        TokenError {
            kind: if transient { TokenErrorKind::Transient } else { TokenErrorKind::Permanent },
            message: format!("{} refused the token request: {code}{description}{hint}", answer.host),
            retry_after: if transient { retry_after(&answer.headers) } else { None },
            code: self.code,
        }
    }
}

fn is_overload(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Only the host of the new place is named: path and query may hold anything.
fn redirect(answer: &Answer<'_>, proof: &Proof) -> String {
    let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let place = location.and_then(|text| url::Url::parse(text).ok()).and_then(|url| url.host_str().map(str::to_owned));
    let place = match place.and_then(|place| wording::repeatable(&place, 253, proof)) {
        Some(place) => format!(" to {place}"),
        None => String::new(),
    };
    let host = answer.host;
    format!("{host} answered with a redirect{place}, which is not followed; put the final address into token_endpoint")
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
