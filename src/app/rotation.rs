//! Rotated secrets: a changed file makes a credential another identity, without a reload and without a failed request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::build::{Builder, Built, credential_identity};
use crate::config::Config;
use crate::runtime::SharedRuntime;

/// How often secrets are looked at. Reading a few small files is cheap, and content is the only sign that works on every
/// file system and through every kind of symbolic link.
const LOOK: Duration = Duration::from_secs(2);

/// How long the first token of a new secret may take before the old one is left anyway.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is live: the next one is built next to it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) config: Config,
    pub(super) builder: Builder,
    pub(super) built: Mutex<Arc<Built>>,
    pub(super) shared: SharedRuntime,
}

/// Looks for changed secrets for ever; runs on the control runtime.
pub(super) async fn watch(live: Arc<Live>) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if has_changed(&live).await {
            take_over(&live).await;
        }
    }
}

impl Live {
    fn current(&self) -> Arc<Built> {
        Arc::clone(&self.built.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn has_changed(live: &Arc<Live>) -> bool {
    let live = Arc::clone(live);
    // Files may be on a network that hangs: not on the control thread itself.
    let compared = tokio::task::spawn_blocking(move || {
        let built = live.current();
        live.config.credentials.iter().zip(&built.caches).any(|(settings, (known, _))| {
            // Unreadable for a moment while it is replaced: the old one goes on.
            credential_identity(settings).is_ok_and(|now| now != *known)
        })
    });
    compared.await.unwrap_or(false)
}

/// Asks for the new identities' tokens while the old ones are still in use, then swaps.
async fn take_over(live: &Live) {
    let before = live.current();
    let next = match live.builder.build(&live.config, Some(&before)) {
        Ok(next) => Arc::new(next),
        Err(error) => {
            tracing::warn!(target: "attache::app", %error, "a changed secret cannot be used yet");
            return;
        }
    };
    for ((settings, (old_identity, old)), (identity, new)) in
        live.config.credentials.iter().zip(&before.caches).zip(&next.caches)
    {
        if old_identity == identity {
            continue;
        }
        let answer = new.obtain(PATIENCE).await;
        if let Err(error) = answer
            && old.usable().is_some()
        {
            // The authorization server may not know the new secret yet: the old token is good, so there is time.
            tracing::warn!(target: "attache::app", credential = %settings.name, "the changed secret does not work, the old token stays in use: {error}");
            return;
        }
        tracing::info!(target: "attache::app", credential = %settings.name, "the secret has changed and is in use");
    }
    live.shared.swap(Arc::clone(&next.runtime));
    *live.built.lock().unwrap_or_else(PoisonError::into_inner) = next;
}
