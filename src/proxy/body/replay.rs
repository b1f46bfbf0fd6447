//! A request body that streams through and is kept for another sending, within a bound for each request and one for all.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::incoming::poll_incoming;
use super::replay_memory::{Kept, ReplayMemory};
use crate::listen::Incoming;
use crate::timer::CoarseInstant;
use crate::upstream::BodyError;

/// One turn at sending a body. The first reads from the caller and keeps what it reads; a later one sends what was kept and
/// goes on reading from the caller where the last one stopped. So a replayed body is whole, even if the upstream refused the
/// request before all of it had arrived.
pub(crate) struct ReplayBody {
    shared: Rc<RefCell<Shared>>,
    turn: u32,
    sent_trailers: bool,
    size: SizeHint,
}

/// Where another turn begins, if it can.
pub(crate) struct Replay(Rc<RefCell<Shared>>);

/// What the turns of one body have in common.
struct Shared {
    source: Incoming,
    kept: Vec<Bytes>,
    /// How much of that the newest turn has sent; the only one that may read.
    sent: usize,
    kept_bytes: u64,
    /// What of the budget that takes.
    charged: u64,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// More arrived than may be kept: nothing is kept any more.
    gave_up: bool,
    limit: u64,
    memory: Rc<ReplayMemory>,
    began: CoarseInstant,
    turn: u32,
    /// Who waits for more of the body. The source only ever wakes the newest reader.
    reader: Option<Waker>,
    size: SizeHint,
}

impl ReplayBody {
    /// Begins to keep a body, up to `limit` bytes of it. Beyond, it goes on, and can have no other turn.
    #[must_use]
    pub(crate) fn new(source: Incoming, limit: u64, memory: &Rc<ReplayMemory>) -> Self {
        let size = source.size_hint();
        let shared = Shared {
            source,
            kept: Vec::new(),
            sent: 0,
            kept_bytes: 0,
            charged: 0,
            trailers: None,
            ended: false,
            gave_up: false,
            limit,
            memory: Rc::clone(memory),
            began: CoarseInstant::now(),
            turn: 0,
            reader: None,
            size,
        };
        let shared = Rc::new(RefCell::new(shared));
        if limit > 0 {
            let kept: Weak<RefCell<Shared>> = Rc::downgrade(&shared);
            memory.add(kept);
        }
        Self { shared, turn: 0, sent_trailers: false, size }
    }

    /// A handle that can begin another turn while this one is being sent. Without it nothing is kept any more.
    #[must_use]
    pub(crate) fn replay(&self) -> Replay {
        Replay(Rc::clone(&self.shared))
    }
}

impl Replay {
    /// The next turn, or `None` where the body is not whole any more. Ends the last one: what still sends it gets an error
    /// and has to close that connection. It is woken for that, because nothing else would: from now on the source wakes the
    /// next turn, and the old connection would stay, half used, for as long as its upstream does.
    #[must_use]
    pub(crate) fn begin(&self) -> Option<ReplayBody> {
        let (turn, size, reader) = {
            let mut shared = self.0.borrow_mut();
            if shared.gave_up {
                return None;
            }
            shared.turn += 1;
            shared.sent = 0;
            (shared.turn, shared.size, shared.reader.take())
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        Some(ReplayBody { shared: Rc::clone(&self.0), turn, sent_trailers: false, size })
    }
}

impl Shared {
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(poll_incoming(&mut self.source, cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data);
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.trailers = Some(trailers.clone());
                    self.ended = true;
                }
                self.ended |= self.source.is_end_stream();
            }
            Some(Err(_)) => self.give_up(),
            None => self.ended = true,
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, data: &Bytes) {
        let bytes = data.len() as u64;
        if self.gave_up {
            return;
        }
        let room = if self.kept_bytes + bytes > self.limit { None } else { self.memory.take(bytes) };
        match room {
            Some(cost) => {
                self.kept_bytes += bytes;
                self.charged += cost;
                self.kept.push(data.clone());
                // The turn that has read it sends it.
                self.sent = self.kept.len();
            }
            None => self.give_up(),
        }
    }

    /// Ready for nothing but the turn it is in, which must have sent all that is kept.
    fn give_up(&mut self) {
        self.gave_up = true;
        self.kept = Vec::new();
        self.sent = 0;
        self.kept_bytes = 0;
        self.memory.give_back(std::mem::take(&mut self.charged));
    }

    /// Gives up for the sake of others; false where there is nothing to give, or where it is needed for the turn it is in.
    fn gives_way(&mut self) -> bool {
        let gives = !self.kept.is_empty() && self.sent == self.kept.len();
        if gives {
            self.give_up();
        }
        gives
    }
}

impl Kept for Shared {
    fn since(&self) -> CoarseInstant {
        self.began
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn gives_way(&mut self) -> bool {
        Self::gives_way(self)
    }
}

impl Drop for Replay {
    /// No other turn can come.
    fn drop(&mut self) {
        if let Ok(mut shared) = self.0.try_borrow_mut() {
            shared.limit = 0;
            shared.gives_way();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.memory.give_back(self.charged);
    }
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut shared = this.shared.borrow_mut();
        if shared.turn != this.turn {
            return Poll::Ready(Some(Err("this request is being sent again on another connection".into())));
        }
        if let Some(data) = shared.kept.get(shared.sent).cloned() {
            shared.sent += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if this.turn > 0 && shared.ended {
            let trailers = if this.sent_trailers { None } else { shared.trailers.clone() };
            this.sent_trailers = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let Poll::Ready(frame) = shared.poll_source(cx) else {
            shared.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        this.sent_trailers = shared.trailers.is_some();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        if self.turn == 0 {
            shared.ended || shared.source.is_end_stream()
        } else {
            shared.ended && shared.sent >= shared.kept.len() && (self.sent_trailers || shared.trailers.is_none())
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

impl std::fmt::Debug for ReplayBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayBody").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").finish_non_exhaustive()
    }
}
