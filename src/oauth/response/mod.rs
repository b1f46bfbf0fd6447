//! What the token endpoint answered: a token (RFC 6749 section 5.1) or the reason why there is none (section 5.2).
//!
//! Liberal where servers differ harmlessly, strict about everything that ends up in a header. An error never quotes the
//! body, save the filtered `error` and `error_description`.

pub(super) mod clock;
pub(super) mod lifetime;
pub(super) mod members;
mod refusal;

use serde_json::Value;

use self::members::Members;
use super::answer::Answer;
use super::redact::Redactor;
use super::request::grant;
use super::settings::{Grant, OAuthSettings, TokenExchange};
use crate::secret::Secret;
use crate::token::{Expires, FetchDetail, FetchedToken, TokenError, TokenErrorKind, TokenType, judge_token};

/// RFC 6749 section 5.1.
const ACCESS_TOKEN: &str = "access_token";

/// The longest `scope` that is kept.
const MAX_SCOPE: usize = 4 * 1024;

/// The longest text member that is kept for a route.
const MAX_MEMBER: usize = 2 * 1024;

/// Reads an answer. Pure: the same answer gives the same result.
///
/// # Errors
/// Permanent for an OAuth error, transient for an overloaded or broken server, otherwise an invalid response.
pub(crate) fn parse(
    answer: &Answer<'_>,
    redactor: &Redactor,
    settings: &OAuthSettings,
) -> Result<FetchedToken, TokenError> {
    let read = match Members::read(&answer.headers, &answer.body) {
        Some(members) if answer.status.is_success() => granted(answer, members, redactor, settings),
        members => Err(refusal::refused(answer, members.as_ref(), redactor)),
    };
    let status = Some(answer.status.as_u16());
    read.map_err(|error| TokenError { status, ..clock::with_skew(error, answer, settings) })
}

fn granted(
    answer: &Answer<'_>,
    mut members: Members,
    redactor: &Redactor,
    settings: &OAuthSettings,
) -> Result<FetchedToken, TokenError> {
    let invalid = |what: &str| {
        let message = format!("{} answered with a token response that cannot be used: {what}", answer.host);
        TokenError::new(TokenErrorKind::InvalidResponse, message)
    };
    // Some servers answer 200 to everything. Where there is an error, a token beside it is not to be trusted.
    if let Some(error) = refusal::stated(answer, &members, redactor) {
        return Err(error);
    }
    let name = settings.token_member.as_deref().unwrap_or(ACCESS_TOKEN);
    let access_token = match members.take(name) {
        Some(Value::String(token)) => Secret::new(token),
        Some(_) => return Err(invalid(&format!("{name} is no text"))),
        None if settings.token_member.is_some() => return Err(invalid(&format!("it has no {name}"))),
        None => return Err(refusal::refused(answer, Some(&members), redactor)),
    };
    judge_token(access_token.expose()).map_err(|fault| invalid(&format!("{name} {fault}")))?;
    let token_type = token_type(members.take("token_type").as_ref(), settings)
        .map_err(|(what, remedy)| invalid(what).with_remedy(remedy))?;
    if let Grant::TokenExchange(exchange) = &settings.grant {
        issued_type(members.get("issued_token_type"), exchange).map_err(invalid)?;
    }
    let expires_in = members.take("expires_in");
    let expires = match settings.token_member {
        // `expires_in` is about the access token (RFC 6749 section 5.1); another one says best itself how long it lives.
        Some(_) => match lifetime::expires(None, access_token.expose()).map_err(invalid)? {
            Expires::Unsaid => lifetime::expires(expires_in.as_ref(), access_token.expose()),
            said => Ok(said),
        },
        None => lifetime::expires(expires_in.as_ref(), access_token.expose()),
    };
    let expires = expires.map_err(invalid)?;
    // A server that puts the token or the secret into its scope must not bring it into logs and pages that way.
    let said = scope(members.take("scope"));
    // Of what was said, and not of what may be repeated: an empty scope grants nothing.
    let missing_scope = grant::missing_scope(settings, said.as_deref());
    let scope = said
        .filter(|scope| !scope.contains(access_token.expose()))
        .and_then(|scope| redactor.redacted(&scope, MAX_SCOPE));
    // refresh_token is not looked at: this grant should have none (RFC 6749 section 4.4.3), and asking anew is as good.
    let server_date = clock::server_date(answer);
    let members = settings.members.iter().filter_map(|name| member(&members, name, access_token.expose(), redactor));
    let detail =
        FetchDetail { members: members.collect(), status: Some(answer.status.as_u16()), ..FetchDetail::default() };
    let token = FetchedToken::bearer(access_token, expires, answer.requested_at);
    Ok(FetchedToken { token_type, scope, missing_scope, server_date, detail, ..token })
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
fn member(members: &Members, name: &str, token: &str, redactor: &Redactor) -> Option<(String, String)> {
    let text = members.get(name)?.as_str()?;
    let plain = text.len() <= MAX_MEMBER && text.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && !text.contains(token) && !redactor.is_in(text)).then(|| (name.to_owned(), text.to_owned()))
}

/// RFC 6749 section 7.1: a token of a type that is not understood must not be used, unless the configuration says how. A
/// silent server means Bearer, and so do those that say `BearerToken` (Apigee). A failure is what is wrong, and the remedy.
fn token_type(value: Option<&Value>, settings: &OAuthSettings) -> Result<TokenType, (&'static str, &'static str)> {
    let named = match value {
        None => Some(TokenType::Bearer),
        Some(Value::String(name)) if name.is_empty() || begins_with(name, "bearer") => Some(TokenType::Bearer),
        Some(Value::String(name)) if name.eq_ignore_ascii_case("dpop") => Some(TokenType::DPoP),
        Some(_) => None,
    };
    match (named, &settings.dpop) {
        (Some(TokenType::DPoP), Some(_)) => Ok(TokenType::DPoP),
        (_, Some(_)) => Err((
            "the token is not bound to attache's key (token_type is not DPoP)",
            "allow this client DPoP there, or remove dpop",
        )),
        (Some(TokenType::Bearer), None) => Ok(TokenType::Bearer),
        (_, None) if settings.any_token_type => Ok(TokenType::Unknown),
        (Some(_), None) => {
            Err(("token_type is DPoP, and attache has no key that it could be bound to", "write dpop = true"))
        }
        (None, None) if value.and_then(Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case("n_a")) => Err((
            "token_type is N_A: what was issued is no access token (RFC 8693 section 2.2.1)",
            "ask for another requested_token_type, or write how it is presented with inject = { format = \"Bearer {token}\" }",
        )),
        (None, None) => Err((
            "token_type is neither Bearer nor DPoP",
            "if the upstream takes such a token, write how with inject = { format = \"Bearer {token}\" }",
        )),
    }
}

fn begins_with(name: &str, word: &str) -> bool {
    name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
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
