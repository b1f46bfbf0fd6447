//! Refusals by the configuration, told once each to the task that asked to hear of them: behind `attache exec` a person sits who cannot
//! know why a program was turned away.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use crate::sync::lock;

/// How many are told. A program that tries more hosts than this is not told of one by one.
const MAX_TOLD: usize = 64;

/// What the configuration does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Refused {
    /// This host: no upstream covers it, and nothing else passes.
    Unmatched(Box<str>),
    /// A tunnel to this host and port.
    Port(Box<str>),
    /// This target, because of where its name leads.
    Address(Box<str>),
    /// What the rules of this upstream do not cover.
    Rules(Box<str>),
}

/// A refusal, and the sentence that the program got.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) what: Refused,
    pub(crate) sentence: String,
}

/// Tells of refusals. A clone is a reference.
#[derive(Debug, Clone)]
pub(crate) struct Refusals(Arc<Told>);

#[derive(Debug)]
struct Told {
    known: Mutex<HashSet<Refused>>,
    to: mpsc::Sender<Refusal>,
}

impl Refusals {
    /// With the end where they are heard.
    #[must_use]
    pub(crate) fn new() -> (Self, mpsc::Receiver<Refusal>) {
        // As many as are ever told, so there is always room.
        let (to, heard) = mpsc::channel(MAX_TOLD);
        (Self(Arc::new(Told { known: Mutex::default(), to })), heard)
    }

    /// Tells of a refusal, unless the like has been told.
    pub(super) fn tell(&self, what: &Refused, sentence: &str) {
        let mut known = lock(&self.0.known);
        if known.len() < MAX_TOLD && known.insert(what.clone()) {
            // Nobody may be listening any more.
            let _told = self.0.to.try_send(Refusal { what: what.clone(), sentence: sentence.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once() {
        let (refusals, mut heard) = Refusals::new();
        for host in ["a.test", "b.test", "a.test"] {
            refusals.tell(&Refused::Unmatched(host.into()), "no");
        }
        let mut told = || heard.try_recv().ok().map(|refusal| refusal.what);
        assert_eq!(told(), Some(Refused::Unmatched("a.test".into())));
        assert_eq!(told(), Some(Refused::Unmatched("b.test".into())));
        assert_eq!(told(), None);
    }

    #[test]
    fn however_many_hosts_a_program_tries_what_is_kept_and_told_is_bounded() {
        let (refusals, mut heard) = Refusals::new();
        for host in 0..1000 {
            refusals.tell(&Refused::Unmatched(format!("{host}.test").into()), "no");
        }
        assert_eq!(std::iter::from_fn(|| heard.try_recv().ok()).count(), MAX_TOLD);
        assert_eq!(lock(&refusals.0.known).len(), MAX_TOLD);
    }
}
