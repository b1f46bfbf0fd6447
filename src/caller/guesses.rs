//! Wrong passwords, counted by where they come from and for whom. Beyond a bound passwords are not looked at from there for a
//! while, so that many cannot be tried. A caller that has been let in from there before, with the same password, still is: a program
//! with an old password, or one that guesses, locks out no neighbour at the same address.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::listen::{CallerAt, Place};
use crate::rate::RateLimit;

/// Wrong passwords for one name from one place: so many at once, then one a second. Whether there is such a caller makes no
/// difference.
const FOR_A_NAME: (u32, u32) = (1, 10);

/// The same for all names together: names can be guessed too.
const FROM_A_PLACE: (u32, u32) = (10, 100);

/// A bound that nothing is taken from is full again after this: the quotient of each of the above.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Places and names that are remembered; those that come most often stay among them.
const REMEMBERED: usize = 10_000;

/// What is remembered of attempts on one listener.
#[derive(Debug)]
pub(crate) struct Guesses {
    start: Instant,
    hasher: RandomState,
    /// There may be something to look at: where nobody guesses, nothing is looked up and no clock is read.
    any: AtomicBool,
    /// Milliseconds from the start, until which there is.
    until: AtomicU64,
    names: Cache<(Place, u64), Arc<RateLimit>>,
    places: Cache<Place, Arc<RateLimit>>,
    /// What was right the last time, as a digest.
    right: Cache<(Place, u64), [u8; 32]>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            hasher: RandomState::new(),
            any: AtomicBool::new(false),
            until: AtomicU64::new(0),
            names: Cache::new(REMEMBERED),
            places: Cache::new(REMEMBERED),
            right: Cache::new(REMEMBERED),
        }
    }
}

impl Guesses {
    /// Whether a password, by its digest, may be looked at now.
    ///
    /// # Errors
    /// How long until then.
    pub(crate) fn may_try(&self, from: CallerAt<'_>, name: &str, digest: &[u8; 32]) -> Result<(), Duration> {
        if !self.any.load(Ordering::Relaxed) || self.is_over() {
            return Ok(());
        }
        let (place, name) = (from.address.place(), self.hasher.hash_one(name));
        let over = |limit: Option<Arc<RateLimit>>| limit.map_or(Ok(()), |limit| limit.wait());
        let Err(after) = over(self.places.get(&place)).and_then(|()| over(self.names.get(&(place, name)))) else {
            return Ok(());
        };
        let known = self.right.get(&(place, name));
        let same = |right: [u8; 32]| aws_lc_rs::constant_time::verify_slices_are_equal(&right, digest).is_ok();
        if known.is_some_and(same) { Ok(()) } else { Err(after) }
    }

    pub(crate) fn was_wrong(&self, from: CallerAt<'_>, name: &str) {
        let (place, name) = (from.address.place(), self.hasher.hash_one(name));
        let limit = |(per_second, burst)| Arc::new(RateLimit::with_burst(per_second, burst));
        let made = |bound| move || Ok::<_, std::convert::Infallible>(limit(bound));
        let Ok(of_place) = self.places.get_or_insert_with(&place, made(FROM_A_PLACE));
        let Ok(of_name) = self.names.get_or_insert_with(&(place, name), made(FOR_A_NAME));
        // At the bound there is nothing more to take: the next attempt is told so.
        let _full = (of_place.admit(), of_name.admit());
        self.until.fetch_max(self.millis() + millis(FORGOTTEN), Ordering::Relaxed);
        self.any.store(true, Ordering::Relaxed);
    }

    /// This one was right. Once for each connection is enough, where that is one caller's.
    pub(crate) fn was_right(&self, from: CallerAt<'_>, name: &str, digest: &[u8; 32]) {
        if from.is_one_of_many() || from.connection.is_first_proof() {
            let caller = (from.address.place(), self.hasher.hash_one(name));
            // Nearly always it is known, and looking it up shuts nobody out.
            if self.right.get(&caller) != Some(*digest) {
                self.right.insert(caller, *digest);
            }
        }
    }

    /// True once all of it is long ago.
    fn is_over(&self) -> bool {
        let over = self.millis() > self.until.load(Ordering::Relaxed);
        if over {
            // A guess at this very moment sets it again, or is one that is not counted against the next.
            self.any.store(false, Ordering::Relaxed);
        }
        over
    }

    fn millis(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::{CallerAddress, CallerConnection, Peer};
    use prometheus_client::metrics::gauge::Gauge;

    fn from(address: &str) -> CallerConnection {
        CallerConnection::new(Peer::Address(address.parse().unwrap()), None, None, Gauge::default())
    }

    #[test]
    fn one_name_is_guessed_ten_times_and_then_once_a_second() {
        let (guesses, here) = (Guesses::default(), from("10.0.0.1:1"));
        for _ in 0..10 {
            assert_eq!(guesses.may_try(here.as_caller(), "one", &[1; 32]), Ok(()));
            guesses.was_wrong(here.as_caller(), "one");
        }
        let after = guesses.may_try(here.as_caller(), "one", &[1; 32]).unwrap_err();
        assert!(after > Duration::from_millis(500) && after <= Duration::from_secs(1), "{after:?}");
        assert!(
            guesses.may_try(from("10.0.0.1:2").as_caller(), "one", &[1; 32]).is_err(),
            "another port is the same place"
        );
        assert_eq!(guesses.may_try(from("10.0.0.2:1").as_caller(), "one", &[1; 32]), Ok(()), "another place");
        assert_eq!(
            guesses.may_try(here.as_caller(), "two", &[1; 32]),
            Ok(()),
            "another name, whether it is known or not"
        );
    }

    #[test]
    fn names_are_guessed_a_hundred_times_and_then_ten_times_a_second() {
        let (guesses, here) = (Guesses::default(), from("10.0.0.1:1"));
        for number in 0..100 {
            assert_eq!(guesses.may_try(here.as_caller(), &number.to_string(), &[1; 32]), Ok(()), "{number}");
            guesses.was_wrong(here.as_caller(), &number.to_string());
        }
        assert!(guesses.may_try(here.as_caller(), "fresh", &[1; 32]).is_err());
    }

    #[test]
    fn what_was_right_from_there_before_is_looked_at_whatever_others_try() {
        let (guesses, good) = (Guesses::default(), from("10.0.0.1:1"));
        guesses.was_right(good.as_caller(), "one", &[7; 32]);
        for _ in 0..300 {
            guesses.was_wrong(from("10.0.0.1:2").as_caller(), "one");
        }
        let again = from("10.0.0.1:3");
        assert_eq!(guesses.may_try(again.as_caller(), "one", &[7; 32]), Ok(()));
        assert!(guesses.may_try(again.as_caller(), "one", &[8; 32]).is_err(), "and nothing else is");
        assert!(guesses.may_try(again.as_caller(), "two", &[7; 32]).is_err(), "for no other name");
    }

    #[test]
    fn where_nobody_has_guessed_for_a_while_nothing_is_looked_up() {
        let (guesses, here) = (Guesses::default(), from("10.0.0.1:1"));
        guesses.was_wrong(here.as_caller(), "one");
        assert!(guesses.any.load(Ordering::Relaxed));
        guesses.until.store(0, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(guesses.may_try(here.as_caller(), "one", &[1; 32]), Ok(()));
        assert!(!guesses.any.load(Ordering::Relaxed));
    }

    #[test]
    fn of_a_connection_that_carries_many_callers_each_is_remembered() {
        let (guesses, proxy) = (Guesses::default(), from("10.0.0.1:1"));
        let through = |ip: &str| CallerAt { connection: &proxy, address: CallerAddress::Ip(ip.parse().unwrap()) };
        for ip in ["192.0.2.1", "192.0.2.2"] {
            guesses.was_right(through(ip), "one", &[7; 32]);
            for _ in 0..20 {
                guesses.was_wrong(through(ip), "one");
            }
            assert_eq!(guesses.may_try(through(ip), "one", &[7; 32]), Ok(()), "{ip}");
            assert!(guesses.may_try(through(ip), "one", &[8; 32]).is_err(), "{ip}");
            guesses.was_right(through(ip), "one", &[9; 32]);
            assert_eq!(guesses.may_try(through(ip), "one", &[9; 32]), Ok(()), "{ip} has another password now");
        }
        assert_eq!(guesses.may_try(through("192.0.2.3"), "one", &[8; 32]), Ok(()), "nobody guesses there");
    }
}
