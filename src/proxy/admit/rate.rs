//! How much may be asked, in all and by each caller. Answered with 429, before anything is spent on the request.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::listen::{CallerAddress, CallerAt, Place};
use crate::proxy::error::ProxyError;
use crate::rate::RateLimit;

/// Callers whose rate is remembered; those that ask most stay among them.
const CALLERS: usize = 10_000;

/// `limits.requests_per_second`, `limits.requests_per_second_per_caller` and `limits.body_bytes`.
#[derive(Debug)]
pub(crate) struct Admission {
    all: Option<RateLimit>,
    callers: Option<Callers>,
    /// The longest request body.
    pub(in crate::proxy) body_bytes: Option<u64>,
}

#[derive(Debug)]
struct Callers {
    per_second: u32,
    buckets: Cache<Who, Arc<RateLimit>>,
}

/// Who asks: by name where it has proven one, else by where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Name(Box<str>),
    At(Place),
}

impl Admission {
    /// With these limits; `None` is no limit.
    #[must_use]
    pub(crate) fn new(all: Option<u32>, per_caller: Option<u32>, body_bytes: Option<u64>) -> Self {
        let callers = per_caller.map(|per_second| Callers { per_second, buckets: Cache::new(CALLERS) });
        Self { all: all.map(RateLimit::new), callers, body_bytes }
    }

    /// Takes one request's worth.
    pub(in crate::proxy) fn admit(&self, caller: Option<&str>, from: CallerAt<'_>) -> Result<(), ProxyError> {
        if from.connection.is_over() {
            return Err(ProxyError::too_many_connections());
        }
        // The caller's own first: what it may not have is not taken from the others.
        if let Some(callers) = &self.callers {
            callers.admit(caller, from.address).map_err(|after| ProxyError::too_many_requests(PER_CALLER, after))?;
        }
        match &self.all {
            Some(rate) => rate.admit().map_err(|after| ProxyError::too_many_requests(IN_ALL, after)),
            None => Ok(()),
        }
    }
}

const IN_ALL: &str = "limits.requests_per_second";
const PER_CALLER: &str = "limits.requests_per_second_per_caller";

impl Callers {
    fn admit(&self, caller: Option<&str>, address: CallerAddress) -> Result<(), Duration> {
        let who = caller.map_or_else(|| Who::At(address.place()), |name| Who::Name(name.into()));
        let made = || Ok::<_, std::convert::Infallible>(Arc::new(RateLimit::new(self.per_second)));
        let Ok(bucket) = self.buckets.get_or_insert_with(&who, made);
        bucket.admit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_have_a_rate_each() {
        let callers = Callers { per_second: 1, buckets: Cache::new(10) };
        let at = |text: &str| CallerAddress::Socket(text.parse().unwrap());
        assert!(callers.admit(None, at("10.0.0.1:1")).is_ok());
        assert!(callers.admit(None, at("10.0.0.1:2")).is_err(), "another port is the same caller");
        assert!(callers.admit(None, at("10.0.0.2:1")).is_ok());
        assert!(callers.admit(Some("job"), at("10.0.0.1:3")).is_ok(), "a name is a caller of its own");
        assert!(callers.admit(Some("job"), at("10.0.0.9:3")).is_err(), "wherever it comes from");
        assert!(callers.admit(None, CallerAddress::User(Some(7))).is_ok());
        assert!(callers.admit(None, at("[2001:db8::1]:1")).is_ok());
        assert!(callers.admit(None, at("[2001:db8::2]:1")).is_err(), "one machine has a whole /64");
    }
}
