//! What the benchmarks, the fuzz targets and the tests of whole programs reach into. No interface: it changes without notice.

pub use crate::dial::{InvalidAuthority, Origin, OriginPattern, Scheme};
pub use crate::fleet::{ScriptedStore, SimulatedReplica, SimulatedSettings};
pub use crate::listen::Limits;
pub use crate::proxy::{HopWishes, Nominated, ViaIdentity, rewrite_request, rewrite_response};
pub use crate::route::pattern::{InvalidPath, PathPattern, PathPrefix};
pub use crate::route::{Arrival, ForwardTable, Found, NoRoute, PathTable, ReverseTable, Selector, TunnelPorts};
pub use crate::tls::provider;
pub use crate::tls::trust_store::pem_bundle;
pub use crate::token::{
    Ask, Budget, Clock, Expires, FetchDetail, FetchedToken, Fetching, HeaderToken, RefreshSettings, Shared, TokenCache,
    TokenMetrics, TokenOrigin, TokenSource, Why,
};

use std::path::Path;
use std::sync::Arc;

use crate::jose::SigningKey;
use crate::secret::{Secret, SecretSource};
use crate::tls::{AuthoritySource, CertificateAuthority};

/// Makes a local CA for these hosts, as `attache ca create` does.
///
/// # Errors
/// Why it was not made.
pub fn create_authority(hosts: &[String], certificate: &Path, key: &Path) -> Result<(), String> {
    let made = CertificateAuthority::generate(hosts).map_err(|error| error.to_string())?;
    AuthoritySource::create(&made, certificate, key).map_err(|(path, error)| format!("{}: {error}", path.display()))
}

/// What attache shows the callers of a host under this CA.
///
/// # Errors
/// A CA that cannot be read, or a host that it does not sign for.
pub fn authority_config(certificate: &Path, key: &Path, host: &str) -> Result<Arc<rustls::ServerConfig>, String> {
    let file = |path: &Path| SecretSource::File(path.to_owned());
    let source = AuthoritySource { certificate: file(certificate), key: file(key) };
    let authority = source.read().map_err(|error| error.to_string())?;
    authority.server_config(host).map_err(|error| error.to_string())
}

/// The public key of a private one, as a JWK.
pub fn public_jwk(private: &Secret) -> Option<serde_json::Value> {
    SigningKey::from_text(private, None, None).ok()?.public_jwk().cloned()
}

/// Properties that hold for any input: each is given bytes, and says what is wrong.
pub mod fuzzing {
    pub use crate::dial::fuzzing::authority;
    pub use crate::fleet::fuzzing::cache_value;
    pub use crate::listen::fuzzing::{frames, heads};
    pub use crate::oauth::fuzzing::{basic, token_response};
    pub use crate::proxy::fuzzing::{challenge, first_bytes, replay, socks};
    pub use crate::renewal::fuzzing::history;
    pub use crate::route::fuzzing::path;
    pub use crate::upstream::fuzzing::{answer, chunks};
}
