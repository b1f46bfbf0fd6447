//! The clients that the demo's authorization server knows, and how one proves itself (RFC 6749 section 2.3).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, header};
use url::form_urlencoded;

use super::refusal::Refusal;
use crate::http_auth::BasicPair;

/// A registered client.
#[derive(Debug, Clone)]
pub struct Client {
    /// RFC 6749 section 2.2.
    pub id: String,
    /// Its secret. The demo's are public; this type is not made for others.
    pub secret: String,
    /// The scopes it may ask for, and is given if it asks for none.
    pub scopes: Vec<String>,
}

impl Client {
    /// A client with these scopes.
    #[must_use]
    pub fn new(id: &str, secret: &str, scopes: &[&str]) -> Self {
        Self { id: id.to_owned(), secret: secret.to_owned(), scopes: scopes.iter().map(|&s| s.to_owned()).collect() }
    }
}

/// A form as it was received, each field once (RFC 6749 section 3.2).
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refusal> {
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refusal::bad("invalid_request", "the body has to be application/x-www-form-urlencoded"));
        }
        let fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let repeated = |(at, (name, _)): (usize, &(String, String))| {
            name != "resource" && fields.iter().take(at).any(|(earlier, _)| earlier == name)
        };
        if fields.iter().enumerate().any(repeated) {
            return Err(Refusal::bad("invalid_request", "a field stands twice"));
        }
        Ok(Self(fields))
    }

    /// A field; an empty one counts as absent (RFC 6749 section 3.2).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, value)| field == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

/// Finds out which client is asking: `client_secret_basic` or `client_secret_post`, one of them.
pub(super) fn authenticate<'a>(clients: &'a [Client], headers: &HeaderMap, form: &Form) -> Result<&'a Client, Refusal> {
    let (id, secret) = match (headers.get(header::AUTHORIZATION), form.get("client_secret")) {
        (Some(_), Some(_)) => return Err(Refusal::bad("invalid_request", "two client authentications in one request")),
        (Some(value), None) => {
            let unreadable = || Refusal::client("the Basic credentials cannot be read");
            let pair = BasicPair::read(value).ok_or_else(unreadable)?.form_decoded();
            (pair.name, pair.password.to_string())
        }
        (None, Some(secret)) => (form.get("client_id").unwrap_or_default().to_owned(), secret.to_owned()),
        (None, None) => return Err(Refusal::client("client authentication is missing")),
    };
    clients
        .iter()
        .find(|client| client.id == id)
        .filter(|client| verify_slices_are_equal(client.secret.as_bytes(), secret.as_bytes()).is_ok())
        .ok_or_else(|| Refusal::client("unknown client or wrong secret"))
}
