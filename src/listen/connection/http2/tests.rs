//! Answers on several streams of one connection, and in how many writes they leave.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use http::Response;
use http_body_util::Full;
use tokio::io::{DuplexStream, ReadBuf};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::*;
use crate::listen::caller::{CallerConnection, Peer};
use crate::listen::incoming::Incoming;
use crate::listen::unreadable::Unreadable;

/// `/never` is not answered, `/now` at once, `/all` when all are let go, and `/3` three turns of the worker after that.
struct Scripted {
    waiting: Rc<Cell<usize>>,
    let_go: Rc<Notify>,
}

impl Handler for Scripted {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>, _: &Arc<CallerConnection>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if path == "/never" {
            std::future::pending::<()>().await;
        }
        if path != "/now" {
            let let_go = self.let_go.notified();
            self.waiting.set(self.waiting.get() + 1);
            let_go.await;
            for _ in 0..path[1..].parse().unwrap_or(0) {
                tokio::task::yield_now().await;
            }
        }
        Response::new(Full::new(Bytes::from(vec![b'x'; 1024])))
    }

    fn malformed(_: Unreadable) -> Bytes {
        Bytes::new()
    }
}

/// Counts what is written to it.
struct Counted(DuplexStream, Rc<Cell<usize>>);

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write(cx, bytes);
        self.1.set(self.1.get() + usize::from(polled.is_ready()));
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A caller, the connection that serves it, and what was counted.
struct Talk {
    send: h2::client::SendRequest<Bytes>,
    writes: Rc<Cell<usize>>,
    waiting: Rc<Cell<usize>>,
    let_go: Rc<Notify>,
}

impl Talk {
    /// Asks for all of these, lets them go, and gives the number of writes in which their answers came.
    async fn ask(&self, paths: &[&str]) -> usize {
        self.waiting.set(0);
        let answers = paths.iter().map(|path| self.begin(path)).collect::<Vec<_>>();
        while self.waiting.get() < paths.len() {
            tokio::task::yield_now().await;
        }
        let before = self.writes.get();
        self.let_go.notify_waiters();
        for answer in answers {
            whole(answer).await;
        }
        self.writes.get() - before
    }

    fn begin(&self, path: &str) -> h2::client::ResponseFuture {
        let request = Request::get(format!("http://a{path}")).body(()).unwrap();
        self.send.clone().send_request(request, true).unwrap().0
    }
}

async fn whole(answer: h2::client::ResponseFuture) {
    let mut body = answer.await.unwrap().into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        length += data.unwrap().len();
    }
    assert_eq!(length, 1024);
}

/// Has a talk over a pipe that holds so many bytes. What is never answered expires, for time goes on when all wait.
async fn talk<F: Future<Output = ()>>(pipe: usize, talk: impl FnOnce(Talk) -> F) {
    let (near, far) = tokio::io::duplex(pipe);
    let (writes, waiting, let_go) =
        (Rc::<Cell<usize>>::default(), Rc::<Cell<usize>>::default(), Rc::<Notify>::default());
    let handler = Rc::new(Scripted { waiting: Rc::clone(&waiting), let_go: Rc::clone(&let_go) });
    let caller = Arc::new(CallerConnection::new(
        Peer::User(None),
        None,
        None,
        prometheus_client::metrics::gauge::Gauge::default(),
    ));
    let context = StreamContext { handler, caller, state: Arc::default(), write_timeout: Duration::from_secs(60) };
    let io = Counted(far, Rc::clone(&writes));
    let talking = async {
        let served = tokio::task::spawn_local(async move {
            let limits = Limits::default();
            let ended = serve(io, context, Counter::default(), &limits).await;
            assert!(ended.is_ok());
        });
        let (send, connection) = h2::client::handshake(near).await.unwrap();
        let connection = tokio::task::spawn_local(connection);
        let send = send.ready().await.unwrap();
        talk(Talk { send, writes, waiting, let_go }).await;
        connection.await.unwrap().unwrap();
        served.await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(30), LocalSet::new().run_until(talking)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_leaves_at_once_whether_it_is_alone_or_others_are_awaited() {
    talk(64 * 1024, async |talk| {
        let start = tokio::time::Instant::now();
        whole(talk.begin("/now")).await;
        let never = talk.begin("/never");
        for _ in 0..10 {
            whole(talk.begin("/now")).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(never);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn answers_of_one_turn_leave_in_one_write() {
    talk(64 * 1024, async |talk| {
        assert_eq!(talk.ask(&["/all"; 8]).await, 1);
        assert_eq!(talk.ask(&["/all"; 20]).await, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn answers_of_one_turn_after_the_other_leave_in_few_writes() {
    talk(64 * 1024, async |talk| {
        let writes = talk.ask(&["/all", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]).await;
        assert!(writes <= 3, "{writes}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn answers_leave_whole_however_little_the_caller_takes_at_a_time() {
    for pipe in [1, 100, 3000] {
        talk(pipe, async |talk| {
            talk.ask(&["/all"; 20]).await;
            talk.ask(&["/all", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]).await;
        })
        .await;
    }
}
