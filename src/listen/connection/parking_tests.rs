//! Parking at moments that a test chooses, and in virtual time.

use std::cell::RefCell;

use bytes::BytesMut;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Full;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use super::super::drain::Drain;
use super::super::room::Room;
use super::super::serving::Serving;
use super::super::{http1, serve_http};
use super::*;
use crate::listen::caller::{CallerConnection, Peer};
use crate::listen::handler::Handler;
use crate::listen::incoming::Incoming;
use crate::listen::settings::Limits;
use crate::listen::unreadable::Unreadable;
use crate::timer;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Answers with the path, at once or `/later`, and keeps a request's body for as long as the test wants.
#[derive(Default)]
struct Keeper {
    body: RefCell<Option<Incoming>>,
}

impl Handler for Keeper {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>, _: &Arc<CallerConnection>) -> Response<Self::Body> {
        let path = Bytes::copy_from_slice(request.uri().path().as_bytes());
        if path == "/later" {
            tokio::task::yield_now().await;
        }
        *self.body.borrow_mut() = Some(request.into_body());
        Response::new(Full::new(path))
    }

    fn malformed(why: Unreadable) -> Bytes {
        Bytes::from(format!("{why:?}"))
    }
}

fn caller() -> Arc<CallerConnection> {
    Arc::new(CallerConnection::new(Peer::User(None), None, None, Gauge::default()))
}

/// A connection by itself, and what its handler keeps: polled by hand, so that each moment can be chosen.
struct ByHand<C> {
    connection: Pin<Box<C>>,
    handler: Rc<Keeper>,
}

fn by_hand(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> ByHand<impl Served> {
    let (handler, state) = (Rc::new(Keeper::default()), Arc::new(ConnectionState::default()));
    let connection = http1::serve(stream, Bytes::new(), Rc::clone(&handler), caller(), state, &Limits::default());
    ByHand { connection: Box::pin(connection), handler }
}

impl<C: Served> ByHand<C> {
    /// True if it has ended.
    fn poll(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // Otherwise it would find nothing to read once the test's own task has read much.
        Pin::new(&mut tokio::task::unconstrained(self.connection.as_mut())).poll(&mut cx).is_ready()
    }

    /// True if it is parked now.
    fn park(&mut self) -> bool {
        self.connection.as_mut().park();
        self.wait().is_none()
    }

    /// How long it stays served while it is idle.
    fn wait(&self) -> Option<Duration> {
        self.connection.parks_after(&Limits::default())
    }
}

/// All that has been written by now.
async fn written(stream: &mut DuplexStream) -> String {
    let mut bytes = [0; 4096];
    let reading = timer::timeout(Duration::from_millis(1), stream.read(&mut bytes)).await;
    String::from_utf8_lossy(&bytes[..reading.map_or(0, Result::unwrap)]).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_connection_at_rest_keeps_its_stream_alone_and_is_served_anew() {
    let (mut near, far) = duplex(4096);
    let mut attache = by_hand(far);
    for _ in 0..3 {
        near.write_all(REQUEST).await.unwrap();
        assert!(!attache.poll() && written(&mut near).await.ends_with("\r\n\r\n/"));
        assert!(attache.park() && !attache.poll() && attache.park());
    }
    drop(near);
    assert!(attache.poll(), "the caller's end is the connection's");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_while_it_is_parked_are_served_wherever_they_are_cut() {
    let two = [REQUEST, b"POST /two HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nabcd"].concat();
    for cut in 0..=two.len() {
        let (mut near, far) = duplex(4096);
        let mut attache = by_hand(far);
        let mut answers = String::new();
        for piece in [&b"GET /one HTTP/1.1\r\nhost: a\r\n\r\n"[..], &two[..cut], &two[cut..]] {
            // Between the last poll and the parking.
            near.write_all(piece).await.unwrap();
            attache.park();
            assert!(!attache.poll());
            answers += &written(&mut near).await;
        }
        let order: Vec<_> = answers.split("\r\n\r\n").skip(1).map(|text| text.split("HTTP").next().unwrap()).collect();
        assert_eq!(order, ["/one", "/", "/two"], "cut at {cut}");
        // Its body was thrown away; a part of it may have come behind the answer.
        attache.handler.body.take();
        near.write_all(REQUEST).await.unwrap();
        assert!(!attache.poll() && written(&mut near).await.ends_with("\r\n\r\n/") && attache.park());
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_keeps_it_served() {
    let (mut near, far) = duplex(4096);
    let mut attache = by_hand(far);
    for (begun, rest) in [(2, "half a method"), (17, "a head"), (REQUEST.len() - 1, "all but a byte")] {
        near.write_all(&REQUEST[..begun]).await.unwrap();
        assert!(!attache.poll() && !attache.park(), "{rest}");
        near.write_all(&REQUEST[begun..]).await.unwrap();
        assert!(!attache.poll() && attache.park(), "{rest}");
        written(&mut near).await;
    }
    // Answered at once, with a body that a handler has not read to its end, and of which a part has not even come.
    near.write_all(b"POST /two HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\nGET /hidden HTTP/1.1\r\n")
        .await
        .unwrap();
    assert!(!attache.poll() && written(&mut near).await.ends_with("/two") && !attache.park());
    near.write_all(b"host: hidden\r\n\r\nabcdefghijkl").await.unwrap();
    assert!(!attache.poll() && written(&mut near).await.is_empty() && !attache.park(), "all of it has come");
    let mut body = attache.handler.body.take().unwrap();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut read = 0;
    for _ in 0..9 {
        if let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
            read += frame.unwrap().into_data().unwrap().len();
        }
        assert!(!attache.poll() && !attache.park(), "the handler still has it");
    }
    assert_eq!(read, 50);
    drop(body);
    near.write_all(REQUEST).await.unwrap();
    assert!(!attache.poll() && written(&mut near).await.ends_with("\r\n\r\n/") && attache.park());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_written_yet_keeps_it_served() {
    // A caller that takes only so much.
    let (mut near, far) = duplex(40);
    let mut attache = by_hand(far);
    near.write_all(REQUEST).await.unwrap();
    assert!(!attache.poll() && !attache.park());
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n/") {
        answer += &written(&mut near).await;
        assert!(!attache.poll());
    }
    assert!(attache.park());
}

#[tokio::test(start_paused = true)]
async fn a_refused_wish_to_switch_protocols_leaves_nothing_behind() {
    let (mut near, far) = duplex(4096);
    let mut attache = by_hand(far);
    near.write_all(b"GET /ws HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n").await.unwrap();
    assert!(!attache.poll() && written(&mut near).await.ends_with("/ws"));
    attache.handler.body.take();
    assert!(attache.park());
    near.write_all(REQUEST).await.unwrap();
    assert!(!attache.poll() && written(&mut near).await.ends_with("\r\n\r\n/"));
}

#[tokio::test(start_paused = true)]
async fn a_parked_connection_finishes_by_closing() {
    let (mut near, far) = duplex(4096);
    let mut attache = by_hand(far);
    near.write_all(REQUEST).await.unwrap();
    assert!(!attache.poll() && attache.park());
    attache.connection.as_mut().finish();
    assert!(attache.poll());
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\n/"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn of_many_that_are_served_those_that_become_idle_are_parked_at_the_next_tick() {
    let mut many: Vec<_> = (0..MAY_IDLE).map(|_| by_hand(duplex(64).1)).collect();
    let (mut near, far) = duplex(4096);
    let mut one = by_hand(far);
    assert_eq!(one.wait(), Some(TICK));
    assert_eq!(many[0].wait(), Some(TICK));
    near.write_all(REQUEST).await.unwrap();
    assert!(!one.poll() && one.park());
    assert_eq!(many[0].wait(), Some(Limits::default().parks_after), "one less is served");
    many.pop();
    near.write_all(REQUEST).await.unwrap();
    assert!(!one.poll());
    assert_eq!(one.wait(), Some(Limits::default().parks_after));
}

/// A served connection in virtual time, answered once and idle since.
struct Idle {
    near: DuplexStream,
    task: JoinHandle<()>,
    drain: Rc<Drain>,
    since: Instant,
}

async fn idle(room: &Arc<Room>, limits: Limits) -> Idle {
    let (near, far) = duplex(4096);
    let drain = Drain::new(room);
    let serving = Serving { limits: Arc::new(limits), panics: Counter::default(), drain: Rc::clone(&drain) };
    let handler = Rc::new(Keeper::default());
    let task = tokio::task::spawn_local(serve_http(far, BytesMut::new(), handler, caller(), serving));
    let mut idle = Idle { near, task, drain, since: Instant::now() };
    idle.ask().await;
    idle
}

impl Idle {
    async fn ask(&mut self) {
        self.near.write_all(REQUEST).await.unwrap();
        assert!(self.answer().await.starts_with("HTTP/1.1 200 "));
        self.since = Instant::now();
    }

    async fn answer(&mut self) -> String {
        let mut bytes = [0; 4096];
        let read = self.near.read(&mut bytes).await.unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    /// When the caller sees the end, since the last answer.
    async fn ends_after(mut self) -> Duration {
        assert_eq!(self.answer().await, "");
        self.task.await.unwrap();
        self.since.elapsed()
    }
}

fn in_virtual_time<'a>(talk: impl Future<Output = ()> + 'a) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    let talk = Box::pin(talk);
    Box::pin(async {
        let worker = LocalSet::new();
        worker
            .run_until(async {
                let clock = tokio::task::spawn_local(timer::drive());
                tokio::task::yield_now().await;
                talk.await;
                clock.abort();
            })
            .await;
    })
}

fn about(wait: Duration, found: Duration) {
    assert!(found >= wait && found <= wait + 2 * TICK, "{found:?} and not {wait:?}");
}

/// Long enough to be parked.
async fn a_while() {
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time_from_its_first_byte_on_and_idleness_from_the_last_answer() {
    in_virtual_time(async {
        let mut one = idle(&Room::new(9), Limits::default()).await;
        a_while().await;
        one.ask().await;
        about(Limits::default().keep_alive, one.ends_after().await);

        let mut other = idle(&Room::new(9), Limits::default()).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        other.near.write_all(b"G").await.unwrap();
        assert_eq!(other.answer().await, "Status(408)");
        about(Limits::default().header_timeout, begun.elapsed());
        other.task.await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_cannot_be_read_is_answered_after_parking_too() {
    in_virtual_time(async {
        for (bytes, answer) in [
            (&b"\x16\x03\x01"[..], "Status(400)"),
            (b"GET /a b HTTP/1.1\r\n\r\n", "RawTarget(' ')"),
            (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "TwoLengths"),
        ] {
            let mut one = idle(&Room::new(9), Limits::default()).await;
            a_while().await;
            one.near.write_all(bytes).await.unwrap();
            assert_eq!(one.answer().await, answer);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn draining_leaves_a_parked_connection_its_grace() {
    in_virtual_time(async {
        let mut asks = idle(&Room::new(9), Limits::default()).await;
        let silent = idle(&Room::new(9), Limits::default()).await;
        a_while().await;
        asks.drain.begin_drain();
        silent.drain.begin_drain();
        let begun = Instant::now();
        asks.near.write_all(b"GET /later HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(asks.answer().await.contains("connection: close"));
        asks.task.await.unwrap();
        let after = silent.since.elapsed();
        about(Duration::from_secs(1), silent.ends_after().await.saturating_sub(after));
        about(Duration::from_secs(1), begun.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_parked_connections_the_one_that_was_idle_longest_makes_room() {
    in_virtual_time(async {
        let room = Room::new(3);
        let mut places = Vec::new();
        let mut callers = Vec::new();
        for _ in 0..3 {
            places.push(room.place().await);
            callers.push(idle(&room, Limits::default()).await);
            a_while().await;
        }
        // The first one asks again: then the second has been idle longest.
        callers[0].ask().await;
        a_while().await;
        let goes = async {
            callers[1].near.read_to_end(&mut Vec::new()).await.unwrap();
            drop(places.remove(1));
        };
        let (_place, ()) = tokio::join!(room.place(), goes);
        callers[0].ask().await;
        callers[2].ask().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_its_time_nothing_of_what_serves_it_is_left() {
    in_virtual_time(async {
        let handler = Rc::new(Keeper::default());
        let (mut near, far) = duplex(4096);
        let drain = Drain::new(&Room::new(9));
        let limits = Arc::new(Limits::default());
        let serving = Serving { limits, panics: Counter::default(), drain };
        let _task = tokio::task::spawn_local(serve_http(far, BytesMut::new(), Rc::clone(&handler), caller(), serving));
        near.write_all(REQUEST).await.unwrap();
        near.read_buf(&mut BytesMut::new()).await.unwrap();
        handler.body.take();
        // One is what hyper calls, the other what may make it anew.
        let served = Rc::strong_count(&handler);
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(Rc::strong_count(&handler), served, "not before a second");
        a_while().await;
        assert_eq!(Rc::strong_count(&handler), served - 1);
    })
    .await;
}
