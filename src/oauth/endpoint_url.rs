//! The URL of a token endpoint: `https`, or `http` on this machine (RFC 6749 section 3.2).

use url::{Host, Url};

/// Where one token request goes.
pub(super) struct EndpointUrl {
    pub(super) url: Url,
    pub(super) host: String,
}

impl EndpointUrl {
    /// Checks the URL: RFC 6749 section 3.2 requires TLS, save on this machine.
    pub(super) fn new(url: Url) -> Result<Self, String> {
        let host = host_of(&url)?;
        Ok(Self { url, host })
    }

    /// True if what goes there goes in clear, on this machine. The configuration may want that; a document that came over TLS
    /// may not send a secret that way.
    pub(super) fn is_in_clear(&self) -> bool {
        self.url.scheme() != "https"
    }
}

/// Host and port, as they are shown to people.
pub(super) fn shown(url: &Url) -> String {
    let host = url.host().map(|host| host.to_string()).unwrap_or_default();
    url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
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
