//! A credential that is a secret itself: a static token, a user name with its password, an API key.
//!
//! There is no server to ask and no time at which it ends. It is read where it is kept: when the program starts or, where
//! that costs something, when first needed; again when `app::watch::secrets` looks; and again because of a 401.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use tokio::runtime::Handle;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::inject::{Place, sensitive};
use super::settings::{FixedScheme, FixedSettings};
use crate::http_auth::basic_credentials;
use crate::secret::Secret;
use crate::sync::lock;
use crate::token::{
    Flight, FlightResult, Flights, HeaderToken, TokenError, TokenErrorKind, TokenFault, TokenStatus, judge_token,
};

/// How long a request waits for the secret to be read: a file may be on a network that hangs.
const WAIT: Duration = Duration::from_secs(30);

/// After a reading that failed, requests fail at once for so long. [`Fixed::look`] does not wait for that.
const PAUSE: Duration = Duration::from_secs(5);

/// How often 401s may have a secret read whose reading costs something, while it stays the same.
const REREAD_INTERVAL: Duration = Duration::from_secs(30);

/// Why a secret cannot be presented. Never says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidSecret {
    /// The text is no token.
    #[error("the token {0}")]
    Bearer(TokenFault),
    /// With what `inject` puts around it, it makes no header field.
    #[error("the token cannot be put where `inject` says")]
    Place,
    /// RFC 7617 section 2.
    #[error("the password holds a control character (RFC 7617 section 2)")]
    Basic,
    /// RFC 9110 section 5.5.
    #[error("the value holds a character that no header field may have, or begins or ends with a space")]
    Header,
}

impl FixedSettings {
    /// The finished text for this secret, marked sensitive: a field's value, or a parameter of the query.
    ///
    /// # Errors
    /// A secret that may not stand there.
    pub(crate) fn format(&self, secret: &Secret) -> Result<HeaderValue, InvalidSecret> {
        let text = secret.expose();
        match &self.scheme {
            FixedScheme::Bearer(inject) => {
                judge_token(text).map_err(InvalidSecret::Bearer)?;
                inject.format("Bearer", text).ok_or(InvalidSecret::Place)
            }
            FixedScheme::Basic { .. } if text.chars().any(char::is_control) => Err(InvalidSecret::Basic),
            FixedScheme::Basic { username } => {
                let encoded = basic_credentials(username, text);
                sensitive(&Zeroizing::new(format!("Basic {}", encoded.as_str()))).ok_or(InvalidSecret::Basic)
            }
            FixedScheme::Header(_) => sensitive(text).ok_or(InvalidSecret::Header),
        }
    }

    /// Looking at the secret costs next to nothing and changes nothing, so it is done at the start and every few seconds.
    /// Anything else is read when it is needed.
    #[must_use]
    pub(crate) fn is_at_hand(&self) -> bool {
        !self.secret.is_command()
    }
}

/// A fixed credential, live.
pub(crate) struct Fixed {
    name: String,
    settings: Arc<FixedSettings>,
    place: Place,
    held: ArcSwapOption<Held>,
    reading: Mutex<Reading>,
    /// One reads at a time, so that what was read last is what stays. Held while blocking is allowed.
    turn: Mutex<()>,
    control: Handle,
}

/// What goes on requests now.
struct Held {
    finished: HeaderToken,
    fingerprint: [u8; 32],
}

/// What changes outside the request path; its lock is never held across an await, nor while a secret is read.
#[derive(Default)]
struct Reading {
    flights: Flights<HeaderToken>,
    /// A 401 is among the reasons of the reading that is under way.
    unauthorized: bool,
    generation: u64,
    /// When it was last read because of a 401, and was what it had been.
    unchanged: Option<Instant>,
}

impl Fixed {
    /// Reads the secret, if it is at hand: call it where blocking is allowed. Whatever is wrong with it is told later, to
    /// those who need it. Readings that may take long run on `control`.
    #[must_use]
    pub(crate) fn new(name: &str, settings: Arc<FixedSettings>, control: Handle) -> Arc<Self> {
        let place = match &settings.scheme {
            FixedScheme::Bearer(inject) => inject.place.clone(),
            FixedScheme::Basic { .. } => Place::Field(AUTHORIZATION),
            FixedScheme::Header(name) => Place::Field(name.clone()),
        };
        let (held, reading, turn) = (ArcSwapOption::empty(), Mutex::default(), Mutex::default());
        let fixed = Self { name: name.to_owned(), settings, place, held, reading, turn, control };
        fixed.look();
        Arc::new(fixed)
    }

    /// True if it belongs to the credential of this name, and was made of settings that say the same.
    #[must_use]
    pub(crate) fn is_of(&self, name: &str, settings: &FixedSettings) -> bool {
        self.name == name && *self.settings == *settings
    }

    /// Reads the secret again, if it is at hand; a changed one is in use from then on. Blocks while a file is read.
    pub(crate) fn look(&self) {
        if self.settings.is_at_hand() {
            drop(self.read());
        }
    }

    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// An API key knows no scheme, so any challenge may be about it.
    pub(super) fn answers(&self, scheme: &str) -> bool {
        match &self.settings.scheme {
            FixedScheme::Bearer(inject) => {
                ["Bearer"].into_iter().chain(inject.scheme()).any(|known| known.eq_ignore_ascii_case(scheme))
            }
            FixedScheme::Basic { .. } => scheme.eq_ignore_ascii_case("Basic"),
            FixedScheme::Header(_) => true,
        }
    }

    /// The request path: one snapshot load and one reference count.
    pub(super) fn usable(&self) -> Option<HeaderToken> {
        self.held.load().as_ref().map(|held| held.finished.clone())
    }

    /// What goes on requests, reading it if it has not been read.
    pub(super) async fn obtain(self: &Arc<Self>) -> FlightResult<HeaderToken> {
        if let Some(finished) = self.usable() {
            return Ok(finished);
        }
        let flight = {
            let mut reading = self.lock();
            if let Some((error, _)) = reading.flights.fail_fast(Instant::now()) {
                return Err(Arc::clone(error));
            }
            self.join_flight(&mut reading)
        };
        wait_for(flight).await
    }

    /// What the secret is now, if that is not what was refused.
    pub(super) async fn renew(self: &Arc<Self>, refused: u64) -> Result<Option<HeaderToken>, Arc<TokenError>> {
        let newer = |finished: HeaderToken| (finished.generation > refused).then_some(finished);
        if let Some(finished) = self.usable().and_then(newer) {
            return Ok(Some(finished));
        }
        let flight = {
            let mut reading = self.lock();
            let lately = reading.unchanged.is_some_and(|at| at.elapsed() < REREAD_INTERVAL);
            if lately && !self.settings.is_at_hand() {
                return Ok(None);
            }
            reading.unauthorized = true;
            self.join_flight(&mut reading)
        };
        wait_for(flight).await.map(newer)
    }

    /// What the secret is now.
    pub(super) async fn read_again(self: &Arc<Self>) -> FlightResult<HeaderToken> {
        let flight = self.join_flight(&mut self.lock());
        wait_for(flight).await
    }

    /// Begins to read what has not been read.
    pub(super) fn prime(self: &Arc<Self>) {
        if self.usable().is_none() {
            drop(self.join_flight(&mut self.lock()));
        }
    }

    pub(super) fn status(&self) -> TokenStatus {
        let usable = self.held.load().is_some();
        let reading = self.lock();
        TokenStatus {
            state: match (usable, reading.flights.is_under_way(), reading.flights.failure()) {
                (true, ..) => "ready",
                (false, true, _) => "refreshing",
                (false, false, Some(_)) => "failed",
                (false, false, None) => "empty",
            },
            generation: reading.generation,
            last_error: reading.flights.failure().cloned(),
            usable,
            ..TokenStatus::default()
        }
    }

    fn join_flight(self: &Arc<Self>, reading: &mut Reading) -> Flight<HeaderToken> {
        reading.flights.join(|completion| {
            let fixed = Arc::clone(self);
            drop(self.control.spawn_blocking(move || {
                let result = fixed.read();
                fixed.lock().flights.end();
                completion.complete(result);
            }));
        })
    }

    /// Reads the secret, and takes it in.
    fn read(&self) -> FlightResult<HeaderToken> {
        let _turn = lock(&self.turn);
        let read = self.settings.secret.read().map_err(|error| error.to_string()).and_then(|secret| {
            let finished = self.settings.format(&secret).map_err(|error| error.to_string())?;
            Ok((finished, secret.fingerprint()))
        });
        let mut reading = self.lock();
        let unauthorized = std::mem::take(&mut reading.unauthorized);
        match read {
            Ok((value, fingerprint)) => Ok(self.take_in(&mut reading, value, fingerprint, unauthorized)),
            Err(error) => Err(self.remember(&mut reading, &error)),
        }
    }

    fn take_in(
        &self,
        reading: &mut Reading,
        value: HeaderValue,
        fingerprint: [u8; 32],
        unauthorized: bool,
    ) -> HeaderToken {
        if reading.flights.forget_failure() {
            tracing::info!(target: "attache::credential", credential = %self.name, "the secret can be used again");
        }
        if let Some(held) = self.held.load().as_ref().filter(|held| held.fingerprint == fingerprint) {
            if unauthorized {
                reading.unchanged = Some(Instant::now());
            }
            return held.finished.clone();
        }
        reading.generation += 1;
        reading.unchanged = None;
        let generation = reading.generation;
        if generation > 1 {
            tracing::info!(target: "attache::credential", credential = %self.name, generation, "the secret has changed and is in use");
        }
        let finished = HeaderToken { value, generation, after_unauthorized: unauthorized, type_is_known: true };
        self.held.store(Some(Arc::new(Held { finished: finished.clone(), fingerprint })));
        finished
    }

    /// What was read before stays in use: the secret may be gone for a moment while it is replaced.
    fn remember(&self, reading: &mut Reading, why: &str) -> Arc<TokenError> {
        if reading.flights.failure().is_none() {
            tracing::warn!(target: "attache::credential", credential = %self.name, "the secret cannot be used: {why}");
        }
        let message = format!("the secret cannot be used: {why}");
        let error = Arc::new(TokenError::new(TokenErrorKind::Configuration, message));
        reading.flights.remember(Arc::clone(&error), Instant::now() + PAUSE);
        error
    }

    /// A poisoned lock means that a thread panicked between two plain assignments; the state is still whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, Reading> {
        lock(&self.reading)
    }
}

async fn wait_for(flight: Flight<HeaderToken>) -> FlightResult<HeaderToken> {
    let failed = |kind, message: &str| Err(Arc::new(TokenError::new(kind, message)));
    match tokio::time::timeout(WAIT, flight.result()).await {
        Ok(Some(result)) => result,
        Ok(None) => failed(TokenErrorKind::Cancelled, "the reading of the secret was ended by the shutdown"),
        Err(_elapsed) => failed(TokenErrorKind::Timeout, "the secret has not been read yet"),
    }
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixed").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "fixed_tests.rs"]
mod tests;
