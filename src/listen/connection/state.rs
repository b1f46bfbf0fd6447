//! The state of a caller's connection, and since when: what its deadlines go by.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::listen::settings::Limits;
use crate::listen::unreadable::Unreadable;
use crate::sync::lock;
use crate::timer::CoarseInstant;

/// The state of a connection. Atomics because hyper wants `Send` of an upgradeable connection, and because any worker may look
/// for the connection that has been idle longest; only its own thread ever changes it, save that it may be asked to go.
#[derive(Debug)]
pub(in crate::listen) struct ConnectionState {
    phase: AtomicU8,
    since: AtomicU64,
    /// Requests in progress; more than one on HTTP/2.
    busy: AtomicU64,
    /// A handler's answer has been taken and not written yet: what is written next is that, and not hyper's own.
    answering: AtomicBool,
    /// The caller does not take what is written.
    blocked: AtomicBool,
    /// The head did not come in time.
    expired: AtomicBool,
    http2: AtomicBool,
    /// The head of an HTTP/2 request has begun and not ended, since then; 0 if not.
    head_since: AtomicU64,
    switch: AtomicU8,
    /// Interim answers that wait for their turn to be written.
    has_interim: AtomicBool,
    interim: Mutex<Vec<u8>>,
    /// It ends with its next answer.
    last_answer: AtomicBool,
    /// It is asked to make room for another connection.
    asked_to_go: AtomicBool,
    /// On HTTP/1: every message that has come is whole, and all that was written is out.
    at_rest: AtomicBool,
    /// Bodies of requests that a handler has not read to their end.
    bodies: AtomicU64,
    /// Its last head could not be read.
    refused: OnceLock<Unreadable>,
}

/// A request to switch protocols (CONNECT, `Upgrade`) decides what the bytes behind it are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::listen) enum Switch {
    /// None is asked for: what comes is HTTP.
    No,
    /// Asked for, and not answered.
    Asked,
    /// The same, and something has come behind it already.
    Overrun,
    /// It happened: what comes is no HTTP.
    Yes,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
/// Nothing has come yet.
const NEW: u8 = 2;

/// A connection on which nothing happens is idle only after this long: its first bytes, the next ones of its TLS handshake or its
/// next request may be on their way. Otherwise callers that do nothing but connect would take the places of those that ask.
const IDLE_AFTER: Duration = Duration::from_millis(250);

/// Interim answers that may wait, in bytes.
const MAX_INTERIM_BYTES: usize = 64 * 1024;

impl Default for ConnectionState {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(NEW),
            since: AtomicU64::new(CoarseInstant::now().to_bits()),
            busy: AtomicU64::new(0),
            answering: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            expired: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            head_since: AtomicU64::new(0),
            has_interim: AtomicBool::new(false),
            interim: Mutex::default(),
            last_answer: AtomicBool::new(false),
            asked_to_go: AtomicBool::new(false),
            at_rest: AtomicBool::new(false),
            bodies: AtomicU64::new(0),
            refused: OnceLock::new(),
            switch: AtomicU8::new(Switch::No as u8),
        }
    }
}

/// What has taken too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::listen) enum ConnectionTimeout {
    /// Nothing was asked for a long time.
    Idle,
    /// A head was begun and not finished.
    Head,
    /// The caller takes nothing of its answer.
    Blocked,
}

impl ConnectionState {
    fn set(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
        self.touch();
    }

    fn touch(&self) {
        self.since.store(CoarseInstant::now().to_bits(), Ordering::Relaxed);
    }

    /// A head cannot be read, and its caller is told so: the connection ends with that.
    pub(in crate::listen) fn note_refused(&self, why: Unreadable) {
        let _first = self.refused.set(why);
    }

    pub(in crate::listen) fn refused(&self) -> Option<Unreadable> {
        self.refused.get().copied()
    }

    /// Something has come: from now on a request head is owed.
    pub(in crate::listen) fn note_begun(&self) {
        if self.phase.load(Ordering::Relaxed) == NEW {
            self.set(HEAD);
        }
    }

    /// Since when nothing has been asked for on this connection; `None` if a request is in progress, or its head has begun to
    /// come. `now` may be another thread's: the clocks of workers begin together.
    pub(in crate::listen) fn idle_since(&self, now: CoarseInstant) -> Option<CoarseInstant> {
        let since = CoarseInstant::from_bits(self.since.load(Ordering::Relaxed));
        (self.is_idle() && now >= since.after(IDLE_AFTER)).then_some(since)
    }

    pub(in crate::listen) fn is_idle(&self) -> bool {
        let in_head = self.phase.load(Ordering::Relaxed) == HEAD || self.head_since.load(Ordering::Relaxed) != 0;
        !self.is_busy() && !self.blocked.load(Ordering::Relaxed) && !in_head
    }

    /// Whether, as far as the bytes tell, one message has ended and no other has begun.
    pub(in crate::listen) fn note_at_rest(&self, at_rest: bool) {
        self.at_rest.store(at_rest, Ordering::Relaxed);
    }

    /// True if what serves an HTTP/1 connection knows nothing of it that would be missed.
    pub(in crate::listen) fn is_at_rest(&self) -> bool {
        self.is_idle()
            && self.at_rest.load(Ordering::Relaxed)
            && self.bodies.load(Ordering::Relaxed) == 0
            && self.switch() == Switch::No
            && !self.has_interim.load(Ordering::Relaxed)
            && !self.is_expired()
    }

    /// When it will have been idle for so long.
    pub(in crate::listen) fn idle_for(&self, wait: Duration) -> CoarseInstant {
        let since = CoarseInstant::from_bits(self.since.load(Ordering::Relaxed));
        if wait.is_zero() { since } else { since.after(wait) }
    }

    /// Asks it to make room for another connection; from any thread.
    pub(in crate::listen) fn ask_to_go(&self) {
        self.asked_to_go.store(true, Ordering::Relaxed);
    }

    pub(in crate::listen) fn is_asked_to_go(&self) -> bool {
        self.asked_to_go.load(Ordering::Relaxed)
    }

    /// True if it is asked to make room, and still idle. What has come in between keeps it.
    pub(in crate::listen) fn must_go(&self) -> bool {
        if !self.is_asked_to_go() {
            return false;
        }
        let goes = self.is_idle();
        if !goes {
            self.asked_to_go.store(false, Ordering::Relaxed);
        }
        goes
    }

    pub(in crate::listen) fn begin_request(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::listen) fn end_request(&self) {
        self.answering.store(true, Ordering::Relaxed);
        if self.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.set(IDLE);
        }
    }

    /// HTTP/2 is spoken, which has no heads between requests: only idleness is measured.
    pub(in crate::listen) fn note_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
        self.set(IDLE);
    }

    /// From here on an answer is the last one on this connection, and says so.
    pub(in crate::listen) fn note_last_answer(&self) {
        self.last_answer.store(true, Ordering::Relaxed);
    }

    pub(in crate::listen) fn is_last_answer(&self) -> bool {
        self.last_answer.load(Ordering::Relaxed)
    }

    /// While draining: HTTP/2 says goodbye in order (GOAWAY), and a request in progress is answered with
    /// `Connection: close`. In between, an HTTP/1.1 caller may be sending its next request already.
    pub(in crate::listen) fn may_finish_now(&self) -> bool {
        self.http2.load(Ordering::Relaxed) || self.is_busy()
    }

    pub(in crate::listen) fn switch(&self) -> Switch {
        match self.switch.load(Ordering::Relaxed) {
            0 => Switch::No,
            1 => Switch::Asked,
            2 => Switch::Overrun,
            _ => Switch::Yes,
        }
    }

    pub(in crate::listen) fn set_switch(&self, switch: Switch) {
        self.switch.store(switch as u8, Ordering::Relaxed);
    }

    /// An interim answer, ready to be written; bounded, since nothing depends on it.
    pub(in crate::listen) fn put_interim(&self, answer: &[u8]) {
        let mut interim = lock(&self.interim);
        if interim.len() + answer.len() <= MAX_INTERIM_BYTES {
            interim.extend_from_slice(answer);
            self.has_interim.store(true, Ordering::Relaxed);
        }
    }

    pub(in crate::listen) fn take_interim(&self) -> Option<Bytes> {
        if !self.has_interim.swap(false, Ordering::Relaxed) {
            return None;
        }
        Some(std::mem::take(&mut *lock(&self.interim)).into())
    }

    /// Whether an HTTP/2 request's head has begun and not ended.
    pub(in crate::listen) fn note_head(&self, is_open: bool) {
        if is_open != (self.head_since.load(Ordering::Relaxed) != 0) {
            self.head_since.store(if is_open { CoarseInstant::now().to_bits().max(1) } else { 0 }, Ordering::Relaxed);
        }
    }

    /// Requests in progress, and tunnels that they have become.
    pub(in crate::listen) fn in_progress(&self) -> usize {
        usize::try_from(self.busy.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    pub(in crate::listen) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    pub(in crate::listen) fn is_answering(&self) -> bool {
        self.is_busy() || self.answering.load(Ordering::Relaxed)
    }

    pub(in crate::listen) fn note_read(&self, http1: bool) {
        if http1 && !self.is_busy() && self.phase.load(Ordering::Relaxed) == IDLE {
            self.set(HEAD);
        }
    }

    pub(in crate::listen) fn note_written(&self, ready: bool) {
        if ready {
            self.answering.store(false, Ordering::Relaxed);
        }
        self.note_blocked(!ready);
    }

    /// Whether the caller takes what is written.
    pub(in crate::listen) fn note_blocked(&self, blocked: bool) {
        if self.blocked.load(Ordering::Relaxed) != blocked {
            self.blocked.store(blocked, Ordering::Relaxed);
            self.touch();
        }
    }

    /// When this connection has to have moved on, and which timeout that is. `None` while an answer is awaited: that
    /// has deadlines of its own.
    pub(in crate::listen) fn deadline(&self, limits: &Limits) -> Option<(CoarseInstant, ConnectionTimeout)> {
        let since = CoarseInstant::from_bits(self.since.load(Ordering::Relaxed));
        if self.blocked.load(Ordering::Relaxed) {
            return Some((since.after(limits.keep_alive), ConnectionTimeout::Blocked));
        }
        // Nothing else can be said on the connection before such a head has ended (RFC 9113 section 6.10).
        let head = self.head_since.load(Ordering::Relaxed);
        if head != 0 {
            return Some((CoarseInstant::from_bits(head).after(limits.header_timeout), ConnectionTimeout::Head));
        }
        if self.is_busy() {
            return None;
        }
        Some(match self.phase.load(Ordering::Relaxed) {
            HEAD => (since.after(limits.header_timeout), ConnectionTimeout::Head),
            _ => (since.after(limits.keep_alive), ConnectionTimeout::Idle),
        })
    }

    /// The next read answers 408 and ends the connection.
    pub(in crate::listen) fn expire(&self) {
        self.expired.store(true, Ordering::Relaxed);
    }

    pub(in crate::listen) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }
}

/// Marks a connection as busy while it lives.
pub(in crate::listen) struct InProgress(Arc<ConnectionState>);

impl InProgress {
    pub(in crate::listen) fn new(state: &Arc<ConnectionState>) -> Self {
        state.begin_request();
        Self(Arc::clone(state))
    }
}

impl InProgress {
    pub(in crate::listen) fn state(&self) -> &ConnectionState {
        &self.0
    }

    pub(in crate::listen) const fn shared(&self) -> &Arc<ConnectionState> {
        &self.0
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

/// A request's body that has not come to its end, while the handler may read it: it may outlive the answer.
pub(in crate::listen) struct UnreadBody(Arc<ConnectionState>);

impl UnreadBody {
    pub(in crate::listen) fn new(state: &Arc<ConnectionState>) -> Self {
        state.bodies.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}
