//! `[credentials.X]`, live: token caches by identity, exchanges, fixed credentials; what did not change is kept.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::app::build::{Builder, Built};
use crate::app::sources::{BuildError, identity_of, token_source_with};
use crate::config::Config;
use crate::credential::{
    Binding, Credential, CredentialKind, CredentialSettings, Exchange, Fixed, FixedSettings, Inject, TokenSettings,
};
use crate::dial::OnwardSettings;
use crate::oauth::{Grant, Identity, SubjectSource};
use crate::token::{Clock, RefreshSettings, Spent, TokenCache};

/// What is behind a credential.
#[derive(Debug, Clone)]
pub(crate) enum Backing {
    /// Tokens, shared with every credential of this identity, and the manner of asking for them.
    Tokens(Identity, Arc<TokenCache>, Manner),
    /// A secret of its own, which notices by itself that it has changed.
    Fixed(Arc<Fixed>),
    /// Tokens for each caller, asked for with this identity's secrets.
    Exchange(Identity, Arc<Exchange>, Manner),
}

/// What is not part of an identity and still says how tokens are asked for and kept: a reload that changes it makes a new cache.
#[derive(Debug, PartialEq)]
pub(crate) struct HowAsked {
    refresh: RefreshSettings,
    timeout: Duration,
    ca_file: Option<PathBuf>,
    proxy: Option<OnwardSettings>,
    wanted: Wanted,
}

impl HowAsked {
    /// True if both trust the same server and go the same way to it: otherwise what one of them says would count for the other,
    /// and an answer that it would not have taken.
    fn leads_as(&self, other: &Self) -> bool {
        self.ca_file == other.ca_file && self.proxy == other.proxy
    }
}

type Manner = Arc<HowAsked>;

fn manner(token: &TokenSettings) -> Manner {
    let TokenSettings { oauth, refresh, .. } = token;
    Arc::new(HowAsked {
        // `required` is told to the cache that is there.
        refresh: RefreshSettings { always: false, ..refresh.clone() },
        timeout: oauth.timeout,
        ca_file: oauth.ca_file.clone(),
        proxy: oauth.proxy.clone(),
        wanted: Wanted { members: oauth.members.iter().cloned().collect(), any_token_type: oauth.any_token_type },
    })
}

/// What is read from the answers to one token request, by whoever shares it.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    members: BTreeSet<String>,
    any_token_type: bool,
}

/// What the credentials of each identity want to be read from its answers, all of them together.
fn wanted(config: &Config, identities: &[Option<Identity>]) -> HashMap<Identity, Wanted> {
    let mut wanted: HashMap<Identity, Wanted> = HashMap::new();
    for (settings, identity) in config.credentials.iter().zip(identities) {
        let (CredentialKind::OAuth(token), Some(identity)) = (&settings.kind, identity) else { continue };
        let of = wanted.entry(*identity).or_default();
        of.members.extend(token.oauth.members.iter().cloned());
        of.any_token_type |= token.oauth.any_token_type;
    }
    wanted
}

/// The settings of a token request whose answer serves every credential of this identity.
fn for_all(token: &TokenSettings, identity: Identity, wanted: &HashMap<Identity, Wanted>) -> TokenSettings {
    let mut token = token.clone();
    if let Some(Wanted { members, any_token_type }) = wanted.get(&identity) {
        token.oauth.members = members.iter().cloned().collect();
        token.oauth.any_token_type = *any_token_type;
    }
    token
}

impl Backing {
    /// Where its tokens are, and what they are asked for with.
    pub(crate) const fn tokens(&self) -> Option<(Identity, &Arc<TokenCache>)> {
        match self {
            Self::Tokens(identity, cache, _) => Some((*identity, cache)),
            Self::Fixed(_) | Self::Exchange(..) => None,
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

impl Builder {
    /// One token cache for each identity: credentials with equal token requests share theirs, if they trust the same server and
    /// go the same way. What they say about holding the token is the first one's, but for `required`: that is said by any of
    /// them.
    pub(crate) fn backings(
        &self,
        config: &Config,
        identities: &[Option<Identity>],
        before: Option<&Built>,
    ) -> Result<Vec<Backing>, BuildError> {
        let mut made: Vec<(Identity, Arc<TokenCache>, Manner)> = Vec::new();
        let live = |wanted: Identity, own: &Manner| {
            before.iter().flat_map(|built| &built.backings).find_map(|backing| match backing {
                Backing::Tokens(identity, cache, manner) if *identity == wanted && manner == own => {
                    Some(Arc::clone(cache))
                }
                _ => None,
            })
        };
        let wanted = wanted(config, identities);
        let mut backings = Vec::with_capacity(config.credentials.len());
        for (CredentialSettings { name, kind, .. }, identity) in config.credentials.iter().zip(identities) {
            let (token, identity) = match (kind, *identity) {
                (CredentialKind::OAuth(token), Some(identity)) => (token, identity),
                (CredentialKind::OAuth(token), None) => (token, identity_of(name, &token.oauth, &self.dpop_keys)?),
                (CredentialKind::Fixed(settings), _) => {
                    backings.push(Backing::Fixed(self.fixed(name, settings, before)));
                    continue;
                }
            };
            let token = &for_all(token, identity, &wanted);
            let own = manner(token);
            if matches!(token.oauth.grant, Grant::TokenExchange(_)) {
                backings.push(Backing::Exchange(identity, self.exchange(name, token, identity, &own, before)?, own));
                continue;
            }
            // Of several that ask in one way, the first says how the rest is done.
            let shared = made.iter().find(|(known, _, manner)| *known == identity && manner.leads_as(&own));
            let (cache, manner) = match shared {
                Some((_, cache, manner)) => (Arc::clone(cache), Arc::clone(manner)),
                None => match live(identity, &own) {
                    Some(cache) => (cache, own),
                    None => (self.cache(name, token)?, own),
                },
            };
            made.push((identity, Arc::clone(&cache), Arc::clone(&manner)));
            backings.push(Backing::Tokens(identity, cache, manner));
        }
        let required = config.credentials.iter().zip(&backings).filter(|(settings, _)| settings.required);
        let required: HashSet<*const TokenCache> =
            required.filter_map(|(_, backing)| backing.tokens()).map(|(_, cache)| Arc::as_ptr(cache)).collect();
        for (_, cache) in backings.iter().filter_map(Backing::tokens) {
            cache.keep_fresh(required.contains(&Arc::as_ptr(cache)));
        }
        Ok(backings)
    }

    /// What every token request is, by what its secrets are now; `None` for a fixed credential.
    pub(crate) fn identities(&self, config: &Config) -> Result<Vec<Option<Identity>>, BuildError> {
        let of = |settings: &CredentialSettings| {
            settings.oauth().map(|oauth| identity_of(&settings.name, oauth, &self.dpop_keys)).transpose()
        };
        config.credentials.iter().map(of).collect()
    }

    fn cache(&self, name: &str, token: &TokenSettings) -> Result<Arc<TokenCache>, BuildError> {
        let source = token_source_with(name, &token.oauth, &self.dpop_keys)?;
        let refresh = token.refresh.clone();
        let (control, metrics) = (self.control.clone(), self.token_metrics.clone());
        Ok(TokenCache::new(name, Box::new(source), refresh, Clock::system(), control, metrics))
    }

    pub(crate) fn credentials(
        &self,
        config: &Config,
        backings: &[Backing],
        before: Option<&Built>,
    ) -> Result<Vec<Arc<Credential>>, BuildError> {
        let old = |settings: &CredentialSettings, backing: &Backing| {
            let same = |old: &&Arc<Credential>| {
                old.name == settings.name && old.required == settings.required && is_as_before(old, settings, backing)
            };
            before?.runtime.credentials.iter().find(same).cloned()
        };
        let mut credentials = Vec::with_capacity(backings.len());
        for (settings, backing) in config.credentials.iter().zip(backings) {
            let credential = match old(settings, backing) {
                Some(credential) => credential,
                None => Arc::new(self.credential(config, settings, backings, backing)?),
            };
            credentials.push(credential);
        }
        Ok(credentials)
    }

    fn credential(
        &self,
        config: &Config,
        settings: &CredentialSettings,
        backings: &[Backing],
        backing: &Backing,
    ) -> Result<Credential, BuildError> {
        let (name, required) = (settings.name.clone(), settings.required);
        Ok(match backing {
            Backing::Fixed(fixed) => Credential::fixed(name, required, Arc::clone(fixed)),
            Backing::Exchange(_, exchange, _) => Credential::exchange(name, required, Arc::clone(exchange)),
            Backing::Tokens(_, cache, _) => {
                let (inject, timeout, key) = match &settings.kind {
                    CredentialKind::OAuth(token) => {
                        let timeout = shared_timeout(config, backings, cache).unwrap_or(token.oauth.timeout);
                        (token.inject.clone(), timeout, self.dpop_keys.of(&name, &token.oauth)?)
                    }
                    // Each backing was made of its credential's kind.
                    CredentialKind::Fixed(_) => (Inject::default(), Duration::ZERO, None),
                };
                let binding = key.map(|key| Arc::new(Binding::new(key)));
                Credential::new(name, required, inject, Arc::clone(cache), timeout).bound_to(binding)
            }
        })
    }

    /// The one that is live, if it asks with the same secrets; otherwise one that knows no subject yet.
    fn exchange(
        &self,
        name: &str,
        token: &TokenSettings,
        identity: Identity,
        own: &Manner,
        before: Option<&Built>,
    ) -> Result<Arc<Exchange>, BuildError> {
        let live = before.into_iter().flat_map(|built| built.runtime.credentials.iter().zip(&built.backings));
        let live = live.filter(|(credential, _)| credential.name == name).find_map(|(_, backing)| match backing {
            Backing::Exchange(known, exchange, manner) if *known == identity && manner == own => {
                Some(Arc::clone(exchange))
            }
            _ => None,
        });
        if let Some(exchange) = live {
            return Ok(exchange);
        }
        let source = Arc::new(token_source_with(name, &token.oauth, &self.dpop_keys)?);
        let binding = source.dpop_key().cloned().map(|key| Arc::new(Binding::new(key)));
        // A subject that is not there any more must not be asked for: its token may have expired meanwhile.
        let refresh = RefreshSettings { ahead: None, always: false, ..token.refresh.clone() };
        let (name_of_cache, control, metrics) = (name.to_owned(), self.control.clone(), self.token_metrics.clone());
        // One budget for all of them: whoever makes subjects up must not have one for each.
        let spent = Spent::default();
        let make = move |subject| {
            let source = Box::new(SubjectSource::new(Arc::clone(&source), subject));
            let ends = source.ends();
            let (spent, name, clock) = (spent.clone(), &name_of_cache, Clock::system());
            let (control, metrics) = (control.clone(), metrics.clone());
            let cache = TokenCache::sharing_budget(spent, name, source, refresh.clone(), clock, control, metrics);
            (cache, ends)
        };
        Ok(Exchange::new(name.to_owned(), token.inject.clone(), binding, token.oauth.timeout, make))
    }

    /// The one that is live, if this is the same configuration: then it knows already what its secret is.
    fn fixed(&self, name: &str, settings: &Arc<FixedSettings>, before: Option<&Built>) -> Arc<Fixed> {
        let live = before.iter().flat_map(|built| &built.backings).find_map(|backing| match backing {
            Backing::Fixed(fixed) if fixed.is_of(name, settings) => Some(Arc::clone(fixed)),
            _ => None,
        });
        live.unwrap_or_else(|| Fixed::new(name, Arc::clone(settings), self.control.clone()))
    }
}

fn is_as_before(old: &Credential, settings: &CredentialSettings, backing: &Backing) -> bool {
    match (&settings.kind, backing) {
        (CredentialKind::OAuth(token), Backing::Tokens(_, cache, _)) => {
            old.is_backed_by(cache) && old.injects(&token.inject)
        }
        (_, Backing::Fixed(fixed)) => old.is_fixed(fixed),
        (_, Backing::Exchange(_, exchange, _)) => old.exchanges().is_some_and(|old| Arc::ptr_eq(old, exchange)),
        (CredentialKind::Fixed(_), Backing::Tokens(..)) => false,
    }
}

/// The timeout that shared token requests have: that of the first credential which makes them.
fn shared_timeout(config: &Config, backings: &[Backing], cache: &Arc<TokenCache>) -> Option<Duration> {
    let is_first = |backing: &Backing| backing.tokens().is_some_and(|(_, other)| Arc::ptr_eq(other, cache));
    let first = config.credentials.iter().zip(backings).find(|(_, backing)| is_first(backing));
    first.and_then(|(settings, _)| settings.oauth()).map(|oauth| oauth.timeout)
}
