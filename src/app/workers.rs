//! Threads: one current-thread runtime for each core of the data path, and one control runtime beside them.
//!
//! A connection stays on the worker that accepted it, with that worker's own upstream connections. Token requests, the
//! admin API and everything else that could take long run on the control thread.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{Builder as Thread, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::coarse;
use crate::listen::{self, Bound, CallerConnection, Handler, ListenContext, Roster, Serving};
use crate::proxy::{CallerBody, Proxy, ProxyShared, malformed};
use crate::runtime::SharedRuntime;

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// The two steps of ending: finish what is in progress, then stop whatever is left.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    pub(super) drain: CancellationToken,
    pub(super) now: CancellationToken,
}

/// What every worker is given.
#[derive(Clone)]
pub(super) struct WorkerParts {
    pub(super) runtime: SharedRuntime,
    pub(super) shared: Arc<ProxyShared>,
    pub(super) context: ListenContext,
    pub(super) workers: usize,
    pub(super) stop: Stop,
}

/// A running thread, and word of its end.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) thread: JoinHandle<()>,
    pub(super) ended: oneshot::Receiver<()>,
}

/// Starts a worker on its own sockets, one for each listener, in the listeners' order.
pub(super) fn start_worker(number: usize, sockets: Vec<Bound>, parts: WorkerParts) -> io::Result<Running> {
    spawn(&format!("attache-worker-{number}"), move || match local_runtime() {
        Ok(runtime) => runtime.block_on(work(sockets, parts)),
        Err(error) => tracing::error!(target: "attache::app", %error, "a worker cannot start"),
    })
}

/// Starts the control thread. It gives its handle at once, and runs `main` when that has been sent.
pub(super) fn start_control<M, F>(main: oneshot::Receiver<M>) -> io::Result<(Handle, Running)>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let (send_handle, handle) = std::sync::mpsc::channel();
    let running = spawn("attache-control", move || {
        let Ok(runtime) = local_runtime() else { return };
        if send_handle.send(runtime.handle().clone()).is_ok() {
            runtime.block_on(async {
                if let Ok(main) = main.await {
                    main().await;
                }
            });
        }
    })?;
    let handle = handle.recv().map_err(|_gone| io::Error::other("the control runtime cannot be made"))?;
    Ok((handle, running))
}

/// Made on the thread that runs it: it never moves to another.
fn local_runtime() -> io::Result<LocalRuntime> {
    // Blocking threads are for name resolution and files; a handful is enough, and they go when idle.
    Builder::new_current_thread().enable_all().max_blocking_threads(8).build_local(LocalOptions::default())
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Running> {
    let (send_ended, ended) = oneshot::channel();
    let thread = Thread::new().name(name.into()).spawn(move || {
        run();
        // Nobody may be waiting any more.
        let _unheard = send_ended.send(());
    })?;
    Ok(Running { thread, ended })
}

async fn work(sockets: Vec<Bound>, parts: WorkerParts) {
    let WorkerParts { runtime, shared, context, workers, stop } = parts;
    let clock = tokio::task::spawn_local(coarse::drive());
    let roster = Rc::new(Roster::default());
    let inside =
        Serving { limits: Arc::clone(&context.limits), panics: context.panics.clone(), roster: Rc::clone(&roster) };
    let proxy = Proxy::new(runtime.reader(), shared, workers, inside, stop.now.clone());
    for (listener, socket) in sockets.into_iter().enumerate() {
        let handler = Rc::new(ListenerHandler { proxy: Rc::clone(&proxy), listener });
        roster.spawn(listen::serve(socket, handler, context.clone(), Rc::clone(&roster)));
    }
    let mut sweep = tokio::time::interval(SWEEP);
    let drain = stop.drain.cancelled();
    tokio::pin!(drain);
    loop {
        tokio::select! {
            _ = sweep.tick() => proxy.sweep(),
            () = &mut drain => break,
        }
    }
    roster.begin_drain();
    let drained = async {
        roster.drained().await;
        proxy.drained().await;
    };
    tokio::select! {
        () = drained => {}
        () = stop.now.cancelled() => {}
    }
    clock.abort();
}

struct ListenerHandler {
    proxy: Rc<Proxy>,
    listener: usize,
}

impl Handler for ListenerHandler {
    type Body = CallerBody;

    async fn handle(&self, request: Request<Incoming>, caller: &Arc<CallerConnection>) -> Response<CallerBody> {
        self.proxy.handle(self.listener, request, caller).await
    }

    fn malformed(status: StatusCode) -> Bytes {
        malformed(status)
    }
}
