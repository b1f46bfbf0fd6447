//! Why TLS cannot be set up.

use std::borrow::Cow;

use crate::secret::SecretError;

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// `ca_file` cannot be read or holds no certificate.
    #[error("{path} holds no usable PEM certificate: {reason}")]
    CaFile { path: String, reason: String },
    /// The system's trust store is missing or empty.
    #[error(
        "the system's trusted certificates cannot be loaded: {0}; install ca-certificates, set SSL_CERT_FILE, or name a ca_file"
    )]
    System(String),
    /// A certificate whose thumbprint was to be shown.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// A client certificate that cannot be shown to anybody.
    #[error("the client certificate {what}; {remedy}")]
    ClientCertificate { what: &'static str, remedy: &'static str },
    /// A private key that cannot be used, or that of another certificate.
    #[error("the client key {what}; {remedy}")]
    ClientKey { what: &'static str, remedy: &'static str },
    /// The certificate of the local CA.
    #[error("the CA certificate {what}; {remedy}")]
    Authority { what: String, remedy: &'static str },
    /// The private key of the local CA.
    #[error("the CA key {what}; {remedy}")]
    AuthorityKey { what: &'static str, remedy: Cow<'static, str> },
    /// The place of the client certificate or of its key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// rustls refused the combination.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}
