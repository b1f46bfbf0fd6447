//! What `[credentials.X]` says about the token request. Plain data; `config` fills it in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::secret::SecretSource;

/// Everything that a token request is made of.
#[derive(Clone)]
pub struct OAuthSettings {
    /// RFC 6749 section 3.2: `https`, or `http` on loopback; a query is kept, a fragment is refused by `config`.
    pub token_endpoint: Url,
    /// RFC 6749 section 2.2.
    pub client_id: String,
    /// How the client proves itself.
    pub client_auth: ClientAuth,
    /// RFC 6749 section 3.3; empty sends no `scope`.
    pub scope: Vec<String>,
    /// `audience` form field (Auth0 and others; RFC 8693 section 2.1).
    pub audience: Option<String>,
    /// RFC 8707; each becomes a `resource` form field.
    pub resource: Vec<String>,
    /// Extra form fields, in order.
    pub parameters: Vec<(String, String)>,
    /// Extra header fields of the token request.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The whole token request, from name resolution to the last byte.
    pub timeout: Duration,
    /// PEM certificates trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for OAuthSettings {
    /// Values of extra fields may be keys, and so may a query: names and the host only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<&String> = self.parameters.iter().map(|(name, _)| name).collect();
        let headers: Vec<&http::HeaderName> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("OAuthSettings")
            .field("token_endpoint", &self.token_endpoint.host_str())
            .field("client_id", &self.client_id)
            .field("client_auth", &self.client_auth)
            .field("scope", &self.scope)
            .field("audience", &self.audience)
            .field("resource", &self.resource)
            .field("parameters", &parameters)
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("ca_file", &self.ca_file)
            .finish()
    }
}

/// RFC 6749 section 2.3: exactly one method for each request.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// `client_secret_basic`: the form-encoded pair in `Authorization: Basic`.
    Basic(SecretSource),
    /// `client_secret_post`: `client_id` and `client_secret` in the form.
    Post(SecretSource),
    /// `none`: a public client, `client_id` in the form.
    None,
}

impl ClientAuth {
    /// The method's registered name (RFC 7591 section 2).
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Basic(_) => "client_secret_basic",
            Self::Post(_) => "client_secret_post",
            Self::None => "none",
        }
    }

    /// Where the secret comes from, if the method has one.
    #[must_use]
    pub const fn secret(&self) -> Option<&SecretSource> {
        match self {
            Self::Basic(source) | Self::Post(source) => Some(source),
            Self::None => None,
        }
    }
}
