//! Token requests as they are sent: within the budget, counted and measured, and judged when they have been answered.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::budget::{Admission, Budget, Spent};
use super::clock::Clock;
use super::control;
use super::delay::whole_seconds;
use super::error::{About, TokenError, TokenErrorKind};
use super::expiry::Expiry;
use super::metrics::{SUCCESS, TokenMetrics, TokenRequestEnd};
use super::settings::RefreshSettings;
use super::skew::{FAR_OFF, clock_skew, skew_in_words};
use super::source::Ask;
use super::source::{Expires, FetchedToken, Fetching, TokenSource};

/// What a server's `Retry-After` may ask for: none, or a time long past, would have us ask in a loop, and a server that
/// asks for more patience than an hour is asked again anyway.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A source whose every request is a request to the authorization server.
pub(crate) struct TokenRequests {
    name: String,
    source: Box<dyn TokenSource>,
    settings: RefreshSettings,
    spent: Spent,
    clock: Clock,
    metrics: TokenMetrics,
    /// The fingerprint of the newest token that could be used when it came.
    lived: Mutex<Option<[u8; 32]>>,
}

impl TokenRequests {
    /// Of the credential `name`; `spent` is what of its budget is used up already.
    #[must_use]
    pub(crate) fn new(
        name: &str,
        source: Box<dyn TokenSource>,
        settings: RefreshSettings,
        spent: Spent,
        clock: Clock,
        metrics: TokenMetrics,
    ) -> Self {
        Self { name: name.to_owned(), source, settings, spent, clock, metrics, lived: Mutex::default() }
    }

    /// Counts a request that is about to be sent, or says when there will be room for it.
    ///
    /// # Errors
    /// About [`About::Budget`].
    pub(crate) fn admit(&self) -> Result<(), TokenError> {
        self.settings.budget.map_or(Ok(()), |budget| self.admit_within(budget))
    }

    /// The same for one of so many replicas, each of which has its part of the budget.
    ///
    /// # Errors
    /// About [`About::Budget`].
    pub(crate) fn admit_one_of(&self, replicas: u32) -> Result<(), TokenError> {
        let part = |budget: Budget| Budget { requests: (budget.requests / replicas.max(1)).max(1), ..budget };
        self.settings.budget.map_or(Ok(()), |budget| self.admit_within(part(budget)))
    }

    fn admit_within(&self, budget: Budget) -> Result<(), TokenError> {
        match self.spent.admit(budget, self.clock.now().instant) {
            Admission::Granted { tell: None } => Ok(()),
            Admission::Granted { tell: Some(used) } => {
                self.tell_used(used);
                Ok(())
            }
            Admission::Spent(wait) => Err(self.withheld(wait)),
        }
    }

    /// Counts a request that has been admitted elsewhere.
    pub(crate) fn note(&self, used: u32) {
        let Some(budget) = self.settings.budget else { return };
        if let Some(used) = self.spent.note(budget, used, self.clock.now().instant) {
            self.tell_used(used);
        }
    }

    fn tell_used(&self, used: u32) {
        let budget = self.settings.budget.map(|budget| budget.to_string()).unwrap_or_default();
        tracing::warn!(target: "attache::token", credential = %self.name, used, budget, "four fifths of the token budget are used; no token request is sent when all of it is");
    }

    /// There is room in the budget after this time, and not before.
    pub(crate) fn withheld(&self, wait: Duration) -> TokenError {
        self.metrics.withheld(&self.name);
        let budget = self.settings.budget.map(|budget| budget.to_string()).unwrap_or_default();
        let message = format!(
            "the token budget of {budget} is spent, so no token request was sent; the next one may be in {} s (raise `budget` if that is too long)",
            whole_seconds(wait)
        );
        TokenError::new(TokenErrorKind::Transient, message).about(About::Budget).with_retry_after(Some(wait))
    }

    /// Sends one request, which has been admitted.
    ///
    /// # Errors
    /// What came instead of a token; a token whose life is over when it comes.
    pub(crate) async fn send(&self, ask: Ask) -> Result<FetchedToken, TokenError> {
        let start = Instant::now();
        // A panic in a source must not leave a flight that never lands; `fetch` itself is called inside for that reason.
        let fetch = AssertUnwindSafe(async { self.source.fetch(ask).await });
        let result = fetch.catch_unwind().await.unwrap_or_else(|_| {
            Err(TokenError::new(TokenErrorKind::Transient, "the token request ended in an internal error"))
        });
        let result = result.and_then(|fetched| self.judge(fetched));
        self.metrics.record(&TokenRequestEnd {
            credential: &self.name,
            took: start.elapsed(),
            outcome: result.as_ref().map_or_else(|error| error.kind.as_str(), |_| SUCCESS),
            server: self.source.server(),
            status: result.as_ref().map_or_else(|error| error.status, |fetched| fetched.detail.status),
        });
        result.map_err(|mut error| {
            error.retry_after = error.retry_after.map(|asked| asked.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER));
            error
        })
    }

    /// A server may return the token that was good before at its very end: the end is waited for then, so that is no failure.
    fn judge(&self, fetched: FetchedToken) -> Result<FetchedToken, TokenError> {
        let fingerprint = fetched.access_token.fingerprint();
        if *control::lock(&self.lived) == Some(fingerprint) {
            return Ok(fetched);
        }
        let now = self.clock.now();
        let fetched = still_alive(fetched, &self.settings, &self.clock)?;
        if Expiry::of(&fetched, now, &self.settings, 0.0).is_usable(now) {
            *control::lock(&self.lived) = Some(fingerprint);
        }
        Ok(fetched)
    }
}

impl TokenSource for TokenRequests {
    fn fetch(&self, ask: Ask) -> Fetching<'_> {
        Box::pin(async move {
            self.admit()?;
            self.send(ask).await
        })
    }
}

impl std::fmt::Debug for TokenRequests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRequests").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Refuses a token whose time is over when it comes. Only one that its own server gives no life (`expires_in` of zero
/// or less) goes to those who wait for it.
pub(super) fn still_alive(
    fetched: FetchedToken,
    settings: &RefreshSettings,
    clock: &Clock,
) -> Result<FetchedToken, TokenError> {
    let now = clock.now();
    let expiry = Expiry::of(&fetched, now, settings, 0.0);
    match fetched.expires {
        _ if expiry.is_usable(now) => Ok(fetched),
        Expires::In(Duration::ZERO) => Ok(fetched),
        Expires::At(at) if at <= now.wall => {
            let skew = fetched.server_date.map(|date| clock_skew(date, fetched.requested_at));
            let clocks = match skew {
                Some(seconds) if seconds.unsigned_abs() >= FAR_OFF => skew_in_words(seconds),
                _ => "the clocks of this machine and of the authorization server may differ".to_owned(),
            };
            let message = format!("the access token that came has expired already, by its own exp; {clocks}");
            Err(TokenError { clock_skew: skew, ..TokenError::new(TokenErrorKind::InvalidResponse, message) })
        }
        Expires::In(_) | Expires::At(_) | Expires::Unsaid => {
            let (took, life) = (now.instant.saturating_duration_since(fetched.requested_at), expiry.lifetime);
            let message = format!(
                "the access token came when its life was over or nearly so: it lives for {:.1} s, and the answer took {:.1} s",
                life.as_secs_f64(),
                took.as_secs_f64()
            );
            Err(TokenError::new(TokenErrorKind::Transient, message))
        }
    }
}
