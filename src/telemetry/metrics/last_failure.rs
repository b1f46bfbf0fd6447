//! The newest failure of an upstream, for people who look. Written where a request fails, so it costs the others nothing.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::sync::lock;

/// A clone is a reference.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastFailure(Arc<Mutex<Option<Box<Failure>>>>);

/// Why attache could not get an answer for a caller.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) at: SystemTime,
    /// What the caller was answered.
    pub(crate) status: u16,
    /// As the log has it.
    pub(crate) sentence: String,
    /// How many requests had been answered on its route by then: more of them now, and it is over.
    pub(crate) answered_before: u64,
}

impl LastFailure {
    /// Replaces the one before.
    pub(crate) fn note(&self, status: u16, sentence: &str, answered_before: u64) {
        let failure = Failure { at: SystemTime::now(), status, sentence: sentence.to_owned(), answered_before };
        *lock(&self.0) = Some(Box::new(failure));
    }

    pub(crate) fn get(&self) -> Option<Failure> {
        lock(&self.0).as_deref().cloned()
    }
}
