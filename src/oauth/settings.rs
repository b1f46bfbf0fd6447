//! What `[credentials.X]` says about the token request. Plain data; `config` fills it in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::endpoint_url::{EndpointUrl, host_and_port};
use crate::dial::ParentProxySettings;
use crate::jose::Algorithm;
use crate::secret::{SecretSource, Secrets};

/// Everything that a token request is made of.
#[derive(Clone, PartialEq)]
pub(crate) struct OAuthSettings {
    /// Where tokens are issued.
    pub(crate) server: Server,
    /// RFC 6749 section 2.2.
    pub(crate) client_id: String,
    /// How the client proves itself.
    pub(crate) client_auth: ClientAuth,
    /// `aud` of every JWT that attache signs.
    pub(crate) assertion_audience: AssertionAudience,
    /// What is asked with.
    pub(crate) grant: Grant,
    /// RFC 6749 section 3.3; empty sends no `scope`.
    pub(crate) scope: Vec<String>,
    /// `audience` form field (Auth0 and others; RFC 8693 section 2.1).
    pub(crate) audience: Option<String>,
    /// RFC 8707; each becomes a `resource` form field.
    pub(crate) resource: Vec<String>,
    /// Extra form fields, in order.
    pub(crate) parameters: Vec<(String, String)>,
    /// Extra header fields of the token request.
    pub(crate) headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The whole token request, from name resolution to the last byte.
    pub(crate) timeout: Duration,
    /// PEM certificates trusted instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// The HTTP proxy that token requests go through; never the one of attache's own environment.
    pub(crate) proxy: Option<ParentProxySettings>,
    /// RFC 9449: tokens are bound to a key of attache's.
    pub(crate) dpop: Option<DpopSettings>,
    /// Text members of the token response that routes ask for (`origin_from`).
    pub(crate) members: Vec<String>,
    /// The member of the answer that holds the token, where that is not `access_token`.
    pub(crate) token_member: Option<String>,
    /// The configuration says how the token is presented, so that its type decides nothing.
    pub(crate) any_token_type: bool,
}

/// Settings that no token request can be made from; a sentence that says which and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSettings(pub(super) String);

/// The authorization server.
#[derive(Clone, PartialEq)]
pub(crate) struct Server {
    /// RFC 6749 section 3.2: `https`, or `http` on loopback; a query is kept, a fragment is refused by `config`. Without
    /// it, the metadata of `issuer` says.
    pub(crate) token_endpoint: Option<Url>,
    /// RFC 8414 section 2: where the metadata is looked for, and what it has to say. Kept as text, because issuers are
    /// compared as text.
    pub(crate) issuer: Option<String>,
}

impl Server {
    /// Reads the URL of a token endpoint.
    ///
    /// # Errors
    /// When it is no `https` URL, or `http` on loopback, or holds user information.
    pub(crate) fn parse(token_endpoint: &str) -> Result<Url, InvalidSettings> {
        let url = Url::parse(token_endpoint).map_err(|error| format!("token_endpoint is not a URL: {error}"));
        let url = url.and_then(|url| EndpointUrl::configured("token_endpoint", &url));
        url.map(|endpoint| endpoint.url).map_err(InvalidSettings)
    }

    /// A server whose token endpoint is known.
    #[must_use]
    pub(crate) const fn at(token_endpoint: Url) -> Self {
        Self { token_endpoint: Some(token_endpoint), issuer: None }
    }

    /// Host and port of the token endpoint, or of the issuer: never a path or query, which can hold a tenant's key.
    #[must_use]
    pub(crate) fn host(&self) -> String {
        self.url().map_or_else(String::new, |url| host_and_port(&url))
    }

    /// The same apart, with the port that is usual where none is written.
    #[must_use]
    pub(crate) fn authority(&self) -> Option<(String, u16)> {
        let url = self.url()?;
        let host = url.host_str()?;
        Some((host.trim_start_matches('[').trim_end_matches(']').to_owned(), url.port_or_known_default()?))
    }

    fn url(&self) -> Option<Url> {
        let issuer = || self.issuer.as_deref().and_then(|issuer| Url::parse(issuer).ok());
        self.token_endpoint.clone().or_else(issuer)
    }
}

/// RFC 6749 section 2.3: exactly one method for each request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClientAuth {
    /// `client_secret_basic`: the pair in `Authorization: Basic`.
    Basic {
        /// The secret, or several that are tried in order.
        secrets: Secrets,
        /// Id and secret are not form-encoded, for servers that do not follow RFC 6749 section 2.3.1.
        raw: bool,
    },
    /// `client_secret_post`: `client_id` and `client_secret` in the form.
    Post(Secrets),
    /// `client_secret_jwt`: an assertion that the secret authenticates (OpenID Connect Core section 9).
    SecretJwt(Secrets),
    /// `private_key_jwt`: an assertion that attache signs (RFC 7523 section 2.2).
    PrivateKeyJwt(SigningKeySettings),
    /// `private_key_jwt` written by another program: the platform that a workload runs on puts the assertion into a file.
    Assertion {
        /// The JWT, or several that are tried in order.
        assertions: Secrets,
        /// What it is said to be; `None`: what its `sub` makes of it.
        assertion_type: Option<ClientAssertionType>,
    },
    /// `tls_client_auth` (RFC 8705 section 2): the certificate of the connection is the proof.
    Tls {
        /// PEM, with the chain.
        certificate: SecretSource,
        /// PEM.
        key: SecretSource,
    },
    /// `none`: a public client, `client_id` in the form.
    None,
    /// Nothing is said of the client, not even its id: the grant itself is the proof (RFC 7521 section 4.1).
    Omitted,
}

/// `client_assertion_type` of an assertion that another program writes (RFC 7521 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAssertionType {
    /// RFC 7523 section 2.2.
    JwtBearer,
    /// A JWT-SVID of SPIFFE (draft-ietf-oauth-spiffe-client-auth).
    JwtSpiffe,
}

impl ClientAssertionType {
    /// As it is sent.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::JwtBearer => "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            Self::JwtSpiffe => "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
        }
    }
}

/// The key of `private_key_jwt`, or of the `jwt_bearer` grant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SigningKeySettings {
    /// PEM or JWK; several are tried in order.
    pub(crate) keys: Secrets,
    /// `kid`; by default the JWK's own.
    pub(crate) key_id: Option<String>,
    /// `alg`; by default what the key is made for.
    pub(crate) algorithm: Option<Algorithm>,
    /// A certificate (PEM) whose thumbprint goes along as `x5t#S256`, for servers that know keys by their certificate.
    pub(crate) certificate: Option<SecretSource>,
}

impl ClientAuth {
    /// The method's registered name (RFC 7591 section 2, RFC 8705 section 2.1.1).
    #[must_use]
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "client_secret_basic",
            Self::Post(_) => "client_secret_post",
            Self::SecretJwt(_) => "client_secret_jwt",
            Self::PrivateKeyJwt(_) | Self::Assertion { .. } => "private_key_jwt",
            Self::Tls { .. } => "tls_client_auth",
            Self::None | Self::Omitted => "none",
        }
    }

    /// What is tried in order until one is accepted, if the method has such.
    #[must_use]
    pub(crate) const fn secrets(&self) -> Option<&Secrets> {
        match self {
            Self::Basic { secrets, .. }
            | Self::Post(secrets)
            | Self::SecretJwt(secrets)
            | Self::Assertion { assertions: secrets, .. } => Some(secrets),
            Self::PrivateKeyJwt(key) => Some(&key.keys),
            Self::Tls { .. } | Self::None | Self::Omitted => None,
        }
    }
}

/// Whom the JWTs that attache signs are meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AssertionAudience {
    /// The issuer, as RFC 10070 requires; where none is configured, the token endpoint.
    Unsaid,
    Issuer,
    /// The token endpoint's URL: what servers wanted before RFC 10070.
    TokenEndpoint,
    Text(String),
}

/// What a token is asked for with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Grant {
    /// RFC 6749 section 4.4.
    ClientCredentials,
    /// RFC 8693: one token for another.
    TokenExchange(TokenExchange),
    /// RFC 7523 section 2.1: a JWT is the authorization.
    JwtBearer(JwtBearer),
    /// A `grant_type` of the server's own, with what else it needs in `parameters` (RFC 6749 section 4.5).
    Other(String),
}

/// RFC 8693 section 2.1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenExchange {
    /// `subject_token`, such as the one that the platform gives to a workload; the caller's own bearer token where there is none.
    pub(crate) subject: Option<Secrets>,
    /// `subject_token_type`.
    pub(crate) subject_token_type: String,
    /// `requested_token_type`; not sent if there is none.
    pub(crate) requested_token_type: Option<String>,
}

/// Where the JWT of a [`Grant::JwtBearer`] comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JwtBearer {
    /// Another program writes it, such as the platform that a workload runs on.
    Given(Secrets),
    Signed {
        key: SigningKeySettings,
        /// `sub`; the client id where there is none.
        subject: Option<String>,
        /// Further text claims.
        claims: Vec<(String, String)>,
        /// The scope is a claim and no form field (Google's service accounts).
        scope_claim: bool,
    },
}

/// Which key tokens are bound to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DpopSettings {
    /// One that is made when attache starts.
    Generated,
    /// A configured one.
    Key(SecretSource),
}

impl Grant {
    /// True if each caller's own token is exchanged, so that there is no token for all of them.
    #[must_use]
    pub(crate) const fn is_of_callers(&self) -> bool {
        matches!(self, Self::TokenExchange(TokenExchange { subject: None, .. }))
    }

    /// Its `grant_type` (RFC 6749 section 4.4.2, RFC 8693 section 2.1, RFC 7523 section 2.1).
    #[must_use]
    pub(crate) const fn grant_type(&self) -> &str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange(_) => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::JwtBearer(_) => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::Other(grant_type) => grant_type.as_str(),
        }
    }

    /// The word in the configuration.
    #[must_use]
    pub(crate) const fn name(&self) -> &str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange(_) => "token_exchange",
            Self::JwtBearer(_) => "jwt_bearer",
            Self::Other(grant_type) => grant_type.as_str(),
        }
    }
}

impl OAuthSettings {
    /// A client-credentials request of a client that proves itself this way, with every other setting at its default.
    #[must_use]
    pub(crate) fn new(server: Server, client_id: String, client_auth: ClientAuth) -> Self {
        Self {
            server,
            client_id,
            client_auth,
            assertion_audience: AssertionAudience::Unsaid,
            grant: Grant::ClientCredentials,
            scope: Vec::new(),
            audience: None,
            resource: Vec::new(),
            parameters: Vec::new(),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            ca_file: None,
            proxy: None,
            dpop: None,
            members: Vec::new(),
            token_member: None,
            any_token_type: false,
        }
    }
}

impl fmt::Debug for OAuthSettings {
    /// Values of extra fields may be keys, and so may a query: names and the host only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<&String> = self.parameters.iter().map(|(name, _)| name).collect();
        let headers: Vec<&http::HeaderName> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("OAuthSettings")
            .field("server", &self.server.host())
            .field("client_id", &self.client_id)
            .field("client_auth", &self.client_auth)
            .field("grant", &self.grant.name())
            .field("scope", &self.scope)
            .field("audience", &self.audience)
            .field("resource", &self.resource)
            .field("parameters", &parameters)
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.host()).finish()
    }
}
