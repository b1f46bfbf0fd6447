//! The way to the token endpoint (RFC 6749 section 3.2): no redirects, no proxy from the environment, no
//! decompression, a bounded answer. Says in the log that a token was asked for, and never what was answered.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::client_auth::Proof;
use super::response::Answer;
use super::settings::{OAuthSettings, shown};
use super::{TokenRequest, failure, grant, wording};
use crate::token::{TokenError, TokenErrorKind};

/// The largest answer that is read. A token may take 16 KiB of it.
const MAX_ANSWER: usize = 64 * 1024;

/// Fields that frame the request: an extra header of these names would only break it.
const FRAMING: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::CONTENT_TYPE];

/// An authorization server and the connections to it.
pub(super) struct Endpoint {
    host: String,
    client: reqwest::Client,
}

/// Where one token request goes.
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) host: String,
}

impl Target {
    /// Checks the URL: RFC 6749 section 3.2 requires TLS, save on this machine.
    pub(super) fn new(url: Url) -> Result<Self, String> {
        let host = host_of(&url)?;
        Ok(Self { url, host })
    }
}

impl Endpoint {
    pub(super) fn new(settings: &OAuthSettings, tls: rustls::ClientConfig) -> Result<Self, String> {
        let host = settings.server.host();
        let client = reqwest::Client::builder()
            // reqwest's own TLS set-up needs a process-wide provider, and panics without one.
            .tls_backend_preconfigured(tls)
            // HTTP_PROXY in our environment is often this very program.
            .no_proxy()
            // A redirected POST would hand the secret to whoever is named there.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("attache/", env!("CARGO_PKG_VERSION")))
            // Token requests are minutes apart: a connection kept for long is one that the other side has closed.
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(1);
        let client = match &settings.proxy {
            None => client,
            Some(proxy) => client.proxy(onward(proxy)?),
        };
        let client = client.build().map_err(|_opaque| format!("the HTTP client for {host} cannot be set up"))?;
        Ok(Self { host, client })
    }

    /// Who is asked, as it is shown to people.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Sends one token request and reads the answer, whatever its status.
    ///
    /// # Errors
    /// When there is no whole answer, or one that is too large.
    pub(super) async fn post<'t>(
        &self,
        target: &'t Target,
        settings: &OAuthSettings,
        request: &TokenRequest,
    ) -> Result<Answer<'t>, TokenError> {
        let body = grant::body(settings, &request.grant, &request.proof).as_bytes().to_vec();
        let sent = self.client.post(target.url.clone()).headers(headers(settings, request)).body(body);
        self.exchange(&target.host, sent, &request.proof).await
    }

    /// Reads a document that anybody may read, such as metadata.
    ///
    /// # Errors
    /// As [`Endpoint::post`].
    pub(super) async fn get(&self, url: &Url) -> Result<Answer<'_>, TokenError> {
        let sent = self
            .client
            .get(url.clone())
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
            .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        self.exchange(&self.host, sent, &Proof::default()).await
    }

    async fn exchange<'h>(
        &self,
        host: &'h str,
        request: reqwest::RequestBuilder,
        proof: &Proof,
    ) -> Result<Answer<'h>, TokenError> {
        let requested_at = Instant::now();
        let mut response = request.send().await.map_err(|error| failed(host, &error, requested_at, proof))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = Zeroizing::new(Vec::new());
        let mut whole = true;
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(host, &error, requested_at, proof))? {
            whole = body.len() + chunk.len() <= MAX_ANSWER;
            if !whole {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        tracing::debug!(
            target: "attache::token",
            endpoint = %host,
            status = status.as_u16(),
            content_type = wording::media_type(&headers, proof),
            length = body.len(),
            elapsed = ?requested_at.elapsed(),
            "token request answered"
        );
        if whole {
            return Ok(Answer { host, status, headers, body, requested_at });
        }
        if !status.is_success() {
            // The status of a large error page says enough.
            return Ok(Answer { host, status, headers, body: Zeroizing::default(), requested_at });
        }
        let message = format!("{host} answered with more than 64 KiB, which is no token response");
        Err(TokenError::new(TokenErrorKind::InvalidResponse, message))
    }

    /// The error of a token request that ran out of time.
    pub(super) fn timed_out(&self, after: Duration) -> TokenError {
        tracing::debug!(target: "attache::token", endpoint = %self.host, elapsed = ?after, "token request timed out");
        let after = humantime::format_duration(after);
        TokenError::new(
            TokenErrorKind::Timeout,
            format!("{} did not answer the token request within {after}", self.host),
        )
    }
}

fn failed(host: &str, error: &reqwest::Error, requested_at: Instant, proof: &Proof) -> TokenError {
    let error = failure::explain(host, error, proof);
    tracing::debug!(
        target: "attache::token",
        endpoint = %host,
        kind = error.kind.as_str(),
        elapsed = ?requested_at.elapsed(),
        "token request failed"
    );
    error
}

/// The configured way out, with the user name and password of its URL, so that no error may repeat that.
fn onward(proxy: &Url) -> Result<reqwest::Proxy, String> {
    reqwest::Proxy::all(proxy.clone())
        .map_err(|_opaque| "the proxy for token requests cannot be used; write http://HOST:PORT".to_owned())
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoint").field(&self.host).finish()
    }
}

/// Host and port as they are shown to people; never the path or query, which can hold a tenant's key.
fn host_of(url: &Url) -> Result<String, String> {
    let host = url.host().ok_or("token_endpoint has no host; write https://HOST/PATH")?;
    let loopback = match &host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    let shown = shown(url);
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("token_endpoint holds user information before {shown}; use client_id and client_secret"));
    }
    match url.scheme() {
        "https" => Ok(shown),
        "http" if loopback => Ok(shown),
        "http" => Err(format!("token_endpoint would send the client secret to {shown} in clear; use https")),
        other => Err(format!("token_endpoint has the scheme {other}; use https")),
    }
}

/// The extra header fields that are sent.
pub(super) fn extra_headers(settings: &OAuthSettings) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
    settings.headers.iter().filter(|(name, _)| !FRAMING.contains(name))
}

fn headers(settings: &OAuthSettings, request: &TokenRequest) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, _) in &settings.headers {
        headers.remove(name);
    }
    for (name, value) in extra_headers(settings) {
        // It may be an API key: out of the logs and of HPACK's table.
        let mut value = value.clone();
        value.set_sensitive(true);
        headers.append(name, value);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    if let Some(authorization) = &request.proof.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    if let Some(proof) = &request.dpop {
        headers.insert(HeaderName::from_static("dpop"), proof.clone());
    }
    headers
}
