//! `[credentials.X]`, live: token caches by identity, exchanges, fixed credentials; what did not change is kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::app::build::known::Known;
use crate::app::build::provider::{RequestSettings, TokenProvider, Wanted};
use crate::app::build::state::BuildContext;
use crate::app::sources::{BuildError, EndpointTls, certificate_validity, identity_of, token_source_with};
use crate::config::Config;
use crate::credential::{
    Binding, Credential, CredentialKind, CredentialSettings, Exchange, Fixed, FixedSettings, Inject, TokenSettings,
};
use crate::fleet::{SharedCredential, SharedIdentity, WAITING_FOR_OTHERS, shared_cache};
use crate::oauth::{Identity, OAuthSettings, SubjectSource};
use crate::token::{Clock, RefreshSettings, Spent, TokenCache};

/// A cache, and how its tokens are asked for.
type Asked = (Arc<TokenCache>, Arc<RequestSettings>);

/// One token cache for each identity: credentials with equal token requests share theirs, if they trust the same server and
/// go the same way. What they say about holding the token is the first one's, but for `required`: that is said by any of
/// them.
pub(crate) fn providers(
    context: &BuildContext,
    config: &Config,
    identities: &[Option<Identity>],
    known: &Known<'_>,
) -> Result<Vec<TokenProvider>, BuildError> {
    let mut made: HashMap<Identity, Vec<Asked>> = HashMap::new();
    let live = |wanted: Identity, own: &Arc<RequestSettings>| {
        known.asking_as(wanted).find_map(|provider| match provider {
            TokenProvider::Tokens(_, cache, settings) if settings == own => {
                Some((Arc::clone(cache), Arc::clone(settings)))
            }
            _ => None,
        })
    };
    let mut tls = EndpointTls::default();
    let wanted = wanted(config, identities);
    let mut providers = Vec::with_capacity(config.credentials.len());
    for (CredentialSettings { name, kind, .. }, identity) in config.credentials.iter().zip(identities) {
        let (token, identity) = match (kind, *identity) {
            (CredentialKind::OAuth(token), Some(identity)) => (token, identity),
            (CredentialKind::OAuth(token), None) => (token, identity_of(name, &token.oauth, &context.dpop_keys)?),
            (CredentialKind::Fixed(settings), _) => {
                providers.push(TokenProvider::Fixed(fixed(context, name, settings, known)));
                continue;
            }
        };
        let token = &for_all(token, identity, &wanted);
        context.token_metrics.begin(name);
        let own = Arc::new(RequestSettings::new(token, certificate_validity(&token.oauth)));
        if token.oauth.grant.is_of_callers() {
            providers.push(TokenProvider::Exchange(
                identity,
                exchange(context, name, token, identity, (&own, known), &mut tls)?,
                own,
            ));
            continue;
        }
        // Of several that ask in one way, the first says how the rest is done.
        let asking = made.entry(identity).or_default();
        let shared = asking.iter().find(|(_, settings)| settings.leads_as(&own));
        let (cache, settings) = match shared {
            Some((cache, settings)) => (Arc::clone(cache), Arc::clone(settings)),
            None => match live(identity, &own) {
                Some(live) => live,
                None => (cache(context, name, token, identity, &mut tls)?, own),
            },
        };
        if shared.is_none() {
            asking.push((Arc::clone(&cache), Arc::clone(&settings)));
        }
        providers.push(TokenProvider::Tokens(identity, cache, settings));
    }
    if config.cache.is_some() {
        for name in providers.iter().filter_map(TokenProvider::shares) {
            context.cache_metrics.fleet.begin_credential(name);
        }
    }
    let required = config.credentials.iter().zip(&providers).filter(|(settings, _)| settings.required);
    let required: HashSet<*const TokenCache> =
        required.filter_map(|(_, provider)| provider.tokens()).map(|(_, cache)| Arc::as_ptr(cache)).collect();
    for (_, cache) in providers.iter().filter_map(TokenProvider::tokens) {
        cache.refresh_always(required.contains(&Arc::as_ptr(cache)));
    }
    Ok(providers)
}

/// What every token request is, by what its secrets are now; `None` for a fixed credential.
pub(crate) fn identities(context: &BuildContext, config: &Config) -> Result<Vec<Option<Identity>>, BuildError> {
    let of = |settings: &CredentialSettings| {
        settings.oauth().map(|oauth| identity_of(&settings.name, oauth, &context.dpop_keys)).transpose()
    };
    config.credentials.iter().map(of).collect()
}

/// What each credential's tokens are among those of all replicas; `None` for those that stay in the process.
pub(crate) fn shared_identities(config: &Config, identities: &[Option<Identity>]) -> Vec<Option<SharedIdentity>> {
    let wanted = wanted(config, identities);
    let of = |settings: &CredentialSettings, identity: &Option<Identity>| {
        let CredentialKind::OAuth(token) = &settings.kind else { return None };
        let identity = identity.filter(|_| token.unshared().is_none())?;
        Some(shared_identity(&for_all(token, identity, &wanted).oauth, identity))
    };
    config.credentials.iter().zip(identities).map(|(settings, identity)| of(settings, identity)).collect()
}

fn shared_identity(oauth: &OAuthSettings, identity: Identity) -> SharedIdentity {
    SharedIdentity::new(identity.as_bytes(), oauth.members.iter().map(String::as_str), oauth.any_token_type)
}

/// One whose tokens are those of the fleet, as long as the program is in one.
fn cache(
    context: &BuildContext,
    name: &str,
    token: &TokenSettings,
    identity: Identity,
    tls: &mut EndpointTls,
) -> Result<Arc<TokenCache>, BuildError> {
    let source = Box::new(token_source_with(name, &token.oauth, &context.dpop_keys, tls)?);
    let settings = token.refresh.clone();
    let (control, metrics) = (context.control.clone(), context.token_metrics.clone());
    if token.unshared().is_some() {
        return Ok(TokenCache::new(name, source, settings, Clock::system(), control, metrics));
    }
    let (identity, timeout) = (shared_identity(&token.oauth, identity), token.oauth.timeout);
    let credential = SharedCredential { name: name.to_owned(), identity, settings, timeout };
    Ok(shared_cache(context.replica.clone(), credential, source, Clock::system(), control, metrics))
}

pub(crate) fn credentials(
    context: &BuildContext,
    config: &Config,
    providers: &[TokenProvider],
    known: &Known<'_>,
) -> Result<Vec<Arc<Credential>>, BuildError> {
    let waits = Waits::of(config, providers);
    let old = |settings: &CredentialSettings, provider: &TokenProvider| {
        let same =
            |old: &&Arc<Credential>| old.required == settings.required && is_as_before(old, settings, &waits, provider);
        known.credential(&settings.name).filter(same).cloned()
    };
    let mut credentials = Vec::with_capacity(providers.len());
    for (settings, provider) in config.credentials.iter().zip(providers) {
        let credential = match old(settings, provider) {
            Some(credential) => credential,
            None => Arc::new(credential(context, settings, &waits, provider)?),
        };
        credentials.push(credential);
    }
    Ok(credentials)
}

fn credential(
    context: &BuildContext,
    settings: &CredentialSettings,
    waits: &Waits,
    provider: &TokenProvider,
) -> Result<Credential, BuildError> {
    let (name, required) = (settings.name.clone(), settings.required);
    Ok(match provider {
        TokenProvider::Fixed(fixed) => Credential::fixed(name, required, Arc::clone(fixed)),
        TokenProvider::Exchange(_, exchange, _) => Credential::exchange(name, required, Arc::clone(exchange)),
        TokenProvider::Tokens(_, cache, _) => {
            let (inject, (timeout, longer), key) = match &settings.kind {
                CredentialKind::OAuth(token) => {
                    (token.inject.clone(), waits.of_one(token, cache), context.dpop_keys.of(&name, &token.oauth)?)
                }
                // Each was made of its credential's kind.
                CredentialKind::Fixed(_) => (Inject::default(), (Duration::ZERO, Duration::ZERO), None),
            };
            let binding = key.map(|key| Arc::new(Binding::new(key)));
            let credential = Credential::new(name, required, inject, Arc::clone(cache), timeout);
            credential.bound_to(binding).waiting_for_others(longer).keeping_to_itself(settings.unshared())
        }
    })
}

/// The one that is live, if it asks with the same secrets; otherwise one that knows no subject yet.
fn exchange(
    context: &BuildContext,
    name: &str,
    token: &TokenSettings,
    identity: Identity,
    (own, known): (&Arc<RequestSettings>, &Known<'_>),
    tls: &mut EndpointTls,
) -> Result<Arc<Exchange>, BuildError> {
    if let Some(TokenProvider::Exchange(asked, exchange, settings)) = known.provider(name)
        && *asked == identity
        && settings == own
    {
        return Ok(Arc::clone(exchange));
    }
    let source = Arc::new(token_source_with(name, &token.oauth, &context.dpop_keys, tls)?);
    let binding = source.dpop_key().cloned().map(|key| Arc::new(Binding::new(key)));
    // A subject that is not there any more must not be asked for: its token may have expired meanwhile.
    let refresh = RefreshSettings { ahead: None, always: false, ..token.refresh.clone() };
    let (name_of_cache, control, metrics) = (name.to_owned(), context.control.clone(), context.token_metrics.clone());
    // One budget for all of them: a caller that makes subjects up must not have one for each.
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
fn fixed(context: &BuildContext, name: &str, settings: &Arc<FixedSettings>, known: &Known<'_>) -> Arc<Fixed> {
    let live = known.provider(name).and_then(|provider| match provider {
        TokenProvider::Fixed(fixed) if fixed.is_of(name, settings) => Some(Arc::clone(fixed)),
        _ => None,
    });
    live.unwrap_or_else(|| Fixed::new(name, Arc::clone(settings), context.control.clone()))
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
    if let Some(Wanted { members, any_token_type }) = wanted.get(&identity)
        && (*any_token_type != token.oauth.any_token_type || !members.iter().eq(&token.oauth.members))
    {
        let oauth = Arc::make_mut(&mut token.oauth);
        oauth.members = members.iter().cloned().collect();
        oauth.any_token_type = *any_token_type;
    }
    token
}

fn is_as_before(old: &Credential, settings: &CredentialSettings, waits: &Waits, provider: &TokenProvider) -> bool {
    match (&settings.kind, provider) {
        (CredentialKind::OAuth(token), TokenProvider::Tokens(_, cache, _)) => {
            let (timeout, longer) = waits.of_one(token, cache);
            old.is_backed_by(cache) && old.injects(&token.inject) && old.waits_for(timeout, longer)
        }
        (_, TokenProvider::Fixed(fixed)) => old.is_fixed(fixed),
        (_, TokenProvider::Exchange(_, exchange, _)) => old.exchanges().is_some_and(|old| Arc::ptr_eq(old, exchange)),
        (CredentialKind::Fixed(_), TokenProvider::Tokens(..)) => false,
    }
}

/// What callers may wait for.
struct Waits {
    /// The timeout that shared token requests have: that of the first credential which makes them.
    timeouts: HashMap<*const TokenCache, Duration>,
    in_fleet: bool,
}

impl Waits {
    fn of(config: &Config, providers: &[TokenProvider]) -> Self {
        let mut timeouts = HashMap::new();
        for (settings, provider) in config.credentials.iter().zip(providers) {
            if let (Some(oauth), Some((_, cache))) = (settings.oauth(), provider.tokens()) {
                timeouts.entry(Arc::as_ptr(cache)).or_insert(oauth.timeout);
            }
        }
        Self { timeouts, in_fleet: config.cache.is_some() }
    }

    /// One token request, and how much longer another replica may take.
    fn of_one(&self, token: &TokenSettings, cache: &Arc<TokenCache>) -> (Duration, Duration) {
        let timeout = self.timeouts.get(&Arc::as_ptr(cache)).copied().unwrap_or(token.oauth.timeout);
        let with_others = self.in_fleet && token.unshared().is_none();
        (timeout, if with_others { WAITING_FOR_OTHERS } else { Duration::ZERO })
    }
}
