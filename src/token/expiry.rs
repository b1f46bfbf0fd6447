//! How long a token may be used, and when its successor is asked for.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::clock::Now;
use super::settings::RefreshSettings;
use super::source::{Expires, FetchedToken};

/// Below this lifetime a token is replaced at half its life.
const SHORT: Duration = Duration::from_secs(120);
/// A successor is asked for at least this long before expiry.
const LEAD: Duration = Duration::from_secs(60);
/// A token is not put on a request in its last two seconds: the request has to arrive while it is valid.
const MARGIN: Duration = Duration::from_secs(2);

/// The moments of one token's life, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expiry {
    /// The lifetime the server gave.
    pub(crate) lifetime: Duration,
    /// When the server stops accepting it.
    pub(crate) expires_at: Instant,
    /// When a successor is asked for; `None`: only when this one is gone.
    pub(crate) refresh_at: Option<Instant>,
    unusable_at: Instant,
    unusable_at_wall: SystemTime,
}

impl Expiry {
    /// Works out a token's life from the server's words, counted from when the request was sent; by then it was `age` old.
    /// (There is no moment for its beginning: that may lie before the monotonic clock's own.) `jitter` is in 0..=1.
    #[must_use]
    pub(crate) fn new(
        said: Expires,
        (requested_at, age): (Instant, Duration),
        now: Now,
        settings: &RefreshSettings,
        jitter: f64,
    ) -> Self {
        let elapsed = now.instant.saturating_duration_since(requested_at);
        let lifetime = match said {
            Expires::In(lifetime) => lifetime,
            // `exp` is on the server's wall clock; from here on only the duration counts.
            Expires::At(at) => at.duration_since(now.wall).map_or(Duration::ZERO, |left| left + elapsed + age),
            Expires::Unsaid => settings.default_lifetime,
        };
        let usable = lifetime.saturating_sub(margin(lifetime));
        let from_request = |life: Duration| life.saturating_sub(age);
        let refresh_after = |ahead| refresh_after(lifetime, ahead, jitter).min(usable);
        Self {
            lifetime,
            expires_at: requested_at + from_request(lifetime),
            refresh_at: settings.ahead.map(|ahead| requested_at + from_request(refresh_after(ahead))),
            unusable_at: requested_at + from_request(usable),
            unusable_at_wall: now.wall - elapsed + from_request(usable),
        }
    }

    /// The life of a token that came, of which `not_after` may leave less than the server's word.
    pub(crate) fn of(fetched: &FetchedToken, now: Now, settings: &RefreshSettings, jitter: f64) -> Self {
        let said = match fetched.not_after {
            None => fetched.expires,
            Some(end) => {
                let elapsed = now.instant.saturating_duration_since(fetched.requested_at);
                let left = end.duration_since(now.wall).unwrap_or_default() + elapsed + fetched.age;
                match fetched.expires {
                    Expires::In(lifetime) => Expires::In(lifetime.min(left)),
                    Expires::At(at) => Expires::At(at.min(end)),
                    Expires::Unsaid => Expires::In(settings.default_lifetime.min(left)),
                }
            }
        };
        Self::new(said, (fetched.requested_at, fetched.age), now, settings, jitter)
    }

    /// The same life, whose successor is asked for so much later, but while it can be used.
    #[must_use]
    pub(crate) fn refreshed_later(self, by: Duration) -> Self {
        Self { refresh_at: self.refresh_at.map(|at| (at + by).min(self.unusable_at)), ..self }
    }

    /// Until the token may not be put on a request any more.
    #[must_use]
    pub(crate) fn usable_for(&self, now: Now) -> Duration {
        let wall = self.unusable_at_wall.duration_since(now.wall).unwrap_or(Duration::ZERO);
        self.unusable_at.saturating_duration_since(now.instant).min(wall)
    }

    /// The same life, whose successor is asked for when it is over: nobody hands one out before.
    #[must_use]
    pub(crate) fn without_refresh_ahead(self) -> Self {
        Self { refresh_at: self.refresh_at.map(|_| self.unusable_at), ..self }
    }

    /// True while the token may be put on a request: both clocks say so.
    #[must_use]
    pub(crate) fn is_usable(&self, now: Now) -> bool {
        now.instant < self.unusable_at && now.wall < self.unusable_at_wall
    }

    /// What is left until the server stops accepting it.
    #[must_use]
    pub(crate) fn remaining(&self, now: Now) -> Duration {
        let wall = self.unusable_at_wall.duration_since(now.wall).unwrap_or(Duration::ZERO) + margin(self.lifetime);
        self.expires_at.saturating_duration_since(now.instant).min(wall)
    }
}

/// The last 2 s or 1 % of a life, whichever is longer, but at most half of it.
fn margin(lifetime: Duration) -> Duration {
    MARGIN.max(lifetime / 100).min(lifetime / 2)
}

/// The fraction at the latest, at least a minute before the end, half-way for short lives; up to 20 % earlier, so that
/// many credentials obtained at one time are not renewed at one time.
fn refresh_after(lifetime: Duration, ahead: f64, jitter: f64) -> Duration {
    let latest =
        if lifetime < SHORT { lifetime / 2 } else { lifetime.mul_f64(ahead).min(lifetime.saturating_sub(LEAD)) };
    latest.mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::*;
    use proptest::prelude::*;

    fn expiry(said: Expires, jitter: f64) -> (Expiry, Now) {
        let now = Clock::system().now();
        (Expiry::new(said, (now.instant, Duration::ZERO), now, &RefreshSettings::default(), jitter), now)
    }

    fn later(now: Now, seconds: f64) -> Now {
        let by = Duration::from_secs_f64(seconds);
        Now { instant: now.instant + by, wall: now.wall + by }
    }

    #[test]
    fn a_token_is_not_used_in_its_last_two_seconds_or_its_last_hundredth() {
        let (hour, now) = expiry(Expires::In(Duration::from_secs(3600)), 0.0);
        assert!(hour.is_usable(later(now, 3563.0)));
        assert!(!hour.is_usable(later(now, 3565.0)));
        let (minute, now) = expiry(Expires::In(Duration::from_secs(60)), 0.0);
        assert!(minute.is_usable(later(now, 57.9)));
        assert!(!minute.is_usable(later(now, 58.1)));
        let (short, now) = expiry(Expires::In(Duration::from_secs(2)), 0.0);
        assert!(short.is_usable(later(now, 0.9)));
        assert!(!short.is_usable(later(now, 1.1)));
    }

    #[test]
    fn a_suspended_machine_or_a_wall_clock_set_back_never_extends_a_token() {
        let (token, now) = expiry(Expires::In(Duration::from_secs(100)), 0.0);
        let slept = Now { instant: now.instant, wall: now.wall + Duration::from_secs(200) };
        assert!(!token.is_usable(slept));
        let set_back =
            Now { instant: now.instant + Duration::from_secs(200), wall: now.wall - Duration::from_secs(3600) };
        assert!(!token.is_usable(set_back));
    }

    #[test]
    fn a_jwt_expiry_in_the_past_and_a_zero_lifetime_are_never_usable() {
        let (zero, now) = expiry(Expires::In(Duration::ZERO), 0.0);
        assert!(!zero.is_usable(now));
        let (past, now) = expiry(Expires::At(SystemTime::UNIX_EPOCH), 0.0);
        assert!(!past.is_usable(now));
    }

    #[test]
    fn an_unsaid_lifetime_is_the_configured_default() {
        assert_eq!(expiry(Expires::Unsaid, 0.0).0.lifetime, Duration::from_secs(300));
    }

    #[test]
    fn a_slow_answer_does_not_extend_the_token() {
        let now = Clock::system().now();
        let requested_at = now.instant - Duration::from_secs(30);
        let settings = RefreshSettings::default();
        let token =
            Expiry::new(Expires::In(Duration::from_secs(60)), (requested_at, Duration::ZERO), now, &settings, 0.0);
        assert!(token.is_usable(later(now, 27.0)));
        assert!(!token.is_usable(later(now, 29.0)));
    }

    #[test]
    fn a_token_is_over_at_the_latest_when_what_it_was_obtained_for_is() {
        let now = Clock::system().now();
        let at = |seconds| now.wall + Duration::from_secs(seconds);
        let lives = |expires, end: Option<u64>| {
            let fetched =
                FetchedToken { expires, not_after: end.map(at), ..super::super::testing::fetched(now.instant) };
            Expiry::of(&fetched, now, &RefreshSettings::default(), 0.0).lifetime.as_secs()
        };
        let hour = Expires::In(Duration::from_secs(3600));
        assert_eq!([lives(hour, None), lives(hour, Some(60)), lives(hour, Some(7200))], [3600, 60, 3600]);
        assert_eq!([lives(Expires::At(at(600)), Some(60)), lives(Expires::At(at(60)), Some(600))], [60, 60]);
        assert_eq!([lives(Expires::Unsaid, Some(60)), lives(Expires::Unsaid, Some(7200))], [60, 300]);
    }

    #[test]
    fn a_token_that_was_obtained_before_lives_for_what_is_left_and_is_replaced_when_the_others_replace_it() {
        let now = Clock::system().now();
        let (settings, hour) = (RefreshSettings::default(), Expires::In(Duration::from_secs(3600)));
        let of = |age| Expiry::new(hour, (now.instant, Duration::from_secs(age)), now, &settings, 0.5);
        let (new, old) = (of(0), of(1800));
        assert!(old.is_usable(later(now, 1763.0)) && !old.is_usable(later(now, 1765.0)));
        assert_eq!((old.lifetime, old.remaining(now).as_secs()), (new.lifetime, 1800));
        assert_eq!(new.refresh_at.unwrap() - old.refresh_at.unwrap(), Duration::from_secs(1800));
        assert_eq!((of(4000).refresh_at, of(4000).is_usable(now)), (Some(now.instant), false));
    }

    proptest! {
        #[test]
        fn refresh_comes_while_the_token_is_usable_and_never_late(seconds in 1_u32..1_000_000, jitter in 0.0..=1.0_f64) {
            let (token, now) = expiry(Expires::In(Duration::from_secs(seconds.into())), jitter);
            let after = token.refresh_at.unwrap().duration_since(now.instant).as_secs_f64();
            let life = f64::from(seconds);
            prop_assert!(after <= life * 0.8 + 0.001);
            prop_assert!(after >= life * 0.4 * 0.8 - 0.001 || life - 60.0 < life * 0.5);
            if seconds >= 120 { prop_assert!(after <= life - 60.0 + 0.001) } else { prop_assert!(after <= life * 0.5 + 0.001) }
        }
    }
}
