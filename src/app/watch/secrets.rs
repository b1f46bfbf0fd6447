//! Rotated secrets: a changed file makes a credential another identity, without a reload and without a failed request. A
//! fixed credential is looked at here too, and takes a changed secret up itself. `certificates` does the same for what
//! listeners and upstreams show.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::app::build::provider::TokenProvider;
use crate::app::build::state::Built;
use crate::app::build::with_new_secrets;
use crate::app::live::{Live, State};
use crate::app::sources::{BuildError, identity_of};
use crate::app::watch::certificates::{CertificateWatch, listeners_have_changed};
use crate::config::Config;
use crate::oauth::{Identity, assertions_fingerprint};
use crate::runtime::ModeRuntime;

/// How often secrets are looked at. Reading a few small files is cheap, and content is the only sign that works on every
/// file system and through every kind of symbolic link.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long the first token of a new secret may take before the old one is left anyway.
const FIRST_TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// What the observations of one credential's secret have found.
#[derive(Debug, Clone, Default)]
struct Observed {
    /// It could not be read the last time, and that has been said.
    unreadable: bool,
    /// The generation of the token after which a failure has been forgotten.
    retried_at: Option<u64>,
    /// The assertions that another program writes, to the letter: a new one makes no new identity, but what the old one failed of
    /// is over.
    assertions: Option<[u8; 32]>,
}

/// What one look found of one credential.
struct Found {
    identity: Result<Identity, BuildError>,
    assertions: Option<[u8; 32]>,
}

/// Looks for changed secrets for ever; runs on the control runtime.
pub(crate) async fn watch(live: Arc<Live>) {
    let mut look = tokio::time::interval(POLL_INTERVAL);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watched = Watched::of(&live.current().config);
    loop {
        look.tick().await;
        let before = live.current();
        if !Arc::ptr_eq(&watched.config, &before.config) {
            watched = Watched::of(&before.config);
        }
        look_at_passwords(&live, &before).await;
        if listeners_have_changed(&live, &before).await {
            watched.waiting = None;
            continue;
        }
        // First, so that a secret that does not work yet holds no certificate up. What waits was made with the old ones.
        if watched.certificates.look(&live, &before).await {
            watched.waiting = None;
            continue;
        }
        let found = look_at_secrets(&live, &before, &mut watched.observed).await;
        match found {
            Some(now) if differs(&now, &before.built) => {
                let waiting = watched.waiting.take();
                watched.waiting = take_over(&live, &before, &now, waiting).await;
            }
            Some(_) => watched.waiting = None,
            // The looking itself broke off: there is another in a moment.
            None => {}
        }
    }
}

/// Has the passwords of callers and the secrets of token clients read again.
async fn look_at_passwords(live: &Arc<Live>, before: &Arc<State>) {
    let (state, live) = (Arc::clone(before), Arc::clone(live));
    let look = move || {
        let mut changed = false;
        for listener in &state.built.runtime.listeners {
            if let Some(callers) = &listener.callers {
                changed |= callers.look();
            }
            if let ModeRuntime::Token(clients) = &listener.mode {
                for client in clients {
                    client.secret.look();
                }
            }
        }
        if changed {
            live.passwords_have_changed();
        }
    };
    // Without an answer the looking itself broke off: there is another in a moment.
    let _broken = tokio::task::spawn_blocking(look).await;
}

/// What is remembered from one look to the next, for one configuration.
struct Watched {
    config: Arc<Config>,
    /// What a changed secret became but does not work yet. Kept, so that its back-off is: made anew with each look, it would
    /// ask an authorization server that refuses the secret every two seconds.
    waiting: Option<Built>,
    observed: Vec<Observed>,
    certificates: CertificateWatch,
}

impl Watched {
    fn of(config: &Arc<Config>) -> Self {
        let observed = vec![Observed::default(); config.credentials.len()];
        Self { config: Arc::clone(config), waiting: None, observed, certificates: CertificateWatch::of(config) }
    }
}

/// The identities of all token requests now, `None` for credentials that make none; one whose secret cannot be read, perhaps
/// for a moment while it is replaced, is what it was. Says when a secret goes and when it comes back; then a failure that came
/// of it is forgotten.
async fn look_at_secrets(
    live: &Arc<Live>,
    state: &Arc<State>,
    observed: &mut [Observed],
) -> Option<Vec<Option<Identity>>> {
    let mut now = Vec::with_capacity(observed.len());
    let credentials = state.config.credentials.iter().zip(&state.built.providers).zip(observed);
    for (((settings, provider), observed), read) in credentials.zip(identities(live, state).await?) {
        let credential = &settings.name;
        let (Some(known), Some(read)) = (provider.identity(), read) else {
            now.push(None);
            continue;
        };
        let Found { identity: read, assertions } = read;
        if let (Some(written), Some((_, cache))) = (assertions, provider.tokens())
            && observed.assertions.replace(written).is_some_and(|before| before != written)
        {
            cache.forget_failure();
        }
        match &read {
            Ok(_) => {
                if std::mem::take(&mut observed.unreadable) {
                    tracing::info!(target: "attache::app", %credential, "the secret can be read again");
                }
                // Not only after a look that failed: a request may have come between two looks. But once: it may have failed
                // of something else.
                if let Some((_, cache)) = provider.tokens() {
                    let generation = Some(cache.status().generation);
                    if observed.retried_at != generation && cache.forget_misconfiguration() {
                        observed.retried_at = generation;
                    }
                }
            }
            Err(error) => {
                observed.retried_at = None;
                if !std::mem::replace(&mut observed.unreadable, true) {
                    tracing::warn!(target: "attache::app", %credential, "the secret cannot be read: {error}");
                }
            }
        }
        now.push(Some(read.unwrap_or(known)));
    }
    Some(now)
}

/// What every token request is by what its secret is at this moment; `None` for a fixed credential, which takes in itself
/// what its secret is.
async fn identities(live: &Arc<Live>, state: &Arc<State>) -> Option<Vec<Option<Found>>> {
    let (live, state) = (Arc::clone(live), Arc::clone(state));
    // Files may be on a network that hangs: not on the control thread itself.
    let read = tokio::task::spawn_blocking(move || {
        let credentials = state.config.credentials.iter().zip(&state.built.providers);
        let observed = credentials.map(|(settings, provider)| {
            match provider {
                TokenProvider::Fixed(fixed) => fixed.look(),
                TokenProvider::Exchange(_, exchange, _) => exchange.forget_ended(SystemTime::now()),
                TokenProvider::Tokens(..) => {}
            }
            settings.oauth().map(|oauth| Found {
                identity: identity_of(&settings.name, oauth, &live.context.dpop_keys),
                assertions: assertions_fingerprint(oauth),
            })
        });
        observed.collect()
    });
    read.await.ok()
}

fn differs(now: &[Option<Identity>], built: &Built) -> bool {
    now.iter().zip(&built.providers).any(|(now, provider)| *now != provider.identity())
}

/// Asks for the new identities' tokens while the old ones are still in use, then swaps. What does not work yet comes back.
async fn take_over(
    live: &Live,
    before: &Arc<State>,
    now: &[Option<Identity>],
    waiting: Option<Built>,
) -> Option<Built> {
    let waiting = waiting.filter(|waiting| !differs(now, waiting));
    let first = waiting.is_none();
    let config = &before.config;
    let next = match waiting.map_or_else(|| with_new_secrets(&live.context, config, now, &before.built), Ok) {
        Ok(next) => next,
        Err(error) => {
            tracing::warn!(target: "attache::app", %error, "a changed secret cannot be used yet");
            return None;
        }
    };
    let pairs = config.credentials.iter().zip(before.built.providers.iter().zip(&next.providers));
    let changed = pairs.filter_map(|(settings, (old, new))| Some((settings, old.tokens()?, new.tokens()?)));
    for (settings, (old_identity, old), (identity, new)) in changed {
        if old_identity == identity {
            continue;
        }
        let answer = new.obtain(FIRST_TOKEN_TIMEOUT).await;
        if let Err(error) = answer
            && old.usable().is_some()
        {
            // The authorization server may not know the new secret yet: the old token is good, so there is time.
            if first {
                tracing::warn!(target: "attache::app", credential = %settings.name, "the changed secret does not work, the old token stays in use: {error}");
            }
            return Some(next);
        }
        tracing::info!(target: "attache::app", credential = %settings.name, "the secret has changed and is in use");
    }
    // A reload may have come in between; the next look finds what there is to do then.
    let _looked_at_again = live.replace(before, Arc::clone(config), next);
    None
}
