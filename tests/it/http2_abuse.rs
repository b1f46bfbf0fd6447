//! What a hostile caller does with HTTP/2 frames, over a socket; each test is named for the attack that it tries.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::frames::frame;
use crate::support::{ADMIN, Reply, Scripted, TestProxy, TokenServer, credential, get, reverse, until, upstream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `GET http://localhost/` in HPACK, without a table.
fn request(stream: u32, flags: u8) -> Vec<u8> {
    let head = [&[0x82, 0x86, 0x84, 0x41, 9][..], b"localhost"].concat();
    frame(1, flags, stream, &head)
}

struct Base {
    api: Scripted,
    proxy: TestProxy,
    _tokens: TokenServer,
}

impl Base {
    async fn new() -> Self {
        let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
        let config = format!("{}{ADMIN}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin()));
        Self { api, proxy: TestProxy::start(&config), _tokens: tokens }
    }

    /// Sends these frames over and over, reading what comes, until the connection ends or so many have been sent.
    async fn flood(&self, most: usize, mut frames: impl FnMut(usize) -> Vec<u8>) -> bool {
        let stream = TcpStream::connect(self.proxy.address("base")).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let drained = tokio::spawn(async move {
            let mut buffer = vec![0; 65536];
            while read.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        });
        let mut ended = write.write_all(PREFACE).await.and(write.write_all(&frame(4, 0, 0, [])).await).is_err();
        for number in 0..most {
            if ended || drained.is_finished() {
                ended = true;
                break;
            }
            ended = write.write_all(&frames(number)).await.is_err();
        }
        if !ended {
            // What was written last may still be on its way.
            ended = tokio::time::timeout(std::time::Duration::from_secs(3), drained).await.is_ok();
        }
        ended
    }

    /// Everybody else is served, and nothing is left of the attack.
    async fn is_unharmed(&self) {
        assert_eq!(get(self.proxy.address("base"), "localhost", "/").await.text(), "fine");
        until("no connection is left", || async { self.proxy.metric("attache_caller_connections").await == 0.0 }).await;
    }
}

#[tokio::test]
async fn ping_flood() {
    let base = Base::new().await;
    assert!(base.flood(20_000, |_| frame(6, 0, 0, [0; 8])).await);
    base.is_unharmed().await;
}

#[tokio::test]
async fn settings_flood() {
    let base = Base::new().await;
    assert!(base.flood(20_000, |_| frame(4, 0, 0, [])).await);
    base.is_unharmed().await;
}

#[tokio::test]
async fn empty_data_flood() {
    let base = Base::new().await;
    let flooded = base.flood(20_000, |number| if number == 0 { request(1, 4) } else { frame(0, 0, 1, []) });
    assert!(flooded.await);
    base.is_unharmed().await;
}

#[tokio::test]
async fn rapid_reset() {
    let base = Base::new().await;
    let flooded = base.flood(20_000, |number| {
        let stream = u32::try_from(number).unwrap() * 2 + 1;
        [request(stream, 5), frame(3, 0, stream, 8_u32.to_be_bytes())].concat()
    });
    assert!(flooded.await);
    assert!(base.api.requests() < 2000, "{}", base.api.requests());
    base.is_unharmed().await;
}

#[tokio::test]
async fn continuation_flood() {
    let base = Base::new().await;
    let flooded = base.flood(20_000, |number| {
        if number == 0 { request(1, 1) } else { frame(9, 0, 1, [0x40, 1, b'a', 1, b'b'].repeat(200)) }
    });
    assert!(flooded.await);
    base.is_unharmed().await;
}

#[tokio::test]
async fn made_you_reset() {
    let base = Base::new().await;
    // A window update of zero is an error of the stream that the server has to reset (CVE-2025-8671).
    let flooded = base.flood(20_000, |number| {
        let stream = u32::try_from(number).unwrap() * 2 + 1;
        [request(stream, 5), frame(8, 0, stream, 0_u32.to_be_bytes())].concat()
    });
    assert!(flooded.await);
    base.is_unharmed().await;
}
