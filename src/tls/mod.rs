//! TLS towards others: the crypto provider, what is trusted, what is shown, and client configurations.

mod authority;
mod authority_certificate;
mod authority_source;
mod certificates;
mod client;
mod error;
mod fault;
mod identity;
mod pinned;
mod provider;
pub(crate) mod server;
pub(crate) mod trust_store;
mod validity;

pub(crate) use authority::CertificateAuthority;
pub(crate) use authority_certificate::AuthorityCertificate;
pub(crate) use authority_source::AuthoritySource;
pub(crate) use certificates::certificate_thumbprint;
pub(crate) use client::{ClientTls, MinVersion, client_config};
pub(crate) use error::TlsError;
pub(crate) use fault::{HandshakeFault, Keys, broken_reason, handshake_reason, refused_identity};
pub(crate) use identity::{ClientIdentity, IdentitySource};
pub use provider::provider;
