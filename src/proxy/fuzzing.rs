//! What the fuzz targets hold against challenges, the first bytes of tunnels, and bodies that are kept for another sending.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;

use super::body::replay::{Replay, ReplayBody};
use super::body::replay_memory::{ReplayBudget, ReplayMemory};
use super::send::challenge;
use super::tunnel::detect::detect;
pub use super::tunnel::socks5_fuzzing::socks;
use crate::listen::Incoming;
use crate::upstream::BodyError;

/// One line of `WWW-Authenticate`: no scheme that is read from it is empty.
///
/// # Errors
/// One is.
pub fn challenge(bytes: &[u8]) -> Result<(), String> {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return Ok(()) };
    if challenge::parse(&value).iter().any(|challenge| challenge.scheme.is_empty()) {
        return Err("a scheme is empty".into());
    }
    let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]);
    let _verdict = challenge::verdict(&headers, |scheme| scheme.eq_ignore_ascii_case("bearer"));
    Ok(())
}

/// The first bytes in a tunnel: a protocol that is known stays known, whatever follows.
///
/// # Errors
/// What was known of the first bytes differs from what is known of all.
pub fn first_bytes(bytes: &[u8]) -> Result<(), String> {
    let all = detect(bytes);
    match (0..bytes.len().min(64)).find(|end| detect(&bytes[..*end]).is_some_and(|known| Some(known) != all)) {
        Some(end) => Err(format!("the first {end} bytes are of another protocol than all of them")),
        None => Ok(()),
    }
}

/// What a caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Sends(usize),
    Waits,
    Breaks,
    Trailers,
}

/// A caller, and how much it has sent.
struct Caller {
    steps: VecDeque<Step>,
    sent: Rc<Cell<u64>>,
    pieces: Rc<Cell<u64>>,
    broken: Rc<Cell<bool>>,
    /// It says beforehand how long its body is.
    says_length: bool,
    /// It ends with its last frame, and not behind it.
    ends_with_last: bool,
}

impl Caller {
    fn left(&self) -> u64 {
        self.steps.iter().map(|step| if let Step::Sends(length) = step { *length as u64 } else { 0 }).sum()
    }
}

/// The bytes of a body at this place.
fn content(from: u64, length: usize) -> Bytes {
    (from..).take(length).map(|at| u8::try_from(at * 7 % 251).unwrap_or_default()).collect()
}

impl Body for Caller {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match self.steps.pop_front() {
            None => None,
            Some(Step::Waits) => return Poll::Pending,
            Some(Step::Sends(length)) => {
                let from = self.sent.replace(self.sent.get() + length as u64);
                self.pieces.set(self.pieces.get() + 1);
                Some(Ok(Frame::data(content(from, length))))
            }
            Some(Step::Breaks) => {
                self.steps.clear();
                self.steps.push_back(Step::Breaks);
                self.broken.set(true);
                Some(Err("the caller has gone".into()))
            }
            Some(Step::Trailers) => {
                self.steps.clear();
                let fields = [(http::HeaderName::from_static("x-sum"), HeaderValue::from_static("7"))];
                Some(Ok(Frame::trailers(HeaderMap::from_iter(fields))))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ends_with_last && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.says_length { SizeHint::with_exact(self.left()) } else { SizeHint::default() }
    }
}

/// One who sends the body on.
struct Turn {
    body: ReplayBody,
    sent: u64,
    trailers: bool,
    /// It has been told to wait.
    woken: Option<Arc<Woken>>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a look at a turn brought.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Goes,
    Waits,
    Ended,
    Failed,
}

impl Turn {
    fn look(&mut self) -> Result<Look, String> {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let ended = self.body.is_end_stream();
        let look = match Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                self.woken = Some(woken);
                Look::Waits
            }
            Poll::Ready(None) => Look::Ended,
            Poll::Ready(Some(Err(_))) => Look::Failed,
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    if self.trailers || *data != content(self.sent, data.len()) {
                        return Err(format!("behind {} bytes come others than the caller's", self.sent));
                    }
                    self.sent += data.len() as u64;
                } else if std::mem::replace(&mut self.trailers, true) {
                    return Err("trailers come twice".into());
                }
                Look::Goes
            }
        };
        if ended && matches!(look, Look::Goes | Look::Waits) {
            return Err(format!("it has ended and goes on: {look:?}"));
        }
        Ok(look)
    }
}

/// A body and its turns. Four bytes say how much may be kept and how it is told; then one byte says how many steps of the
/// caller follow, and what comes behind them is done with it.
///
/// # Errors
/// A turn that ends and was not the whole body, one that is kept where it may not be, or memory that is not given back.
pub fn replay(input: &[u8]) -> Result<(), String> {
    let Some((&[limit, memory, kind, steps], script)) = input.split_first_chunk() else { return Ok(()) };
    let (steps, acts) = script.split_at(usize::from(steps).min(script.len()));
    let steps: VecDeque<Step> = steps
        .iter()
        .map(|step| match step {
            0..32 => Step::Waits,
            32 => Step::Breaks,
            33 => Step::Trailers,
            length => Step::Sends(usize::from(*length) - 33),
        })
        .collect();
    let (sent, pieces, broken) = (Rc::default(), Rc::default(), Rc::default());
    let caller = Caller {
        steps: steps.clone(),
        sent: Rc::clone(&sent),
        pieces: Rc::clone(&pieces),
        broken: Rc::clone(&broken),
        says_length: kind & 1 == 1,
        ends_with_last: kind & 2 == 2,
    };
    let all = caller.left();
    let has_trailers = steps.iter().find(|step| matches!(step, Step::Breaks | Step::Trailers)) == Some(&Step::Trailers);
    let (limit, memory) = (u64::from(limit) * 16, u64::from(memory) * 16);
    let gauge = Gauge::default();
    let budget = Arc::new(ReplayBudget::new(memory, gauge.clone()));
    {
        let room = ReplayMemory::new(budget);
        let body = ReplayBody::new(Incoming::scripted(caller), limit, &room);
        let hint = body.size_hint();
        let mut kept: Option<Replay> = Some(body.replay());
        let mut turn = Turn { body, sent: 0, trailers: false, woken: None };
        let mut old: Vec<Turn> = Vec::new();
        // The rest is sent in one go.
        for act in acts.iter().copied().chain(std::iter::repeat_n(255, 2 * steps.len() + acts.len() + 8)) {
            match act {
                0..16 => kept = None,
                16..64 => {
                    let Some(replay) = &kept else { continue };
                    let fits = sent.get() <= limit && sent.get() + 64 * pieces.get() <= memory && !broken.get();
                    let Some(body) = replay.begin() else {
                        if fits {
                            return Err(format!("{} bytes were not kept", sent.get()));
                        }
                        continue;
                    };
                    if !fits {
                        return Err(format!("{} bytes were kept", sent.get()));
                    }
                    let before = std::mem::replace(&mut turn, Turn { body, sent: 0, trailers: false, woken: None });
                    if before.woken.as_ref().is_some_and(|woken| !woken.0.load(Ordering::Relaxed)) {
                        return Err("who waits for more is not told that another turn has begun".into());
                    }
                    old.push(before);
                }
                64..96 => {
                    if let Some(before) = old.last_mut()
                        && before.look() != Ok(Look::Failed)
                    {
                        return Err("a turn goes on beside the next one".into());
                    }
                }
                _ => match turn.look()? {
                    Look::Ended => {
                        let whole = turn.sent == sent.get() && turn.trailers == has_trailers && !broken.get();
                        let within = hint.lower() <= turn.sent && hint.upper().is_none_or(|upper| turn.sent <= upper);
                        if !whole || (!has_trailers && turn.sent != all) || (!has_trailers && !within) {
                            return Err(format!("{} of {} bytes are sent as the whole", turn.sent, sent.get()));
                        }
                    }
                    Look::Failed if !broken.get() => return Err("it breaks off and the caller has not".into()),
                    Look::Failed | Look::Goes => turn.woken = None,
                    Look::Waits => {}
                },
            }
        }
        let used = u64::try_from(gauge.get()).unwrap_or(u64::MAX);
        if used > memory {
            return Err(format!("{used} bytes are kept where {memory} may be"));
        }
    }
    if gauge.get() == 0 { Ok(()) } else { Err(format!("{} bytes are never given back", gauge.get())) }
}
