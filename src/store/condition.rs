//! How the connection is doing: kept for people, and said in the log once for each change.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::error::{Refusal, StoreError};
use super::status::{Push, StoreState, StoreStatus};

/// What is known of a connection that has just been made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct About {
    pub(super) server: Option<String>,
    pub(super) address: String,
    pub(super) tls: bool,
    pub(super) push: Push,
    /// It was refused to write.
    pub(super) refusal: Option<Refusal>,
}

/// The state, and what has been said of it.
pub(super) struct Condition {
    state: StoreState,
    since: SystemTime,
    /// When the connection was lost; of an outage that has been said.
    away_since: Option<Instant>,
    ever_connected: bool,
    push_refused: bool,
    about: Option<About>,
    latency: Option<Duration>,
    last_error: Option<String>,
    remedy: Option<&'static str>,
    /// The last dial failed for what the configuration says.
    pub(super) misconfigured: bool,
    /// The remedies that have been said in this outage; there are few.
    told: Vec<&'static str>,
}

impl Condition {
    pub(super) fn new() -> Self {
        Self {
            state: StoreState::Away,
            since: SystemTime::now(),
            away_since: None,
            ever_connected: false,
            push_refused: false,
            about: None,
            latency: None,
            last_error: None,
            remedy: None,
            misconfigured: false,
            told: Vec::new(),
        }
    }

    pub(super) fn status(&self) -> StoreStatus {
        let about = self.about.as_ref();
        StoreStatus {
            state: self.state,
            since: self.since,
            server: about.and_then(|about| about.server.clone()),
            address: about.map(|about| about.address.clone()),
            tls: about.is_some_and(|about| about.tls),
            latency: self.latency,
            last_error: self.last_error.clone(),
            remedy: self.remedy,
            misconfigured: self.misconfigured && self.state == StoreState::Away,
            push: about.filter(|_| self.state != StoreState::Away).map_or(Push::Off, |about| about.push),
        }
    }

    pub(super) fn state(&self) -> StoreState {
        self.state
    }

    pub(super) fn connected(&mut self, about: About) {
        let server = about.server.as_deref().unwrap_or("unknown");
        let (address, tls) = (about.address.as_str(), about.tls);
        match self.away_since.take() {
            Some(since) if self.ever_connected => {
                let away_for = since.elapsed().as_secs();
                tracing::info!(target: "attache::cache", away_for, server, address, tls, "the shared cache is back");
            }
            _ if self.ever_connected => {
                tracing::debug!(target: "attache::cache", server, address, tls, "connected to the shared cache again");
            }
            _ => tracing::info!(target: "attache::cache", server, address, tls, "connected to the shared cache"),
        }
        if about.push == Push::Refused && !std::mem::replace(&mut self.push_refused, true) {
            tracing::warn!(
                target: "attache::cache",
                "the shared cache does not say what others have put (SUBSCRIBE is refused): it is polled, which takes a little longer"
            );
        }
        self.ever_connected = true;
        self.enter(StoreState::Connected);
        if let Some(refusal) = &about.refusal {
            self.refuses_writes(refusal);
        }
        self.about = Some(about);
    }

    /// A dial failed. Within one outage each remedy is said once: a server that comes back may want another password.
    pub(super) fn unreachable(&mut self, sentence: &str, remedy: &'static str, retry_in: Duration) {
        let is_away = self.away_since.is_some();
        self.away(sentence, sentence, retry_in);
        self.remedy = Some(remedy);
        if !self.told.contains(&remedy) {
            self.told.push(remedy);
            if is_away {
                tracing::warn!(target: "attache::cache", cause = sentence, "the shared cache is still away; {remedy}");
            }
        }
    }

    /// There is no connection any more, or a dial failed: a word or a sentence for the log, a sentence for people.
    pub(super) fn away(&mut self, cause: &str, sentence: &str, retry_in: Duration) {
        self.enter(StoreState::Away);
        self.remedy = None;
        self.misconfigured = false;
        self.last_error = Some(sentence.to_owned());
        let retry_in = format!("{:.1}", retry_in.as_secs_f64());
        if self.away_since.is_some() {
            tracing::debug!(target: "attache::cache", cause, retry_in, "the shared cache is still away");
            return;
        }
        self.away_since = Some(Instant::now());
        self.told.clear();
        tracing::warn!(
            target: "attache::cache", cause, retry_in,
            "the shared cache is away; each replica asks for itself until it is back"
        );
    }

    /// The connection is given up for another one, which is dialled at once.
    pub(super) fn moves(&mut self, cause: &str) {
        self.enter(StoreState::Away);
        tracing::debug!(target: "attache::cache", cause, "the connection to the shared cache is made anew");
    }

    /// A question that was answered, or was not.
    pub(super) fn answered(&mut self, took: Duration, error: Option<&StoreError>, wrote: bool) {
        match error {
            None => {
                self.latency = Some(took);
                if wrote && self.state == StoreState::RefusingWrites {
                    self.enter(StoreState::Connected);
                    tracing::info!(target: "attache::cache", "the shared cache takes writes again");
                }
            }
            Some(error) => {
                self.last_error = Some(error.to_string());
                if let StoreError::Refused(refusal) = error {
                    self.latency = Some(took);
                    if refusal.is_of_writes() && self.state == StoreState::Connected {
                        self.refuses_writes(refusal);
                    }
                }
            }
        }
    }

    fn refuses_writes(&mut self, refusal: &Refusal) {
        self.enter(StoreState::RefusingWrites);
        self.last_error = Some(refusal.to_string());
        tracing::warn!(
            target: "attache::cache",
            "the shared cache refuses writes: {refusal}; tokens that are there are still shared"
        );
    }

    fn enter(&mut self, state: StoreState) {
        if self.state != state {
            self.state = state;
            self.since = SystemTime::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_remedy_is_said_once_in_an_outage_and_again_in_the_next() {
        let (mut condition, wait) = (Condition::new(), Duration::from_secs(1));
        condition.away("closed", "the connection to it broke", wait);
        for remedy in ["see that the server runs", "see that the server runs", "correct the password"] {
            condition.unreachable("it refuses", remedy, wait);
        }
        assert_eq!(condition.told, ["see that the server runs", "correct the password"]);
        let about = About { server: None, address: "cache:6379".into(), tls: false, push: Push::Off, refusal: None };
        condition.connected(about);
        condition.unreachable("it refuses", "correct the password", wait);
        assert_eq!(condition.told, ["correct the password"]);
        assert_eq!(condition.status().remedy, Some("correct the password"));
    }
}
