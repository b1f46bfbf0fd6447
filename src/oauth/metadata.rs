//! Discovery: what an issuer says of itself (RFC 8414, OpenID Connect Discovery section 4).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::endpoint::Endpoint;
use super::endpoint_url::EndpointUrl;
use super::response::members::Members;
use crate::sync::lock;
use crate::token::{TokenError, TokenErrorKind};

/// How long a document counts before it is asked for again.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// How long the last good document is used before another try, when its server cannot be asked.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// What is used of a metadata document.
#[derive(Debug)]
pub(super) struct Metadata {
    /// `token_endpoint`, to the letter.
    pub(super) token_endpoint: Url,
    /// `mtls_endpoint_aliases.token_endpoint` (RFC 8705 section 5).
    pub(super) mtls_token_endpoint: Option<Url>,
}

/// An issuer's metadata, as it was found last.
pub(super) struct Discovery {
    issuer: String,
    /// The issuer itself is spoken to in clear, on this machine: then its endpoints may be so too.
    in_clear: bool,
    places: Vec<Url>,
    known: Mutex<Option<Known>>,
}

struct Known {
    metadata: Arc<Metadata>,
    ask_again: Instant,
}

impl Discovery {
    /// Discovery for an issuer: an `https` URL without query and fragment, or `http` on loopback.
    pub(super) fn new(issuer: &str) -> Result<Self, String> {
        let url = Url::parse(issuer).map_err(|error| format!("issuer is not a URL: {error}"))?;
        let in_clear = EndpointUrl::configured("issuer", &url)?.is_in_clear();
        Ok(Self { issuer: issuer.to_owned(), in_clear, places: places(&url), known: Mutex::default() })
    }

    /// The document, asked for if it is old. One that was good survives an outage of its server.
    ///
    /// # Errors
    /// When there has never been a good one.
    pub(super) async fn metadata(&self, endpoint: &Endpoint) -> Result<Arc<Metadata>, TokenError> {
        let last = self.last_good();
        if let Some((metadata, true)) = last {
            return Ok(metadata);
        }
        match (self.ask(endpoint).await, last) {
            (Ok(metadata), _) => {
                let metadata = Arc::new(metadata);
                self.keep(&metadata, FRESH);
                Ok(metadata)
            }
            (Err(error), Some((metadata, _))) => {
                tracing::warn!(target: "attache::token", issuer = endpoint.host(), "the metadata is not renewed, the last good document stays in use: {error}");
                self.keep(&metadata, AFTER_FAILURE);
                Ok(metadata)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn last_good(&self) -> Option<(Arc<Metadata>, bool)> {
        let known = lock(&self.known);
        known.as_ref().map(|known| (Arc::clone(&known.metadata), Instant::now() < known.ask_again))
    }

    fn keep(&self, metadata: &Arc<Metadata>, fresh_for: Duration) {
        let known = Known { metadata: Arc::clone(metadata), ask_again: Instant::now() + fresh_for };
        *lock(&self.known) = Some(known);
    }

    /// Looks in each place until there is a document. Only "there is none here" leads to the next: a server that is down
    /// is down for all of them.
    async fn ask(&self, endpoint: &Endpoint) -> Result<Metadata, TokenError> {
        for place in &self.places {
            let answer = endpoint.get(place).await?;
            match answer.status {
                StatusCode::OK => return self.read(endpoint.host(), &answer.body),
                StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
                }
                status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                    let message = format!("{} cannot give its metadata now: it answered {status}", endpoint.host());
                    return Err(TokenError::new(TokenErrorKind::Transient, message));
                }
                _ => {}
            }
        }
        let error = invalid(endpoint.host(), "there is none at the well-known places");
        Err(error.with_remedy("check issuer, or write token_endpoint"))
    }

    fn read(&self, host: &str, body: &[u8]) -> Result<Metadata, TokenError> {
        let members = Members::parse(body).ok_or_else(|| invalid(host, "it is no JSON object"))?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        // To the letter (RFC 8414 section 3.3): otherwise one server could speak for another.
        if text("issuer") != Some(self.issuer.as_str()) {
            let error = invalid(host, "its issuer is not the configured one to the letter");
            return Err(error.with_remedy("check issuer, also its last \"/\""));
        }
        let endpoint = |url: &str| {
            let target = EndpointUrl::new(Url::parse(url).ok()?).ok()?;
            (self.in_clear || !target.is_in_clear()).then_some(target.url)
        };
        let token_endpoint = text("token_endpoint").ok_or_else(|| invalid(host, "it names no token_endpoint"))?;
        let token_endpoint =
            endpoint(token_endpoint).ok_or_else(|| invalid(host, "its token_endpoint is no https URL"))?;
        let alias = members.get("mtls_endpoint_aliases").and_then(|aliases| aliases.get("token_endpoint"));
        let mtls_token_endpoint = alias.and_then(Value::as_str).and_then(endpoint);
        Ok(Metadata { token_endpoint, mtls_token_endpoint })
    }
}

/// RFC 8414 section 3.1 puts the well-known part between host and path; OpenID Connect puts it behind; RFC 8414 section 5
/// has both names in the first form.
fn places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    let mut places = vec![
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
        at(format!("/.well-known/openid-configuration{path}")),
    ];
    places.dedup();
    places
}

fn invalid(host: &str, why: &str) -> TokenError {
    TokenError::new(TokenErrorKind::InvalidResponse, format!("the metadata of {host} cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery() -> Discovery {
        Discovery::new("https://login.test/tenant").unwrap()
    }

    #[test]
    fn the_well_known_places_are_those_of_both_standards() {
        let texts = |issuer: &str| places(&Url::parse(issuer).unwrap()).iter().map(Url::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts("https://login.test/tenant/"),
            [
                "https://login.test/.well-known/oauth-authorization-server/tenant",
                "https://login.test/tenant/.well-known/openid-configuration",
                "https://login.test/.well-known/openid-configuration/tenant",
            ]
        );
        assert_eq!(
            texts("https://login.test"),
            [
                "https://login.test/.well-known/oauth-authorization-server",
                "https://login.test/.well-known/openid-configuration",
            ]
        );
    }

    #[test]
    fn a_document_of_another_issuer_is_refused() {
        for issuer in [
            "https://login.test/tenant/",
            "https://login.test",
            "https://evil.test/tenant",
            "HTTPS://login.test/tenant",
        ] {
            let body = format!(r#"{{"issuer":"{issuer}","token_endpoint":"https://login.test/token"}}"#);
            let error = discovery().read("login.test", body.as_bytes()).unwrap_err();
            assert!(error.message.contains("its issuer is not the configured one"), "{error}");
        }
    }

    #[test]
    fn endpoints_are_taken_to_the_letter_and_only_over_tls() {
        let read = |endpoint: &str| {
            let body = format!(r#"{{"issuer":"https://login.test/tenant","token_endpoint":"{endpoint}"}}"#);
            discovery().read("login.test", body.as_bytes())
        };
        assert_eq!(
            read("https://other.test//token?x=1").unwrap().token_endpoint.as_str(),
            "https://other.test//token?x=1"
        );
        // Not on this machine either: who knows what listens there.
        for local in ["http://127.0.0.1:8080/token", "http://localhost/token", "http://[::1]/token"] {
            assert!(read(local).unwrap_err().message.contains("no https URL"), "{local}");
        }
        let body = br#"{"issuer":"http://localhost:1","token_endpoint":"http://localhost:1/token"}"#;
        assert!(Discovery::new("http://localhost:1").unwrap().read("localhost:1", body).is_ok());
        assert!(read("http://other.test/token").unwrap_err().message.contains("no https URL"));
        assert!(read("https://me:pw@other.test/token").is_err());
        assert!(discovery().read("login.test", b"<html>").is_err());
    }

    #[test]
    fn an_alias_in_clear_is_no_alias() {
        let body = br#"{"issuer":"https://login.test/tenant","token_endpoint":"https://login.test/token",
            "mtls_endpoint_aliases":{"token_endpoint":"http://127.0.0.1/token"}}"#;
        assert!(discovery().read("login.test", body).unwrap().mtls_token_endpoint.is_none());
    }

    #[test]
    fn the_alias_for_client_certificates_is_found() {
        let body = br#"{"issuer":"https://login.test/tenant","token_endpoint":"https://login.test/token",
            "mtls_endpoint_aliases":{"token_endpoint":"https://mtls.login.test/token"}}"#;
        let metadata = discovery().read("login.test", body).unwrap();
        assert_eq!(metadata.mtls_token_endpoint.unwrap().as_str(), "https://mtls.login.test/token");
    }
}
