//! What is behind a credential, and how its tokens are asked for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::credential::{Exchange, Fixed, TokenSettings};
use crate::dial::ParentProxySettings;
use crate::oauth::Identity;
use crate::token::{RefreshSettings, TokenCache};

/// What is behind a credential.
#[derive(Debug, Clone)]
pub(crate) enum TokenProvider {
    /// Tokens, shared with every credential of this identity, and how they are asked for.
    Tokens(Identity, Arc<TokenCache>, Arc<RequestSettings>),
    /// A secret of its own, which notices by itself that it has changed.
    Fixed(Arc<Fixed>),
    /// Tokens for each caller, asked for with this identity's secrets.
    Exchange(Identity, Arc<Exchange>, Arc<RequestSettings>),
}

/// What is not part of an identity and still says how tokens are asked for and kept: a reload that changes it makes a new cache.
#[derive(Debug)]
pub(crate) struct RequestSettings {
    refresh: RefreshSettings,
    timeout: Duration,
    ca_file: Option<PathBuf>,
    proxy: Option<ParentProxySettings>,
    wanted: Wanted,
    shared: bool,
    /// Of the certificate that proves the client, if it is one that does. Part of the identity, and not of what is compared
    /// here: a file that cannot be read for a moment is no other setting.
    certificate_validity: Option<(SystemTime, SystemTime)>,
}

impl PartialEq for RequestSettings {
    fn eq(&self, other: &Self) -> bool {
        let Self { refresh, timeout, ca_file, proxy, wanted, shared, certificate_validity: _ } = self;
        (refresh, timeout, ca_file) == (&other.refresh, &other.timeout, &other.ca_file)
            && (proxy, wanted, shared) == (&other.proxy, &other.wanted, &other.shared)
    }
}

impl RequestSettings {
    pub(crate) fn new(token: &TokenSettings, certificate_validity: Option<(SystemTime, SystemTime)>) -> Self {
        let TokenSettings { oauth, refresh, .. } = token;
        Self {
            // `required` is told to the cache that is there.
            refresh: RefreshSettings { always: false, ..refresh.clone() },
            timeout: oauth.timeout,
            ca_file: oauth.ca_file.clone(),
            proxy: oauth.proxy.clone(),
            shared: token.unshared().is_none(),
            certificate_validity,
            wanted: Wanted { members: oauth.members.iter().cloned().collect(), any_token_type: oauth.any_token_type },
        }
    }

    /// True if both trust the same server and go the same way to it: otherwise what one of them says would count for the other,
    /// and an answer that it would not have taken.
    pub(crate) fn leads_as(&self, other: &Self) -> bool {
        self.ca_file == other.ca_file && self.proxy == other.proxy && self.shared == other.shared
    }
}

impl TokenProvider {
    /// Where its tokens are, and what they are asked for with.
    pub(crate) const fn tokens(&self) -> Option<(Identity, &Arc<TokenCache>)> {
        match self {
            Self::Tokens(identity, cache, _) => Some((*identity, cache)),
            Self::Fixed(_) | Self::Exchange(..) => None,
        }
    }

    /// The name that its tokens have among those of a fleet; `None` where they stay in the process.
    pub(crate) fn shares(&self) -> Option<&str> {
        match self {
            Self::Tokens(_, cache, settings) if settings.shared => Some(cache.name()),
            Self::Tokens(..) | Self::Fixed(_) | Self::Exchange(..) => None,
        }
    }

    /// From when until when the certificate is valid that its token requests are proven with.
    pub(crate) fn certificate_validity(&self) -> Option<(SystemTime, SystemTime)> {
        match self {
            Self::Tokens(.., settings) | Self::Exchange(.., settings) => settings.certificate_validity,
            Self::Fixed(_) => None,
        }
    }

    /// What its token requests are made with.
    pub(crate) const fn identity(&self) -> Option<Identity> {
        match self {
            Self::Tokens(identity, ..) | Self::Exchange(identity, ..) => Some(*identity),
            Self::Fixed(_) => None,
        }
    }
}

/// What is read from the answers to one token request, by all credentials that share it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) members: BTreeSet<String>,
    pub(crate) any_token_type: bool,
}
