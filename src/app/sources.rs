//! `[credentials.X]` made a token source: its TLS, its keys, its identity.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::dpop::DpopKey;
use crate::fleet::CacheKeyError;
use crate::jose::KeyError;
use crate::oauth::{
    ClientAuth, DpopSettings, Identity, InvalidSettings, OAuthSettings, OAuthSource, identity, secrets_fingerprint,
};
use crate::secret::SecretError;
use crate::sync::lock;
use crate::tls::{ClientIdentity, ClientTls, IdentitySource, MinVersion, TlsError, client_config};

/// Why a valid configuration cannot be made live.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// Trust stores.
    #[error("{place}: {error}")]
    Tls {
        /// `upstream "x"` or `credential "x"`.
        place: String,
        /// What is wrong.
        error: TlsError,
    },
    /// The keys of `[cache]`.
    #[error("cache.key: {0}")]
    CacheKey(CacheKeyError),
    /// A secret that could be read a moment ago.
    #[error("credential {name:?}: {error}")]
    Secret {
        /// The credential.
        name: String,
        /// What is wrong.
        error: SecretError,
    },
    /// The token endpoint.
    #[error("credential {name:?}: {error}")]
    Credential {
        /// The credential.
        name: String,
        /// What is wrong.
        error: InvalidSettings,
    },
    /// A key for bound tokens.
    #[error("credential {name:?}: dpop: {error}")]
    Dpop {
        /// The credential.
        name: String,
        /// What is wrong.
        error: KeyError,
    },
}

/// The keys that attache made itself, by the credential's name: they have to outlive a reload, because the tokens that are
/// bound to them do.
#[derive(Debug, Clone, Default)]
pub(super) struct DpopKeys(Arc<Mutex<HashMap<String, DpopKey>>>);

impl DpopKeys {
    /// The key of this credential; made, if it is to be made and has not been yet.
    pub(super) fn of(&self, name: &str, settings: &OAuthSettings) -> Result<Option<DpopKey>, BuildError> {
        let failed = |error| BuildError::Dpop { name: name.to_owned(), error };
        match &settings.dpop {
            None => Ok(None),
            Some(DpopSettings::Key(source)) => {
                let key = source.read().map_err(|error| BuildError::Secret { name: name.to_owned(), error })?;
                DpopKey::from_text(&key, None).map(Some).map_err(failed)
            }
            Some(DpopSettings::Generated) => {
                let mut keys = lock(&self.0);
                if let Some(key) = keys.get(name) {
                    return Ok(Some(key.clone()));
                }
                let key = DpopKey::generate().map_err(failed)?;
                keys.insert(name.to_owned(), key.clone());
                Ok(Some(key))
            }
        }
    }
}

/// The identity of a credential's token requests, with its secrets as they are now.
pub(super) fn identity_of(name: &str, settings: &OAuthSettings, keys: &DpopKeys) -> Result<Identity, BuildError> {
    let secret = secrets_fingerprint(settings).map_err(|error| BuildError::Secret { name: name.to_owned(), error })?;
    let key = keys.of(name, settings)?;
    Ok(identity(settings, secret, key.as_ref().map(DpopKey::thumbprint)))
}

/// A source of tokens, as `check --live` and `token` use it too.
///
/// # Errors
/// A trust store that cannot be loaded, a key or certificate that is none, or settings no request can be made from.
pub(crate) fn token_source(name: &str, settings: &OAuthSettings) -> Result<OAuthSource, BuildError> {
    let made = &mut EndpointTls::default();
    token_source_with(name, &Arc::new(settings.clone()), &DpopKeys::default(), made)
}

/// As [`token_source`], with the keys and the TLS that have been made already.
pub(super) fn token_source_with(
    name: &str,
    settings: &Arc<OAuthSettings>,
    keys: &DpopKeys,
    made: &mut EndpointTls,
) -> Result<OAuthSource, BuildError> {
    let tls = token_endpoint_tls(name, settings, made)?;
    let key = keys.of(name, settings)?;
    OAuthSource::new(Arc::clone(settings), tls, key)
        .map_err(|error| BuildError::Credential { name: name.to_owned(), error })
}

/// From when until when the certificate is valid that proves the client (RFC 8705 section 2), as it is now; `None` where none does,
/// or can be read.
pub(super) fn certificate_validity(settings: &OAuthSettings) -> Option<(SystemTime, SystemTime)> {
    client_identity(settings).ok().flatten()?.validity()
}

fn client_identity(settings: &OAuthSettings) -> Result<Option<ClientIdentity>, TlsError> {
    let ClientAuth::Tls { certificate, key } = &settings.client_auth else { return Ok(None) };
    let source = IdentitySource { certificate: certificate.clone(), key: key.clone() };
    source.read().map(Some)
}

/// TLS towards token endpoints, by what is trusted and what is shown there: the same for most credentials.
pub(super) type EndpointTls = HashMap<(Option<PathBuf>, Option<[u8; 32]>), ClientTls>;

/// Trust, and the client's certificate where that is its proof (RFC 8705 section 2).
fn token_endpoint_tls(name: &str, settings: &OAuthSettings, made: &mut EndpointTls) -> Result<ClientTls, BuildError> {
    let failed = |error| BuildError::Tls { place: format!("credential {name:?}"), error };
    let identity = client_identity(settings).map_err(failed)?;
    let key = (settings.ca_file.clone(), identity.as_ref().map(ClientIdentity::fingerprint));
    if let Some(tls) = made.get(&key) {
        return Ok(tls.clone());
    }
    let protocols: [&[u8]; 2] = [b"h2", b"http/1.1"];
    let tls = client_config(settings.ca_file.as_deref(), &protocols, identity.as_ref(), MinVersion::default());
    let tls = ClientTls::from(tls.map_err(failed)?);
    made.insert(key, tls.clone());
    Ok(tls)
}
