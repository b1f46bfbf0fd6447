//! The way to the token endpoint (RFC 6749 section 3.2): no redirects, no proxy from the environment, a bounded answer. Says in the log that a token was asked for, and never what was answered.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use super::answer::Answer;
use super::coding::Undecodable;
use super::connection::{Connections, Failure, Outgoing, Received};
use super::endpoint_url::EndpointUrl;
use super::redact::Redactor;
use super::request::{TokenRequest, grant};
use super::settings::OAuthSettings;
use super::{coding, failure};
use crate::dial::ParentProxy;
use crate::tls::ClientTls;
use crate::token::{TokenError, TokenErrorKind};

/// The largest answer that is read. A token may take 16 KiB of it.
const MAX_ANSWER: usize = 64 * 1024;

/// Fields that frame the request: an extra header of these names would only break it.
const FRAMING: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::CONTENT_TYPE];

/// An authorization server and the connections to it.
pub(super) struct Endpoint {
    host: String,
    connections: Connections,
}

impl Endpoint {
    pub(super) fn new(settings: &OAuthSettings, tls: ClientTls) -> Result<Self, String> {
        let parent_proxy = settings.proxy.clone().map(ParentProxy::new).transpose();
        let parent_proxy =
            parent_proxy.map_err(|error| format!("the proxy for token requests cannot be used: {error}"))?;
        Ok(Self { host: settings.server.host(), connections: Connections::new(tls, parent_proxy) })
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
        target: &'t EndpointUrl,
        settings: &OAuthSettings,
        request: &TokenRequest,
    ) -> Result<Answer<'t>, TokenError> {
        let body = Bytes::copy_from_slice(grant::body(settings, &request.grant, &request.client).as_bytes());
        let headers = headers(settings, request);
        let outgoing = Outgoing { method: Method::POST, url: &target.url, headers, body };
        self.exchange(&target.host, &outgoing, &request.client.redactor).await
    }

    /// Reads a document that anybody may read, such as metadata.
    ///
    /// # Errors
    /// As [`Endpoint::post`].
    pub(super) async fn get(&self, url: &Url) -> Result<Answer<'_>, TokenError> {
        let outgoing = Outgoing { method: Method::GET, url, headers: common_headers(), body: Bytes::new() };
        self.exchange(&self.host, &outgoing, &Redactor::default()).await
    }

    async fn exchange<'h>(
        &self,
        host: &'h str,
        outgoing: &Outgoing<'_>,
        redactor: &Redactor,
    ) -> Result<Answer<'h>, TokenError> {
        let requested_at = Instant::now();
        let received = self.connections.exchange(outgoing, MAX_ANSWER).await;
        let Received { head, body, whole } =
            received.map_err(|failure| failed(host, outgoing.url, &failure, requested_at))?;
        let (status, headers) = (head.status, head.headers);
        tracing::debug!(
            target: "attache::token",
            endpoint = %host,
            status = status.as_u16(),
            content_type = redactor.media_type(&headers),
            length = body.len(),
            elapsed = ?requested_at.elapsed(),
            "token request answered"
        );
        let body = if whole { coding::decoded(&headers, body, MAX_ANSWER) } else { Err(Undecodable::TooLong) };
        let fault = match body {
            Ok(body) => return Ok(Answer { host, status, headers, body, requested_at }),
            Err(fault) => fault,
        };
        if !status.is_success() {
            // The status of a large error page says enough.
            return Ok(Answer { host, status, headers, body: Zeroizing::default(), requested_at });
        }
        let message = match fault {
            Undecodable::TooLong => format!("{host} answered with more than 64 KiB, which is no token response"),
            Undecodable::Unknown | Undecodable::Broken => format!(
                "{host} answered in a content coding that cannot be read here, although none was asked for; have compression \
                 (gzip, br) of token responses switched off there"
            ),
        };
        Err(TokenError::new(TokenErrorKind::InvalidResponse, message))
    }

    /// The error of a token request that ran out of time.
    pub(super) fn timed_out(&self, after: Duration) -> TokenError {
        tracing::debug!(target: "attache::token", endpoint = %self.host, elapsed = ?after, "token request timed out");
        let host = &self.host;
        let silent = self.connections.unresolved();
        let after = humantime::format_duration(after);
        let message = match (silent, self.connections.parent_proxy()) {
            (Some(name), _) => format!(
                "the name {name} was not resolved within {after}: this machine's name servers do not answer; no token request was sent"
            ),
            (None, None) => format!("{host} did not answer the token request within {after}"),
            (None, Some(proxy)) => {
                format!("{host} did not answer the token request within {after}, through the parent proxy {proxy}")
            }
        };
        TokenError::new(TokenErrorKind::Timeout, message)
    }
}

fn failed(host: &str, url: &Url, failure: &Failure, requested_at: Instant) -> TokenError {
    let error = failure::explain(host, url.scheme() == "http", failure);
    tracing::debug!(
        target: "attache::token",
        endpoint = %host,
        kind = error.kind.as_str(),
        elapsed = ?requested_at.elapsed(),
        "token request failed"
    );
    error
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoint").field(&self.host).finish()
    }
}

/// The extra header fields that are sent.
pub(super) fn extra_headers(settings: &OAuthSettings) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
    settings.headers.iter().filter(|(name, _)| !FRAMING.contains(name))
}

fn common_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("attache/", env!("CARGO_PKG_VERSION"))));
    headers
}

fn headers(settings: &OAuthSettings, request: &TokenRequest) -> HeaderMap {
    let mut headers = common_headers();
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
    if let Some(authorization) = &request.client.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    if let Some(proof) = &request.dpop {
        headers.insert(HeaderName::from_static("dpop"), proof.clone());
    }
    headers
}
