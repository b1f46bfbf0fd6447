//! From a name to its addresses, as this machine resolves names: by getaddrinfo, with its hosts file, its search domains and
//! whatever its administrator has put in between. That call blocks, cannot be interrupted, and takes ten seconds and more
//! where no name server answers, so what it runs on is shared by nobody who could be held up:
//!
//! - one lookup for each name at a time, which all share who want it, and which goes on when they leave;
//! - names from the configuration have threads of their own, one for each if need be; names that callers choose share a few for
//!   each upstream that takes them, and what the configuration needs never waits for those;
//! - the last good answer is used where a new one does not come.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::error::{DialError, DialErrorKind};
use crate::blocking::BlockingPool;
use crate::sync::lock;

/// How long an answer counts without asking again. A change is seen by the next connection, and a burst of connections asks
/// once.
const FRESH: Duration = Duration::from_secs(1);

/// How long the last good answer is used where a lookup fails or does not end.
const STALE: Duration = Duration::from_secs(60 * 60);

/// How long a new answer is waited for where there is an older one.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(500);

/// Threads for names of the configuration, which has seldom so many.
const CONFIGURED: usize = 512;

/// Threads for the names that callers of one upstream choose.
const CHOSEN: usize = 32;

/// So many names are remembered in one place, and as many may wait.
const NAMES: usize = 1024;

/// What becomes of a lookup.
type Outcome = Result<Arc<[IpAddr]>, Arc<str>>;

/// Takes the addresses of a name in, or why there are none.
type Land = Box<dyn FnOnce(io::Result<Vec<IpAddr>>) + Send>;

/// How a name is looked up: once it can begin, and if it is `wanted` by then. Answers by `land`, from whichever thread, if ever.
trait Lookup: Send + Sync {
    fn begin(&self, name: &str, wanted: Wanted, land: Land) -> io::Result<()>;
}

/// Asked once, when a lookup could begin: false where everybody who waited for it has left.
type Wanted = Box<dyn FnOnce() -> bool + Send>;

/// The system's own lookup, on threads of its own.
struct System(Arc<BlockingPool>);

/// Names that are looked up in one place: with the same threads, and with one memory.
#[derive(Clone)]
pub(crate) struct Names {
    lookup: Arc<dyn Lookup>,
    known: Arc<Mutex<HashMap<Box<str>, Known>>>,
}

#[derive(Default)]
struct Known {
    answer: Option<Answer>,
    flight: Option<Flight>,
    /// It has been said that the last good answer stands in for a new one.
    warned: bool,
}

struct Answer {
    addresses: Arc<[IpAddr]>,
    /// When it was asked for.
    at: Instant,
}

struct Flight {
    landing: watch::Sender<Option<Outcome>>,
    began: Instant,
}

/// What there is to go by at this moment.
enum Found {
    Fresh(Arc<[IpAddr]>),
    Asked { landing: watch::Receiver<Option<Outcome>>, began: Instant, last: Option<Arc<[IpAddr]>> },
}

impl Names {
    /// Those that the configuration says, of the whole process.
    #[must_use]
    pub(crate) fn configured() -> &'static Self {
        static CONFIGURED_NAMES: LazyLock<Names> = LazyLock::new(|| Names::on_threads("attache-names", CONFIGURED));
        &CONFIGURED_NAMES
    }

    /// A place for names that callers choose, apart from all others.
    #[must_use]
    pub(crate) fn chosen_by_callers() -> Self {
        Self::on_threads("attache-hosts", CHOSEN)
    }

    fn on_threads(name: &'static str, most: usize) -> Self {
        Self::by(Arc::new(System(BlockingPool::new(name, most))))
    }

    fn by(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup, known: Arc::default() }
    }

    /// The addresses of a name, in the system's order. Its time is bounded by the task that waits.
    ///
    /// # Errors
    /// A name that does not resolve and has not lately.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Arc<[IpAddr]>, DialError> {
        let (mut landing, began, last) = match self.find(name)? {
            Found::Fresh(addresses) => return Ok(addresses),
            Found::Asked { landing, began, last } => (landing, began, last),
        };
        let Some(last) = last else { return landed(name, &mut landing).await };
        let left = (began + REFRESH_TIMEOUT).saturating_duration_since(Instant::now());
        let why = match tokio::time::timeout(left, landed(name, &mut landing)).await {
            Ok(Ok(addresses)) => return Ok(addresses),
            Ok(Err(error)) => error.detail,
            Err(_elapsed) => format!("the name {name} is not resolved at once"),
        };
        self.warn_once(name, &why);
        Ok(last)
    }

    /// True if this name is being looked up, and nothing is known of it yet: who waited for it waited for the name servers.
    #[must_use]
    pub(crate) fn is_silent(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|known| known.flight.is_some() && known.last(Instant::now()).is_none())
    }

    /// A fresh answer, or a place among those who wait for the lookup, which is begun if there is none.
    fn find(&self, name: &str) -> Result<Found, DialError> {
        let now = Instant::now();
        let (send, found) = {
            let mut known = self.lock();
            if !known.contains_key(name) {
                make_room(&mut known, name)?;
                known.insert(name.into(), Known::default());
            }
            let known = known.entry(name.into()).or_default();
            if let Some(answer) = known.answer.as_ref().filter(|answer| now < answer.at + FRESH) {
                return Ok(Found::Fresh(Arc::clone(&answer.addresses)));
            }
            let last = known.last(now);
            if let Some(Flight { landing, began }) = &known.flight {
                return Ok(Found::Asked { landing: landing.subscribe(), began: *began, last });
            }
            let (send, receive) = watch::channel(None);
            known.flight = Some(Flight { landing: send.clone(), began: now });
            (send, Found::Asked { landing: receive, began: now, last })
        };
        // Outside of the lock: a thread is started for it.
        let (names, of) = (self.clone(), Box::<str>::from(name));
        let wanted = move || names.is_wanted(&of);
        let (names, of) = (self.clone(), Box::<str>::from(name));
        let land = move |answer| names.land(&of, &send, answer, now);
        if let Err(error) = self.lookup.begin(name, Box::new(wanted), Box::new(land)) {
            let mut all = self.lock();
            let last = all.get_mut(name).and_then(|known| {
                known.flight = None;
                known.last(now)
            });
            if let Some(last) = last {
                drop(all);
                self.warn_once(name, &error.to_string());
                return Ok(Found::Fresh(last));
            }
            all.remove(name);
            let detail = format!("the name {name} cannot be looked up: {error}");
            return Err(DialError::new(DialErrorKind::DnsError, detail));
        }
        Ok(found)
    }

    /// Calls the lookup off if nobody waits for it. Decided under the lock, under which others join.
    fn is_wanted(&self, name: &str) -> bool {
        let mut all = self.lock();
        let Some(known) = all.get_mut(name) else { return false };
        let wanted = known.flight.as_ref().is_some_and(|flight| flight.landing.receiver_count() > 0);
        if !wanted {
            known.flight = None;
            if known.answer.is_none() {
                all.remove(name);
            }
        }
        wanted
    }

    fn land(
        &self,
        name: &str,
        landing: &watch::Sender<Option<Outcome>>,
        answer: io::Result<Vec<IpAddr>>,
        asked_at: Instant,
    ) {
        let outcome: Outcome = match answer {
            Ok(addresses) if addresses.is_empty() => Err("it has no address".into()),
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(error.to_string().into()),
        };
        {
            let mut all = self.lock();
            if let Some(known) = all.get_mut(name) {
                known.flight = None;
                match &outcome {
                    Ok(addresses) => {
                        known.answer = Some(Answer { addresses: Arc::clone(addresses), at: asked_at });
                        known.warned = false;
                    }
                    // Nothing is worth remembering of a name that has never resolved.
                    Err(_) if known.answer.is_none() => drop(all.remove(name)),
                    Err(_) => {}
                }
            }
        }
        // Nobody may be waiting any more.
        landing.send_replace(Some(outcome));
    }

    fn warn_once(&self, name: &str, why: &str) {
        let warned = self.lock().get_mut(name).is_some_and(|known| std::mem::replace(&mut known.warned, true));
        if !warned {
            tracing::warn!(target: "attache::dial", name, "the addresses that the name had last are used: {why}");
        }
    }

    /// No code of others runs under the lock, so that it is whole whatever happened.
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Known>> {
        lock(&self.known)
    }
}

impl Known {
    /// The last good answer, as long as it counts.
    fn last(&self, now: Instant) -> Option<Arc<[IpAddr]>> {
        let answer = self.answer.as_ref().filter(|answer| now < answer.at + STALE);
        answer.map(|answer| Arc::clone(&answer.addresses))
    }
}

/// Forgets the name that was asked for longest ago. Those that are being looked up stay.
fn make_room(known: &mut HashMap<Box<str>, Known>, name: &str) -> Result<(), DialError> {
    if known.len() < NAMES {
        return Ok(());
    }
    let idle = known.iter().filter(|(_, known)| known.flight.is_none());
    let oldest = idle.min_by_key(|(_, known)| known.answer.as_ref().map(|answer| answer.at));
    match oldest.map(|(name, _)| name.clone()) {
        Some(oldest) => {
            known.remove(&oldest);
            Ok(())
        }
        None => {
            let detail = format!("the name {name} is not looked up: {NAMES} others are waiting to be");
            Err(DialError::new(DialErrorKind::DnsError, detail))
        }
    }
}

async fn landed(name: &str, landing: &mut watch::Receiver<Option<Outcome>>) -> Result<Arc<[IpAddr]>, DialError> {
    let outcome = landing.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
    match outcome {
        Some(Ok(addresses)) => Ok(addresses),
        Some(Err(why)) => {
            Err(DialError::new(DialErrorKind::DnsError, format!("the name {name} does not resolve: {why}")))
        }
        None => Err(DialError::new(DialErrorKind::DnsError, format!("looking up the name {name} broke off"))),
    }
}

impl Lookup for System {
    fn begin(&self, name: &str, wanted: Wanted, land: Land) -> io::Result<()> {
        let name = name.to_owned();
        self.0.run(move || {
            if wanted() {
                let found = (name.as_str(), 0).to_socket_addrs();
                land(found.map(|addresses| addresses.map(|address| address.ip()).collect()));
            }
        })
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("known", &self.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
