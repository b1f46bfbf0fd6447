//! What is known of one HTTP/2 connection: its streams, and whether a request may rely on it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::timer::CoarseInstant;
use crate::upstream::slots::{ConnectionSlot, IdleSlot, UpstreamSlots};

/// Streams of one connection that are opened at the most, whatever its server allows.
pub(super) const MAX_STREAMS: u32 = 256;

/// So long after the last piece of any upload has gone out over a connection, with one that waits for room, no other begins
/// there: the server may have given the connection no more room than that one upload has filled (RFC 9113 section 6.9).
const UPLOADS_STUCK: Duration = Duration::from_millis(500);

/// How often a connection with streams on it is asked whether it still stands, and how long it has for the answer.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(20);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// So long after the last byte, with streams on it, a connection has been asked, and has had time to answer.
const PING_OVERDUE: Duration = Duration::from_secs(22);

/// What is known of one connection; held by the pool, by each of its streams and by the connection itself.
pub(in crate::upstream) struct Streams {
    open: Cell<usize>,
    /// How many the server allows, as it said last.
    room: Cell<usize>,
    /// Without a stream since then.
    idle_since: Cell<CoarseInstant>,
    /// The server has refused a stream, and has answered none since.
    refuses: Cell<bool>,
    /// Requests have gone out, and since then not one byte has come.
    owes_since: Cell<Option<CoarseInstant>>,
    /// Something has come since the last request went out.
    heard: Cell<bool>,
    /// A request was not answered in time, and since then not one byte has come.
    timed_out: Cell<bool>,
    /// An upload waits for room, and since then none has moved.
    uploads_wait: Cell<Option<CoarseInstant>>,
    /// No stream can begin on it any more.
    ended: Cell<bool>,
    /// Where the connection leads.
    peer: Option<SocketAddr>,
    slot: Cell<Option<ConnectionSlot>>,
    idle_slot: Cell<Option<IdleSlot>>,
}

impl Streams {
    pub(super) fn new(slot: Option<ConnectionSlot>, peer: Option<SocketAddr>) -> Self {
        Self {
            open: Cell::new(0),
            room: Cell::new(0),
            idle_since: Cell::new(CoarseInstant::now()),
            refuses: Cell::new(false),
            owes_since: Cell::new(None),
            heard: Cell::new(false),
            timed_out: Cell::new(false),
            uploads_wait: Cell::new(None),
            ended: Cell::new(false),
            peer,
            slot: Cell::new(slot),
            idle_slot: Cell::new(None),
        }
    }

    pub(in crate::upstream) const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The server allows so many streams.
    pub(super) fn allow(&self, room: usize) {
        self.room.set(room);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    pub(super) fn idle_since(&self) -> Option<CoarseInstant> {
        (self.open.get() == 0).then(|| self.idle_since.get())
    }

    pub(super) fn owes_since(&self) -> Option<CoarseInstant> {
        self.owes_since.get()
    }

    /// A request goes out.
    pub(in crate::upstream) fn begin(&self) {
        drop(self.idle_slot.take());
        self.open.set(self.open.get() + 1);
        self.heard.set(false);
        if self.owes_since.get().is_none() {
            self.owes_since.set(Some(CoarseInstant::now()));
        }
    }

    /// Its stream has ended, however that came.
    pub(in crate::upstream) fn end(&self, upstream: &Rc<UpstreamSlots>) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.uploads_wait.set(None);
        }
        self.idle_since.set(CoarseInstant::now());
        if self.open.get() == 0 {
            if self.heard.get() {
                self.owes_since.set(None);
            }
            self.idle_slot.set(Some(IdleSlot::new(upstream)));
        }
    }

    /// A request was answered.
    pub(in crate::upstream) fn answered(&self) {
        self.refuses.set(false);
    }

    /// A request was not taken.
    pub(in crate::upstream) fn refused(&self) {
        self.refuses.set(true);
    }

    /// A request could not begin.
    pub(in crate::upstream) fn ended(&self) {
        self.ended.set(true);
    }

    /// An upload found no room.
    pub(super) fn upload_waits(&self) {
        if self.uploads_wait.get().is_none() {
            self.uploads_wait.set(Some(CoarseInstant::now()));
        }
    }

    /// A piece of an upload has gone out.
    pub(super) fn upload_moves(&self) {
        self.uploads_wait.set(None);
    }

    /// A request was not answered in time.
    pub(in crate::upstream) fn timed_out(&self) {
        self.timed_out.set(true);
    }

    /// The server has said something, whatever it was.
    pub(super) fn heard(&self) {
        self.timed_out.set(false);
        self.heard.set(true);
        self.owes_since.set((self.open.get() > 0).then(CoarseInstant::now));
    }

    /// True if the other end may have gone: it owes an answer to a request or to a ping.
    pub(super) fn is_doubtful(&self) -> bool {
        self.timed_out.get()
            || self.owes_since.get().is_some_and(|since| since.after(PING_OVERDUE) <= CoarseInstant::now())
    }

    pub(super) fn takes_another(&self, with_body: bool) -> bool {
        if with_body && self.uploads_wait.get().is_some_and(|since| since.after(UPLOADS_STUCK) <= CoarseInstant::now())
        {
            return false;
        }
        self.open.get() < self.room.get().min(MAX_STREAMS as usize) && !self.refuses.get() && !self.is_doubtful()
    }

    /// It is gone, and counts no more.
    pub(super) fn gone(&self) {
        drop(self.slot.take());
        drop(self.idle_slot.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn clock() -> tokio::task::JoinHandle<()> {
        let ticker = tokio::spawn(crate::timer::drive());
        tokio::task::yield_now().await;
        ticker
    }

    /// A connection that nobody counts, with room for two.
    fn streams() -> Streams {
        let streams = Streams::new(None, None);
        streams.room.set(2);
        streams
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_owes_an_answer_to_a_ping_takes_no_request() {
        let ticker = clock().await;
        let streams = streams();
        tokio::time::sleep(PING_OVERDUE * 2).await;
        assert!(streams.takes_another(false), "nobody has asked it anything");
        streams.begin();
        tokio::time::sleep(PING_INTERVAL).await;
        assert!(streams.takes_another(false), "it has only now been asked");
        tokio::time::sleep(PING_TIMEOUT / 2).await;
        assert!(!streams.takes_another(false));
        streams.heard();
        assert!(streams.takes_another(false));
        tokio::time::sleep(PING_OVERDUE * 2).await;
        assert!(!streams.takes_another(false), "it still owes an answer");
        ticker.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_or_late_is_made_good_by_an_answer() {
        let ticker = clock().await;
        let streams = streams();
        streams.begin();
        streams.timed_out();
        assert!(!streams.takes_another(false));
        streams.heard();
        streams.refused();
        streams.heard();
        assert!(!streams.takes_another(false), "it says something, and takes no request");
        streams.answered();
        assert!(streams.takes_another(false));
        streams.begin();
        assert!(!streams.takes_another(false), "there is no room");
        ticker.abort();
    }
}
