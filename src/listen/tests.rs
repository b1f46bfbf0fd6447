//! A listener with a handler that panics on demand.

use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body::Body;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

/// Answers, unless it is asked for `/panic`, or for a body that panics. `/empty` is a 404 without a word.
struct Fragile;

impl Handler for Fragile {
    type Body = FragileBody;

    async fn handle(&self, request: Request<Incoming>, _: &Arc<CallerConnection>) -> Response<FragileBody> {
        assert_ne!(request.uri().path(), "/panic", "scripted");
        let empty = request.uri().path() == "/empty";
        let fine = Full::new(Bytes::from(if empty { "" } else { "fine" }));
        let mut response = Response::new(FragileBody { panics: request.uri().path() == "/body", fine });
        if empty {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    }

    fn malformed(_: Unreadable) -> Bytes {
        Bytes::from("malformed")
    }
}

impl ConnectionHandler for Fragile {
    fn open<S>(self: Rc<Self>, stream: S, caller: Arc<CallerConnection>, serving: Serving) -> Opening
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        open_http(stream, BytesMut::new(), self, caller, serving)
    }
}

struct FragileBody {
    panics: bool,
    fine: Full<Bytes>,
}

impl Body for FragileBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        assert!(!self.panics, "scripted");
        std::pin::Pin::new(&mut self.fine).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.fine.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.fine.size_hint()
    }
}

/// Serves on a free port while `talk` runs; gives the panics that were counted, and the connections left open.
async fn panics_during<F: Future<Output = ()>>(talk: impl FnOnce(std::net::SocketAddr) -> F) -> (u64, i64) {
    let anywhere = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let (ListenAddress::Tcp(address), mut sockets) = bind(&anywhere, None, 1).unwrap() else { panic!("no TCP") };
    let context = ListenContext {
        per_address: None,
        limits: Arc::new(Limits::default()),
        room: Room::new(1),
        gauge: Gauge::default(),
        panics: Counter::default(),
    };
    let (panics, gauge) = (context.panics.clone(), context.gauge.clone());
    let worker = LocalSet::new();
    let drain = Drain::new(&context.room);
    let served = async {
        drain.spawn(serve(sockets.remove(0), Rc::new(Fragile), context, Rc::clone(&drain)));
        talk(address).await;
        drain.begin_drain();
        drain.drained().await;
    };
    tokio::time::timeout(Duration::from_secs(60), worker.run_until(served)).await.unwrap();
    (panics.get(), gauge.get())
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that ends by a panic may be reset.
    let _ended = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_panic_ends_its_connection_and_is_counted_and_the_worker_lives_on() {
    let counted = panics_during(|address| async move {
        for path in ["/panic", "/body"] {
            assert!(!get(address, path).await.contains("fine"), "{path}");
            // There is one permit: the connection before has given it back.
            assert!(get(address, "/").await.contains("fine"), "after {path}");
        }
    });
    assert_eq!(counted.await, (2, 0));
}

#[tokio::test]
async fn a_short_answer_to_a_head_that_can_be_read_stays_as_it_is() {
    let counted = panics_during(|address| async move {
        let answer = get(address, "/empty").await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("content-length: 0"), "{answer}");
        assert_eq!(get(address, "/ /").await, "malformed");
    });
    assert_eq!(counted.await, (0, 0));
}

#[tokio::test]
async fn a_panic_in_an_http2_stream_ends_that_stream_only() {
    let counted = panics_during(|address| async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut ask = async |path: &str| {
            let request = Request::get(format!("http://a{path}")).body(()).unwrap();
            send = send.clone().ready().await.unwrap();
            let mut body = send.send_request(request, true).unwrap().0.await?.into_body();
            body.data().await.unwrap()
        };
        assert!(ask("/panic").await.is_err());
        assert_eq!(ask("/").await.unwrap(), "fine");
        assert!(ask("/body").await.is_err());
        assert_eq!(ask("/").await.unwrap(), "fine");
        drop(send);
        connection.await.unwrap().unwrap();
    });
    assert_eq!(counted.await, (2, 0));
}
