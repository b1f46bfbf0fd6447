//! What happened to the tokens of one cache in the last hour, for people who look.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::error::TokenError;

/// More than a server that gives tokens a minute has in half an hour, in about 4 KiB.
const MAX_EVENTS: usize = 64;

const MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// Refusals within this time are told as one.
const SAME_REFUSAL: Duration = Duration::from_secs(60);

/// The oldest first. Takes no memory before its first event.
#[derive(Debug, Default)]
pub(super) struct Journal(VecDeque<TokenEvent>);

#[derive(Debug, Clone)]
pub(crate) struct TokenEvent {
    pub(crate) at: SystemTime,
    pub(crate) what: TokenEventKind,
}

#[derive(Debug, Clone)]
pub(crate) enum TokenEventKind {
    /// A token came; its request took so long.
    Obtained { generation: u64, expires_at: SystemTime, took: Duration },
    /// None came.
    Failed { error: Arc<TokenError>, took: Duration },
    /// Upstreams refused the token, so many times in a row.
    Refused { generation: u64, count: u64 },
}

impl Journal {
    pub(super) fn note(&mut self, at: SystemTime, what: TokenEventKind) {
        let is_old = |event: &TokenEvent| at.duration_since(event.at).is_ok_and(|age| age > MAX_AGE);
        while self.0.len() >= MAX_EVENTS || self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        self.0.push_back(TokenEvent { at, what });
    }

    /// An upstream refused this token. A constant 401 is one event with a count, so that it does not push out the others.
    pub(super) fn note_refusal(&mut self, at: SystemTime, refused: u64) {
        if let Some(TokenEvent { at: first, what: TokenEventKind::Refused { generation, count } }) = self.0.back_mut()
            && *generation == refused
            && at.duration_since(*first).is_ok_and(|age| age < SAME_REFUSAL)
        {
            *count += 1;
            return;
        }
        self.note(at, TokenEventKind::Refused { generation: refused, count: 1 });
    }

    /// Those of the last hour.
    pub(super) fn events(&self, now: SystemTime) -> Vec<TokenEvent> {
        let is_new = |event: &&TokenEvent| now.duration_since(event.at).is_ok_and(|age| age <= MAX_AGE);
        self.0.iter().filter(is_new).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn obtained(generation: u64) -> TokenEventKind {
        TokenEventKind::Obtained { generation, expires_at: after(generation), took: Duration::ZERO }
    }

    #[test]
    fn the_last_hour_is_kept_within_a_bound() {
        let mut journal = Journal::default();
        journal.note(after(0), obtained(1));
        journal.note(after(3000), obtained(2));
        assert_eq!(journal.events(after(3601)).len(), 1);
        (0..500).for_each(|generation| journal.note(after(4000), obtained(generation)));
        assert_eq!(journal.events(after(4000)).len(), MAX_EVENTS);
    }

    #[test]
    fn a_constant_refusal_is_one_event_a_minute() {
        let mut journal = Journal::default();
        for second in 0..100 {
            journal.note_refusal(after(second), 7);
        }
        journal.note_refusal(after(100), 8);
        let counts: Vec<_> = journal.events(after(100)).into_iter().map(|event| event.what).collect();
        assert!(
            matches!(
                counts[..],
                [
                    TokenEventKind::Refused { generation: 7, count: 60 },
                    TokenEventKind::Refused { count: 40, .. },
                    TokenEventKind::Refused { generation: 8, count: 1 }
                ]
            ),
            "{counts:?}"
        );
    }
}
