//! What the token endpoint answered: a token (RFC 6749 section 5.1) or the reason why there is none (section 5.2).
//!
//! Liberal where servers differ harmlessly, strict about everything that ends up in a header. An error never quotes the
//! body, save the filtered `error` and `error_description`.

use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::client_auth::Proof;
use super::members::Members;
use super::settings::{Grant, OAuthSettings, TokenExchange};
use super::{grant, lifetime, refusal, wording};
use crate::secret::Secret;
use crate::token::{FetchDetail, FetchedToken, TokenError, TokenErrorKind, TokenType};

/// The longest access token that is accepted; a header much above it is refused by most servers.
const MAX_TOKEN: usize = 16 * 1024;

/// The longest `scope` that is kept.
const MAX_SCOPE: usize = 4 * 1024;

/// The longest text member that is kept for a route.
const MAX_MEMBER: usize = 2 * 1024;

/// An answer as it came, whatever its status.
pub(super) struct Answer<'a> {
    /// Who answered, for the sentences.
    pub(super) host: &'a str,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
    /// When the request was sent.
    pub(super) requested_at: Instant,
}

/// Reads an answer. Pure: the same answer gives the same result.
///
/// # Errors
/// Permanent for an OAuth error, transient for an overloaded or broken server, otherwise an invalid response.
pub(super) fn parse(answer: &Answer<'_>, proof: &Proof, settings: &OAuthSettings) -> Result<FetchedToken, TokenError> {
    let members = Members::parse(&answer.body);
    match members {
        Some(members) if answer.status.is_success() => granted(answer, members, proof, settings),
        members => Err(refusal::refused(answer, members.as_ref(), proof)),
    }
}

fn granted(
    answer: &Answer<'_>,
    mut members: Members,
    proof: &Proof,
    settings: &OAuthSettings,
) -> Result<FetchedToken, TokenError> {
    let invalid = |what: &str| {
        let message = format!("{} answered with a token response that cannot be used: {what}", answer.host);
        TokenError::new(TokenErrorKind::InvalidResponse, message)
    };
    // Some servers answer 200 to everything. Where there is an error, a token beside it is not to be trusted.
    if let Some(error) = refusal::stated(answer, &members, proof) {
        return Err(error);
    }
    let access_token = match members.take("access_token") {
        Some(Value::String(token)) if !token.is_empty() => Secret::new(token),
        Some(_) => return Err(invalid("access_token is no text, or empty")),
        None => return Err(refusal::refused(answer, Some(&members), proof)),
    };
    if access_token.expose().len() > MAX_TOKEN {
        return Err(invalid("access_token is longer than 16 KiB"));
    }
    if !is_b64token(access_token.expose()) {
        return Err(invalid("access_token holds characters that may not stand in a header (RFC 6750 section 2.1)"));
    }
    let token_type = token_type(members.take("token_type")).map_err(invalid)?;
    if settings.dpop.is_some() && token_type != TokenType::DPoP {
        return Err(invalid(
            "the token is not bound to our key (token_type is not DPoP); allow this client DPoP there, or remove dpop",
        ));
    }
    if let Grant::TokenExchange(exchange) = &settings.grant {
        issued_type(members.get("issued_token_type"), exchange).map_err(invalid)?;
    }
    let expires = lifetime::expires(members.take("expires_in").as_ref(), access_token.expose()).map_err(invalid)?;
    // A server that puts the token or the secret into its scope must not bring it into logs and pages that way.
    let said = scope(members.take("scope"));
    // Of what was said, and not of what may be repeated: an empty scope grants nothing.
    let missing_scope = grant::missing_scope(settings, said.as_deref());
    let scope = said
        .filter(|scope| !scope.contains(access_token.expose()))
        .and_then(|scope| wording::repeatable(&scope, MAX_SCOPE, proof));
    // refresh_token is not looked at: this grant should have none (RFC 6749 section 4.4.3), and asking anew is as good.
    let date = answer.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
    let server_date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let requested_at = answer.requested_at;
    let members = settings.members.iter().filter_map(|name| member(&members, name, access_token.expose(), proof));
    let detail = FetchDetail { proven_by: None, members: members.collect() };
    Ok(FetchedToken { access_token, token_type, expires, scope, missing_scope, server_date, requested_at, detail })
}

/// RFC 8693 section 2.2.1: what was issued has to be usable as an access token, whatever its format.
fn issued_type(issued: Option<&Value>, exchange: &TokenExchange) -> Result<(), &'static str> {
    const USABLE: [&str; 2] = ["urn:ietf:params:oauth:token-type:access_token", "urn:ietf:params:oauth:token-type:jwt"];
    match issued.map(Value::as_str) {
        // Required by the standard and left out by some: what else could have been meant.
        None => Ok(()),
        Some(Some(issued)) if USABLE.contains(&issued) => Ok(()),
        Some(issued) if issued.is_some() && issued == exchange.requested_token_type.as_deref() => Ok(()),
        Some(_) => Err("issued_token_type is no access token"),
    }
}

/// A text that a route asks for. One that repeats a secret, or could not stand in a URL, is left out.
fn member(members: &Members, name: &str, token: &str, proof: &Proof) -> Option<(String, String)> {
    let text = members.get(name)?.as_str()?;
    let plain = text.len() <= MAX_MEMBER && text.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && !text.contains(token) && !proof.is_in(text)).then(|| (name.to_owned(), text.to_owned()))
}

/// RFC 6750 section 2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(token: &str) -> bool {
    let characters = token.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !characters.is_empty() && characters.bytes().all(allowed)
}

/// RFC 6749 section 7.1: a token of a type that is not understood must not be used. A silent server means Bearer.
fn token_type(value: Option<Value>) -> Result<TokenType, &'static str> {
    match value {
        None => Ok(TokenType::Bearer),
        Some(Value::String(name)) if name.eq_ignore_ascii_case("bearer") => Ok(TokenType::Bearer),
        Some(Value::String(name)) if name.eq_ignore_ascii_case("dpop") => Ok(TokenType::DPoP),
        Some(Value::String(name)) if name.eq_ignore_ascii_case("n_a") => {
            Err("token_type is N_A: what was issued is no access token (RFC 8693 section 2.2.1)")
        }
        Some(_) => Err("token_type is neither Bearer nor DPoP"),
    }
}

/// RFC 6749 section 3.3 has a text; some servers send a list.
fn scope(value: Option<Value>) -> Option<String> {
    match value? {
        Value::String(scope) => Some(scope),
        Value::Array(values) => Some(values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
