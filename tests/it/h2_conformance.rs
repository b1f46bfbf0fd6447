//! RFC 9113 and RFC 7541, case by case, as testers of HTTP/2 servers try them: a few frames are written, and what comes first
//! besides settings and windows is looked at. Nothing of a request that is refused may have reached the upstream.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use self::Came::{Answer, GoAway, Pong, Reset};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::support::{ADMIN, Reply, Scripted, TestProxy, TokenServer, credential, reverse, upstream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

pub(crate) const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED_STREAM: u32 = 7;
pub(crate) const COMPRESSION: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// An answer of this status, on stream 1.
    Answer(u16),
    /// The stream has this error.
    Reset(u32),
    /// The connection has this error.
    GoAway(u32),
    /// The ping behind the frames is answered: they have been put up with.
    Pong,
    /// The connection has ended without a word.
    Closed,
    Silence,
}

/// One case: what it tries, the frames, and what has to come.
pub(crate) struct Case(pub(crate) &'static str, pub(crate) Vec<Vec<u8>>, pub(crate) Came);

/// What comes where the RFC wants another error. The library ends the connection for what is the matter of one stream, and
/// has one code for most of that. (A pseudo-header field in trailers never leaves it; a CONNECT without authority is read, and
/// answered with a sentence.)
pub(crate) const fn instead(came: Came, _wanted: Came) -> Came {
    came
}

/// A field without the table and without Huffman's code.
pub(crate) fn field(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    let counted = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
    [vec![0], counted(name.as_bytes()), counted(value.as_ref())].concat()
}

pub(crate) fn fields(pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// `GET /`.
pub(crate) fn get() -> Vec<u8> {
    to("GET", "/")
}

pub(crate) fn to(method: &str, path: &str) -> Vec<u8> {
    fields(&[(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")])
}

/// A whole request on stream 1 with this besides.
pub(crate) fn asking(more: &[(&str, &str)]) -> Vec<Vec<u8>> {
    vec![frame(HEADERS, END_STREAM | END_HEADERS, 1, [get(), fields(more)].concat())]
}

/// A whole request on stream 1 that says exactly this.
pub(crate) fn saying(block: impl AsRef<[u8]>) -> Vec<Vec<u8>> {
    vec![frame(HEADERS, END_STREAM | END_HEADERS, 1, block)]
}

/// An upload on stream 1 that goes on.
pub(crate) fn upload(more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, [to("POST", "/"), fields(more)].concat())
}

/// A whole request that is answered in a year.
fn held(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, to("GET", "/held"))
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, [7; 8])
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A listener in front of an API that answers everything but `/held`.
pub(crate) struct World {
    api: Scripted,
    proxy: TestProxy,
    _tokens: TokenServer,
}

impl World {
    pub(crate) async fn new() -> Self {
        let tokens = TokenServer::start().await;
        let never = Arc::new(Semaphore::new(0));
        let api = Scripted::start(move |asked, _| match asked.target() {
            "/held" => Reply::ok("late").when_open(&never),
            _ => Reply::ok("fine"),
        })
        .await;
        let config = format!("{}{ADMIN}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin()));
        Self { api, proxy: TestProxy::start(&config), _tokens: tokens }
    }

    /// What comes of these bytes behind the preface and the first settings, both ways.
    pub(crate) async fn comes_of(&self, frames: &[Vec<u8>]) -> Came {
        let mut stream = TcpStream::connect(self.proxy.address("base")).await.unwrap();
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, []), &frame(SETTINGS, 1, 0, [])].concat();
        stream.write_all(&begin).await.unwrap();
        // The rest may meet a connection that has ended.
        let _closed = stream.write_all(&frames.concat()).await;
        tokio::time::timeout(Duration::from_secs(5), first(&mut stream)).await.unwrap_or(Came::Silence)
    }

    pub(crate) async fn check(&self, cases: Vec<Case>) {
        let mut wrong = String::new();
        for Case(what, frames, expected) in cases {
            let before = self.api.requests();
            let came = self.comes_of(&frames).await;
            let passed = self.api.requests() > before && expected != Answer(200);
            // What the upstream was asked before the frame that is wrong is fine.
            let asked_before = frames.len() > 1;
            if came != expected || (passed && !asked_before) {
                wrong.push_str(&format!("\n{what}: {came:?} and not {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        assert_eq!(self.comes_of(&saying(get())).await, Answer(200), "everybody else is served");
    }
}

async fn first(stream: &mut TcpStream) -> Came {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return Came::Closed;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut payload).await.is_err() {
            return Came::Closed;
        }
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match (head[3], head[4] & 1) {
            (PING, 1) if payload == [7; 8] => return Pong,
            (RST_STREAM, _) => return Reset(number(0)),
            (GOAWAY, _) => return GoAway(number(4)),
            (HEADERS, _) => return Answer(status(&payload)),
            _ => {}
        }
    }
}

/// The status of an answer, whose field comes first: one of the static table, or the text of a literal with Huffman's code.
fn status(block: &[u8]) -> u16 {
    let block = if block[0] & 0xe0 == 0x20 { &block[1..] } else { block };
    match block[0] {
        byte @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(byte - 0x88)],
        0x48 if block[1] & 0x80 == 0 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
        // Digits 0 to 2 have five bits there, the others six.
        0x48 => {
            let length = usize::from(block[1] & 0x7f);
            let mut bits = block[2..2 + length].iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            let mut left = length * 8;
            let mut digits = 0_u16;
            for _ in 0..3 {
                let five = u16::try_from(bits >> (left - 5) & 31).unwrap();
                let (digit, taken) =
                    if five < 3 { (five, 5) } else { (u16::try_from(bits >> (left - 6) & 63).unwrap() - 0x19 + 3, 6) };
                digits = digits * 10 + digit;
                left -= taken;
                bits &= (1 << left) - 1;
            }
            digits
        }
        byte => panic!("an answer begins with {byte:#x}"),
    }
}

#[tokio::test]
async fn section_4_frames() {
    let world = World::new().await;
    let large = |length: usize| frame(DATA, END_STREAM, 1, vec![b'x'; length]);
    world
        .check(vec![
            Case("4.1 a frame of an unknown type", vec![frame(0x16, 0, 0, [0; 8]), ping()], Pong),
            Case("4.1 flags that are not defined", vec![frame(PING, 0x16, 0, [7; 8])], Pong),
            Case("4.1 the reserved bit of a stream's number", vec![frame(PING, 0, 1 << 31, [7; 8])], Pong),
            Case("4.2 DATA of 16,384 bytes", vec![upload(&[]), large(16_384)], Answer(200)),
            Case("4.2 DATA of 16,385 bytes", vec![upload(&[]), large(16_385)], GoAway(FRAME_SIZE)),
            Case("4.2 HEADERS of 16,385 bytes", saying([get(), vec![0; 16_385]].concat()), GoAway(FRAME_SIZE)),
            Case(
                "4.3 a block that breaks off",
                saying([0x82, 0x40, 3, b'a']),
                instead(GoAway(PROTOCOL), GoAway(COMPRESSION)),
            ),
            Case(
                "4.3 PRIORITY within a block",
                vec![frame(HEADERS, END_STREAM, 1, get()), frame(PRIORITY, 0, 1, [0; 5])],
                GoAway(PROTOCOL),
            ),
            Case(
                "4.3 HEADERS of another stream within a block",
                vec![frame(HEADERS, 1, 1, get()), held(3)],
                GoAway(PROTOCOL),
            ),
            Case(
                "5.5 an unknown frame within a block",
                vec![frame(HEADERS, 1, 1, get()), frame(0x16, 0, 1, [])],
                GoAway(PROTOCOL),
            ),
        ])
        .await;
}

#[tokio::test]
async fn section_5_streams() {
    let world = World::new().await;
    let again = || frame(HEADERS, END_STREAM | END_HEADERS, 1, get());
    let reset = || frame(RST_STREAM, 0, 1, 8_u32.to_be_bytes());
    let many = (0..150).map(|number| held(2 * number + 1)).collect();
    world
        .check(vec![
            Case("5.1 idle: DATA", vec![frame(DATA, END_STREAM, 1, b"x")], GoAway(PROTOCOL)),
            Case("5.1 idle: RST_STREAM", vec![reset()], GoAway(PROTOCOL)),
            Case("5.1 idle: WINDOW_UPDATE", vec![frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 9])], GoAway(PROTOCOL)),
            Case("5.1 idle: CONTINUATION", vec![frame(CONTINUATION, END_HEADERS, 1, get())], GoAway(PROTOCOL)),
            Case(
                "5.1 half-closed: DATA",
                vec![held(1), frame(DATA, END_STREAM, 1, b"x")],
                instead(GoAway(PROTOCOL), Reset(STREAM_CLOSED)),
            ),
            Case("5.1 half-closed: HEADERS", vec![held(1), again()], instead(GoAway(PROTOCOL), Reset(STREAM_CLOSED))),
            Case(
                "5.1 half-closed: CONTINUATION",
                vec![held(1), frame(CONTINUATION, END_HEADERS, 1, get())],
                GoAway(PROTOCOL),
            ),
            Case(
                "5.1 half-closed: WINDOW_UPDATE",
                vec![held(1), frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 9]), ping()],
                Pong,
            ),
            Case(
                "5.1 closed by the caller: DATA",
                vec![held(1), reset(), frame(DATA, 1, 1, b"x")],
                Reset(STREAM_CLOSED),
            ),
            Case(
                "5.1 closed by the caller: HEADERS",
                vec![held(1), reset(), again()],
                instead(GoAway(PROTOCOL), GoAway(STREAM_CLOSED)),
            ),
            Case(
                "5.1 closed by the caller: PRIORITY",
                vec![held(1), reset(), frame(PRIORITY, 0, 1, [0; 5]), ping()],
                Pong,
            ),
            Case("5.1.1 an even stream", vec![held(2)], GoAway(PROTOCOL)),
            Case("5.1.1 a stream below the last one", vec![held(5), held(3)], GoAway(PROTOCOL)),
            Case("5.1.2 more streams than may be", many, Reset(REFUSED_STREAM)),
            Case("5.3 a stream that depends on itself", vec![frame(PRIORITY, 0, 1, [0, 0, 0, 1, 7]), ping()], Pong),
            Case("7 RST_STREAM with an unknown code", vec![held(1), frame(RST_STREAM, 0, 1, [0xff; 4]), ping()], Pong),
        ])
        .await;
}

#[tokio::test]
async fn section_6_data_headers_priority_and_resets() {
    let world = World::new().await;
    let padded = |pad: u8| frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, [&[pad][..], &get(), &[0; 7]].concat());
    let prioritized =
        frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, [&[0, 0, 0, 0, 9][..], &get()].concat());
    world
        .check(vec![
            Case("6.1 DATA", vec![upload(&[]), frame(DATA, END_STREAM, 1, b"test")], Answer(200)),
            Case(
                "6.1 several DATA",
                vec![upload(&[]), frame(DATA, 0, 1, b"te"), frame(DATA, END_STREAM, 1, b"st")],
                Answer(200),
            ),
            Case(
                "6.1 DATA with padding",
                vec![upload(&[]), frame(DATA, END_STREAM | PADDED, 1, b"\x02testxx")],
                Answer(200),
            ),
            Case("6.1 DATA on stream 0", vec![frame(DATA, END_STREAM, 0, b"x")], GoAway(PROTOCOL)),
            Case(
                "6.1 DATA that is all padding and more",
                vec![upload(&[]), frame(DATA, END_STREAM | PADDED, 1, b"\x09test")],
                GoAway(PROTOCOL),
            ),
            Case("6.2 HEADERS with padding", vec![padded(7)], Answer(200)),
            Case("6.2 HEADERS with a priority", vec![prioritized], Answer(200)),
            Case("6.2 HEADERS on stream 0", vec![frame(HEADERS, END_STREAM | END_HEADERS, 0, get())], GoAway(PROTOCOL)),
            Case("6.2 HEADERS that is all padding and more", vec![padded(255)], GoAway(PROTOCOL)),
            Case("6.3 PRIORITY", vec![frame(PRIORITY, 0, 1, [0, 0, 0, 0, 9]), ping()], Pong),
            Case("6.3 PRIORITY on stream 0", vec![frame(PRIORITY, 0, 0, [0; 5])], GoAway(PROTOCOL)),
            Case(
                "6.3 PRIORITY of 4 bytes",
                vec![frame(PRIORITY, 0, 1, [0; 4]), ping()],
                instead(GoAway(PROTOCOL), Reset(FRAME_SIZE)),
            ),
            Case("6.4 RST_STREAM on stream 0", vec![frame(RST_STREAM, 0, 0, [0; 4])], GoAway(PROTOCOL)),
            Case(
                "6.4 RST_STREAM of 3 bytes",
                vec![held(1), frame(RST_STREAM, 0, 1, [0; 3])],
                instead(GoAway(PROTOCOL), GoAway(FRAME_SIZE)),
            ),
            Case(
                "6.6 PUSH_PROMISE",
                vec![frame(PUSH_PROMISE, END_HEADERS, 1, [&[0, 0, 0, 2][..], &get()].concat())],
                GoAway(PROTOCOL),
            ),
        ])
        .await;
}

#[tokio::test]
async fn section_6_settings_pings_and_goodbyes() {
    let world = World::new().await;
    let set = |id: u16, value: u32| vec![frame(SETTINGS, 0, 0, setting(id, value)), ping()];
    world
        .check(vec![
            Case(
                "6.5 an acknowledgement with a payload",
                vec![frame(SETTINGS, 1, 0, setting(1, 0))],
                instead(GoAway(PROTOCOL), GoAway(FRAME_SIZE)),
            ),
            Case("6.5 SETTINGS on stream 1", vec![frame(SETTINGS, 0, 1, setting(1, 0))], GoAway(PROTOCOL)),
            Case(
                "6.5 SETTINGS of 5 bytes",
                vec![frame(SETTINGS, 0, 0, [0; 5])],
                instead(GoAway(PROTOCOL), GoAway(FRAME_SIZE)),
            ),
            Case("6.5.2 ENABLE_PUSH of 2", set(2, 2), GoAway(PROTOCOL)),
            Case(
                "6.5.2 INITIAL_WINDOW_SIZE above the largest",
                set(4, 1 << 31),
                instead(GoAway(PROTOCOL), GoAway(FLOW_CONTROL)),
            ),
            Case("6.5.2 MAX_FRAME_SIZE below the smallest", set(5, 16_383), GoAway(PROTOCOL)),
            Case("6.5.2 MAX_FRAME_SIZE above the largest", set(5, 1 << 24), GoAway(PROTOCOL)),
            Case("6.5.2 an unknown setting", set(0xff, 1), Pong),
            Case(
                "6.5.3 the last of two values counts",
                vec![frame(SETTINGS, 0, 0, [setting(4, 100), setting(4, 1)].concat()), ping()],
                Pong,
            ),
            Case("6.7 PING", vec![ping()], Pong),
            Case("6.7 an acknowledgement that answers nothing", vec![frame(PING, 1, 0, [1; 8]), ping()], Pong),
            Case("6.7 PING on stream 1", vec![frame(PING, 0, 1, [7; 8])], GoAway(PROTOCOL)),
            Case("6.7 PING of 6 bytes", vec![frame(PING, 0, 0, [7; 6])], instead(GoAway(PROTOCOL), GoAway(FRAME_SIZE))),
            Case("6.8 GOAWAY on stream 1", vec![frame(GOAWAY, 0, 1, [0; 8])], GoAway(PROTOCOL)),
            Case(
                "7 GOAWAY with an unknown code",
                vec![frame(GOAWAY, 0, 0, [&[0; 4][..], &[0xff; 4]].concat()), ping()],
                Pong,
            ),
        ])
        .await;
}

#[tokio::test]
async fn section_6_windows_and_continuations() {
    let world = World::new().await;
    let window = |stream: u32, by: u32| frame(WINDOW_UPDATE, 0, stream, by.to_be_bytes());
    let most = 0x7fff_ffff;
    let begun = |length: usize| frame(HEADERS, END_STREAM, 1, &get()[..length]);
    let on = |flags: u8, block: &[u8]| frame(CONTINUATION, flags, 1, block);
    let get = get();
    world
        .check(vec![
            Case("6.9 WINDOW_UPDATE by 0", vec![window(0, 0)], GoAway(PROTOCOL)),
            Case(
                "6.9 WINDOW_UPDATE by 0 of a stream",
                vec![held(1), window(1, 0)],
                instead(GoAway(PROTOCOL), Reset(PROTOCOL)),
            ),
            Case(
                "6.9 WINDOW_UPDATE of 3 bytes",
                vec![frame(WINDOW_UPDATE, 0, 0, [0, 0, 1])],
                instead(GoAway(PROTOCOL), GoAway(FRAME_SIZE)),
            ),
            Case("6.9.1 a window above the largest", vec![window(0, most), window(0, most)], GoAway(FLOW_CONTROL)),
            Case(
                "6.9.1 a stream's window above the largest",
                vec![held(1), window(1, most), window(1, most)],
                Reset(FLOW_CONTROL),
            ),
            Case(
                "6.9.2 a first window of 1",
                vec![frame(SETTINGS, 0, 0, setting(4, 1)), saying(&get).concat()],
                Answer(200),
            ),
            Case(
                "6.9.2 a window that becomes negative",
                vec![held(1), frame(SETTINGS, 0, 0, setting(4, 0)), ping()],
                Pong,
            ),
            Case("6.10 two CONTINUATION", vec![begun(9), on(0, &get[9..20]), on(END_HEADERS, &get[20..])], Answer(200)),
            Case("6.10 CONTINUATION of an ended block", vec![held(1), on(END_HEADERS, &get)], GoAway(PROTOCOL)),
            Case(
                "6.10 CONTINUATION on stream 0",
                vec![begun(9), frame(CONTINUATION, END_HEADERS, 0, &get[9..])],
                GoAway(PROTOCOL),
            ),
            Case("6.10 DATA within a block", vec![begun(9), frame(DATA, END_STREAM, 1, b"x")], GoAway(PROTOCOL)),
            Case(
                "6.10 more CONTINUATION than anybody needs",
                [vec![begun(9)], vec![on(0, b""); 200]].concat(),
                GoAway(ENHANCE_YOUR_CALM),
            ),
        ])
        .await;
}

#[tokio::test]
async fn what_does_not_begin_as_http2_does_is_answered_in_its_own_way() {
    let world = World::new().await;
    let connect = async || TcpStream::connect(world.proxy.address("base")).await.unwrap();
    // Nearly a preface: it is HTTP/1.1 then, and no request of it.
    let mut stream = connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 "), "{:?}", String::from_utf8_lossy(&said));
    // Something before the first settings (3.4), which harms nobody.
    let mut stream = connect().await;
    stream.write_all(&[PREFACE, &ping()].concat()).await.unwrap();
    assert_eq!(first(&mut stream).await, instead(Pong, GoAway(PROTOCOL)));
    assert_eq!(world.comes_of(&saying(get())).await, Answer(200));
    assert_eq!(world.api.requests(), 1);
}
