//! What the fuzz targets hold against the parts of this room that nobody else may use. Each gives the sentence of what is
//! broken, if something is.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::answer::Answer;
use super::request::client_auth::{ClientAuthentication, basic_credentials};
use super::request::{assertion, grant};
use super::response;
use super::settings::{AssertionAudience, ClientAuth, OAuthSettings, Server};
use crate::secret::{Secret, SecretSource, Secrets};
use crate::token::Expires;

/// The client secret that no answer may bring out again.
pub(crate) const SECRET: &str = "s3cret-of-the-client";

/// Reads a token response: its first byte chooses the status, the rest is the body.
///
/// # Errors
/// A token that no header may hold, a life beyond a year, or an error that quotes the secret.
pub fn token_response(bytes: &[u8]) -> Result<(), String> {
    let (status, body) = bytes.split_first().map_or((200, bytes), |(first, body)| {
        (*[200_u16, 200, 201, 302, 400, 401, 403, 429, 503].get(usize::from(*first) % 9).unwrap_or(&200), body)
    });
    let secrets = Secrets::one(SecretSource::Literal(Secret::new(SECRET.to_owned())));
    let Some((settings, client)) = asked(secrets) else { return Err("no request can be made".into()) };
    let answer = Answer {
        host: "login.example.com",
        status: StatusCode::from_u16(status).unwrap_or_default(),
        headers: HeaderMap::new(),
        body: Zeroizing::new(body.to_vec()),
        requested_at: Instant::now(),
    };
    match response::parse(&answer, &client.redactor, &settings) {
        Ok(token) => {
            let text = token.access_token.expose();
            let allowed = |byte: u8| matches!(byte, 0x21..=0x7e);
            if text.is_empty() || text.len() > 16 * 1024 || !text.bytes().all(allowed) {
                return Err("a token was taken that no header may hold".into());
            }
            match token.expires {
                Expires::In(life) if life > Duration::from_secs(366 * 24 * 60 * 60) => {
                    Err("a life of more than a year".into())
                }
                _ => Ok(()),
            }
        }
        Err(error) if error.message.contains(SECRET) => Err("an error quotes the secret".into()),
        Err(error) if error.message.len() > 2048 => Err("an error is longer than anybody reads".into()),
        Err(_) => Ok(()),
    }
}

fn asked(secrets: Secrets) -> Option<(OAuthSettings, ClientAuthentication)> {
    let auth = ClientAuth::Post(secrets);
    let url = Server::parse("https://login.example.com/token").ok()?;
    let audience =
        assertion::Audience { issuer: None, token_endpoint: url.as_str(), wanted: &AssertionAudience::Unsaid };
    let client = ClientAuthentication::new(&auth, "me", Some(&Secret::new(SECRET.to_owned())), &audience).ok()?;
    let settings = OAuthSettings::new(Server::at(url.clone()), "me".into(), auth);
    let body = grant::body(&settings, &Vec::new(), &client);
    (!body.is_empty()).then_some((settings, client))
}

/// `client_secret_basic` of an id and a secret: what a server decodes by RFC 6749 appendix B is both of them again.
///
/// # Errors
/// What came out otherwise.
pub fn basic(id: &str, secret: &str) -> Result<(), String> {
    use base64::Engine as _;

    let sent = basic_credentials(id, &Secret::new(secret.to_owned()), false);
    if !sent.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it is not fit for a header field".into());
    }
    let pair = base64::engine::general_purpose::STANDARD.decode(sent.as_bytes()).map_err(|error| error.to_string())?;
    let pair = String::from_utf8(pair).map_err(|error| error.to_string())?;
    let (first, second) = pair.split_once(':').ok_or("there is no colon")?;
    let decoded = |text: &str| {
        let form = format!("x={text}");
        url::form_urlencoded::parse(form.as_bytes()).next().map_or_else(String::new, |(_, value)| value.into_owned())
    };
    if second.contains(':') || decoded(first) != id || decoded(second) != secret {
        return Err(format!("{id:?} and the secret are not what a server would read"));
    }
    Ok(())
}
