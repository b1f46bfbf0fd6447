//! What is live, and the one way to replace it.

use std::sync::{Arc, Mutex};

use crate::app::build::state::{BuildContext, Built};
use crate::config::Config;
use crate::runtime::SharedRuntime;
use crate::sync::lock;

/// The configuration that is live, and what was made of it. Replaced by a reload, by a rotated secret, and by a changed
/// certificate, each next to what is there.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) context: BuildContext,
    shared: SharedRuntime,
    state: Mutex<Arc<State>>,
}

/// One configuration, made live.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Arc<Config>,
    pub(super) built: Built,
}

impl Live {
    pub(super) fn new(context: BuildContext, shared: SharedRuntime, config: Arc<Config>, built: Built) -> Self {
        Self { context, shared, state: Mutex::new(Arc::new(State { config, built })) }
    }

    pub(super) fn current(&self) -> Arc<State> {
        Arc::clone(&lock(&self.state))
    }

    /// Callers have other passwords now: what was opened with the old ones ends.
    pub(super) fn passwords_have_changed(&self) {
        self.shared.announce();
    }

    /// From here on requests are served by `next`, which was made next to `before`. False if something else has taken the place
    /// of that meanwhile: then nothing happens, and it is for the caller to look again.
    pub(super) fn replace(&self, before: &Arc<State>, config: Arc<Config>, next: Built) -> bool {
        let mut state = lock(&self.state);
        if !Arc::ptr_eq(&state, before) {
            return false;
        }
        self.shared.swap(Arc::clone(&next.runtime));
        self.context.replica.set(next.fleet.as_ref().map(|fleet| Arc::clone(fleet.replica())));
        *state = Arc::new(State { config, built: next });
        true
    }
}
