//! A caller that speaks HTTP/2 under TLS and takes what comes slowly: by its socket, not by windows.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpSocket;

use crate::support::{Raw, TestCa, TestProxy, read_head, until, until_still};

/// Of each answer.
const LENGTH: usize = 6 << 20;

const PATHS: [u8; 4] = *b"abcd";

/// A stream of which nothing is read until that is permitted.
struct Gated<S> {
    inner: S,
    gate: Arc<Mutex<Gate>>,
}

#[derive(Default)]
struct Gate {
    open: bool,
    waiting: Option<Waker>,
}

impl Gate {
    fn open(&mut self) {
        self.open = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        {
            let mut gate = self.gate.lock().unwrap();
            if !gate.open {
                gate.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// An upstream that answers `/x` with that letter, again and again, and counts what it has got rid of.
async fn letters(written: Arc<AtomicUsize>) -> Raw {
    Raw::start(move |mut stream, _| {
        let written = Arc::clone(&written);
        async move {
            let socket = socket2::SockRef::from(&stream);
            socket.set_send_buffer_size(32 * 1024).unwrap();
            let head = read_head(&mut stream).await;
            let letter = head.as_bytes()["GET /".len()];
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let block = [letter; 16 * 1024];
            for _ in 0..LENGTH / block.len() {
                stream.write_all(&block).await.unwrap();
                written.fetch_add(block.len(), Ordering::SeqCst);
            }
        }
    })
    .await
}

#[tokio::test]
async fn answers_that_a_socket_takes_slowly_wait_and_then_come_side_by_side_and_whole() {
    let (ca, folder) = (TestCa::new(), tempfile::tempdir().unwrap());
    let (certificate, key) = ca.issue(&["gateway.test"]);
    let own = folder.path().join("own.pem");
    std::fs::write(&own, certificate.pem() + &key.serialize_pem()).unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let api = letters(Arc::clone(&written)).await;
    let proxy = TestProxy::start(&format!(
        "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\nhosts = \"any\"\n\
         tls = {{ certificate = \"{}\" }}\n[upstreams.api]\norigin = \"{}\"\n",
        own.display(),
        api.origin()
    ));

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = ca.connect("gateway.test", socket.connect(proxy.address("base")).await.unwrap()).await;
    let gate = Arc::new(Mutex::new(Gate::default()));
    let mut builder = h2::client::Builder::new();
    // No window is in the way: what waits, waits for the socket.
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let gated = Gated { inner: stream, gate: Arc::clone(&gate) };
    let (send, connection) = builder.handshake::<_, bytes::Bytes>(gated).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let taken: Arc<Mutex<BTreeMap<u8, usize>>> = Arc::default();
    let mut streams = tokio::task::JoinSet::new();
    for path in PATHS {
        let request = http::Request::get(format!("https://gateway.test/{}", char::from(path))).body(()).unwrap();
        let (answer, _) = send.send_request(request, true).unwrap();
        let taken = Arc::clone(&taken);
        streams.spawn(async move {
            let mut answer = answer.await.unwrap();
            assert_eq!(answer.status(), 200);
            let body = answer.body_mut();
            let mut length = 0;
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                assert!(data.iter().all(|byte| *byte == path), "another stream's");
                length += data.len();
                taken.lock().unwrap().insert(path, length);
            }
            let side_by_side = PATHS.iter().all(|other| taken.lock().unwrap().contains_key(other));
            (length, side_by_side)
        });
    }
    until("all four are answered", async || api.connections() == PATHS.len() && written.load(Ordering::SeqCst) > 0)
        .await;
    let stopped = until_still(|| written.load(Ordering::SeqCst)).await;
    assert!(
        stopped > 0 && stopped < LENGTH * PATHS.len() / 2,
        "{stopped} bytes were taken for a caller that reads nothing"
    );

    gate.lock().unwrap().open();
    while let Some(read) = streams.join_next().await {
        assert_eq!(read.unwrap(), (LENGTH, true), "whole, and all have begun before the first one ends");
    }
    connection.abort();
}
