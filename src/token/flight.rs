//! Single flight with a memory of failure: one operation at a time, whose outcome everyone who needs it shares; after a failure
//! its error is returned at once, until another try is due.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::error::TokenError;

/// What everyone who waited gets.
pub(crate) type FlightResult<T> = Result<T, Arc<TokenError>>;

/// The flight under way and the last failure. It lies behind its owner's lock: that is what makes the flight a single one.
pub(crate) struct Flights<T> {
    current: Option<Flight<T>>,
    failure: Option<(Arc<TokenError>, Instant)>,
}

/// A place among those who wait for a flight.
pub(crate) struct Flight<T>(watch::Receiver<Option<FlightResult<T>>>);

/// The flight's own end of it. Dropped without an outcome, the flight has broken off.
pub(crate) struct Completion<T>(watch::Sender<Option<FlightResult<T>>>);

impl<T> Flights<T> {
    /// Joins the flight under way, or begins one. `start` has to let it run in a task of its own, so that no caller's departure
    /// cancels it.
    pub(crate) fn join(&mut self, start: impl FnOnce(Completion<T>)) -> Flight<T> {
        // One that broke off is not joined: its runtime is shutting down, or it ended in an internal error.
        if let Some(flight) = self.current.as_ref().filter(|flight| flight.is_under_way()) {
            return flight.clone();
        }
        let (completion, flight) = watch::channel(None);
        let flight = Flight(flight);
        self.current = Some(flight.clone());
        start(Completion(completion));
        flight
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.current.as_ref().is_some_and(Flight::is_under_way)
    }

    /// The one that comes from here on joins another flight. To be called under the lock under which the outcome is taken in.
    pub(crate) fn end(&mut self) {
        self.current = None;
    }

    pub(crate) fn remember(&mut self, error: Arc<TokenError>, retry_at: Instant) {
        self.failure = Some((error, retry_at));
    }

    /// True if there was a failure.
    pub(crate) fn forget_failure(&mut self) -> bool {
        self.failure.take().is_some()
    }

    pub(crate) fn failure(&self) -> Option<&Arc<TokenError>> {
        self.failure.as_ref().map(|(error, _)| error)
    }

    /// The remembered failure while no other try is due, and the time until one is.
    pub(crate) fn fail_fast(&self, now: Instant) -> Option<(&Arc<TokenError>, Duration)> {
        let (error, retry_at) = self.failure.as_ref()?;
        let left = retry_at.checked_duration_since(now).filter(|left| !left.is_zero())?;
        Some((error, left))
    }
}

impl<T: Clone> Flight<T> {
    /// The outcome; `None` if the flight broke off.
    pub(crate) async fn result(mut self) -> Option<FlightResult<T>> {
        let landed = self.0.wait_for(Option::is_some).await;
        landed.ok().and_then(|result| result.clone())
    }
}

impl<T> Flight<T> {
    fn is_under_way(&self) -> bool {
        self.0.has_changed().is_ok()
    }
}

impl<T> Completion<T> {
    pub(crate) fn complete(self, result: FlightResult<T>) {
        self.0.send_replace(Some(result));
    }
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { current: None, failure: None }
    }
}

impl<T> Clone for Flight<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenErrorKind;

    #[tokio::test]
    async fn all_who_join_share_one_outcome() {
        let mut flights = Flights::default();
        let mut completion = None;
        let first = flights.join(|started| completion = Some(started));
        let second = flights.join(|_| panic!("there is one"));
        assert!(flights.is_under_way());
        flights.end();
        completion.unwrap().complete(Ok(7));
        assert_eq!((first.result().await.unwrap().unwrap(), second.result().await.unwrap().unwrap()), (7, 7));
        assert!(!flights.is_under_way());
    }

    #[tokio::test]
    async fn a_flight_that_broke_off_says_so_and_is_not_joined() {
        let mut flights: Flights<u8> = Flights::default();
        let broken = flights.join(drop);
        assert!(broken.result().await.is_none() && !flights.is_under_way());
        let mut started = false;
        flights.join(|_| started = true);
        assert!(started);
    }

    #[test]
    fn a_failure_is_remembered_until_another_try_is_due() {
        let mut flights: Flights<u8> = Flights::default();
        let now = Instant::now();
        flights.remember(Arc::new(TokenError::new(TokenErrorKind::Transient, "down")), now + Duration::from_secs(2));
        let left =
            |flights: &Flights<u8>, after| flights.fail_fast(now + Duration::from_secs(after)).map(|(_, left)| left);
        assert_eq!((left(&flights, 1), left(&flights, 2)), (Some(Duration::from_secs(1)), None));
        assert!(flights.failure().is_some() && flights.forget_failure() && !flights.forget_failure());
        assert_eq!(left(&flights, 0), None);
    }
}
