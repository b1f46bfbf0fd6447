//! Threads: one current-thread runtime for each core of the data path, and one control runtime beside them.
//!
//! A connection stays on the worker that accepted it, with that worker's own upstream connections. Token requests, the
//! admin API and everything else that could take long run on the control thread.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{Builder as Thread, JoinHandle};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::listen::{
    self, Bound, CallerAddress, CallerConnection, ConnectionHandler, Drain, Handler, Incoming, ListenContext,
    Misplaced, Networks, Opening, ProxyHeaderError, Serving, Unreadable,
};
use crate::proxy::{CallerBody, Proxy, ProxyShared, malformed};
use crate::runtime::SharedRuntime;
use crate::timer;

/// How often idle upstream connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The steps of ending: have callers go elsewhere, finish what is in progress, then stop whatever is left; at last the control thread ends too.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    pub(super) announced: CancellationToken,
    pub(super) drain: CancellationToken,
    pub(super) now: CancellationToken,
    pub(super) control: CancellationToken,
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

/// A change of what a worker listens on.
#[derive(Debug)]
enum Command {
    /// Accept here too.
    Open(usize, Bound),
    /// Accept here no more, and let the connections finish.
    Close(usize),
    /// Say that this worker still goes round.
    Answer(oneshot::Sender<()>),
}

/// The workers, as a reload sees them.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    commands: Vec<mpsc::Sender<Command>>,
}

impl Workers {
    /// Starts one worker for each share of the sockets. On failure those that run already end when `parts.stop` says so.
    pub(super) fn start(shares: Vec<Vec<(usize, Bound)>>, parts: &WorkerParts) -> io::Result<(Self, Vec<Running>)> {
        let mut commands = Vec::with_capacity(shares.len());
        let mut threads = Vec::with_capacity(shares.len());
        for (number, sockets) in shares.into_iter().enumerate() {
            let (send, receive) = mpsc::channel(16);
            let parts = parts.clone();
            threads.push(spawn(&format!("attache-worker-{number}"), move || match local_runtime() {
                Ok(runtime) => runtime.block_on(work(sockets, receive, parts)),
                Err(error) => tracing::error!(target: "attache::app", %error, "a worker cannot start"),
            })?);
            commands.push(send);
        }
        Ok((Self { commands }, threads))
    }

    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.commands.len()
    }

    /// Gives every worker its socket of a new slot.
    pub(super) async fn open(&self, slot: usize, sockets: Vec<Bound>) {
        for (worker, socket) in self.commands.iter().zip(sockets) {
            // A worker that has ended needs none.
            let _ended = worker.send(Command::Open(slot, socket)).await;
        }
    }

    /// Waits until every worker has answered; `None` if one has ended.
    pub(super) async fn answer(&self) -> Option<()> {
        for worker in &self.commands {
            let (send, answered) = oneshot::channel();
            worker.send(Command::Answer(send)).await.ok()?;
            answered.await.ok()?;
        }
        Some(())
    }

    /// Ends the accepting on a slot; its connections finish what they have begun.
    pub(super) async fn close(&self, slot: usize) {
        for worker in &self.commands {
            let _ended = worker.send(Command::Close(slot)).await;
        }
    }
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
    let handle = handle.recv().map_err(|_closed| io::Error::other("the control runtime cannot be made"))?;
    Ok((handle, running))
}

/// Made on the thread that runs it: it never moves to another.
fn local_runtime() -> io::Result<LocalRuntime> {
    // Blocking threads are for secrets and other files. Each who reads has a bound of its own, so that those which hang leave
    // threads to the others; they come when they are needed and go when idle. Names are looked up elsewhere (`dial::Names`).
    Builder::new_current_thread().enable_all().max_blocking_threads(512).build_local(LocalOptions::default())
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

async fn work(sockets: Vec<(usize, Bound)>, mut commands: mpsc::Receiver<Command>, parts: WorkerParts) {
    let WorkerParts { runtime, shared, context, workers, stop } = parts;
    let clock = tokio::task::spawn_local(timer::drive());
    let tunnels = Drain::new(&context.room);
    let inside =
        Serving { limits: Arc::clone(&context.limits), panics: context.panics.clone(), drain: Rc::clone(&tunnels) };
    let proxy = Proxy::new(runtime.reader(), shared, workers, inside, stop.now.clone());
    let mut listening =
        Listening { proxy: Rc::clone(&proxy), context, open: Vec::new(), leaving: vec![tunnels], end_announced: false };
    for (slot, socket) in sockets {
        listening.open(slot, socket);
    }
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    let (announced, drain) = (stop.announced.cancelled(), stop.drain.cancelled());
    tokio::pin!(announced, drain);
    loop {
        tokio::select! {
            _ = sweep.tick() => proxy.sweep(),
            Some(command) = commands.recv() => match command {
                Command::Open(slot, socket) => listening.open(slot, socket),
                Command::Close(slot) => listening.close(slot),
                // The one that asked may have gone.
                Command::Answer(asked) => drop(asked.send(())),
            },
            () = &mut announced, if !listening.end_announced => listening.announce_end(),
            () = &mut drain => break,
        }
    }
    let drained = async {
        listening.drained().await;
        proxy.drained().await;
    };
    tokio::select! {
        () = drained => {}
        () = stop.now.cancelled() => {}
    }
    clock.abort();
}

struct Listening {
    proxy: Rc<Proxy>,
    context: ListenContext,
    open: Vec<(usize, Rc<Drain>)>,
    /// Connections of slots that are closed, until they have finished; the first is that of opened tunnels.
    leaving: Vec<Rc<Drain>>,
    end_announced: bool,
}

impl Listening {
    fn open(&mut self, slot: usize, socket: Bound) {
        let drain = Drain::new(&self.context.room);
        let handler = Rc::new(ListenerHandler { proxy: Rc::clone(&self.proxy), listener: slot });
        if self.end_announced {
            drain.announce_end();
        }
        drain.spawn(listen::serve(socket, handler, self.context.clone(), Rc::clone(&drain)));
        self.open.push((slot, drain));
    }

    fn close(&mut self, slot: usize) {
        self.leaving.retain(|drain| !drain.is_draining() || !drain.is_empty());
        if let Some(place) = self.open.iter().position(|(known, _)| *known == slot) {
            let (_, drain) = self.open.swap_remove(place);
            drain.begin_drain();
            self.leaving.push(drain);
        }
    }

    fn announce_end(&mut self) {
        self.end_announced = true;
        self.all().for_each(|drain| drain.announce_end());
    }

    fn all(&self) -> impl Iterator<Item = &Rc<Drain>> {
        self.open.iter().map(|(_, drain)| drain).chain(&self.leaving)
    }

    async fn drained(&self) {
        let all: Vec<&Rc<Drain>> = self.all().collect();
        for drain in &all {
            drain.begin_drain();
        }
        for drain in all {
            drain.drained().await;
        }
    }
}

struct ListenerHandler {
    proxy: Rc<Proxy>,
    listener: usize,
}

impl ConnectionHandler for ListenerHandler {
    async fn admits(&self, caller: &CallerConnection) -> bool {
        self.proxy.admits(self.listener, caller).await
    }

    fn proxy_protocol(&self) -> Option<Arc<Networks>> {
        self.proxy.proxy_protocol(self.listener)
    }

    fn refused_proxy_header(&self, why: ProxyHeaderError, caller: &CallerConnection) {
        self.proxy.note_proxy_header(self.listener, why, caller);
    }

    fn is_shared(&self, address: CallerAddress) -> bool {
        self.proxy.is_trusted_proxy(self.listener, address)
    }

    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.proxy.tls(self.listener)
    }

    fn open<S>(self: Rc<Self>, stream: S, caller: Arc<CallerConnection>, serving: Serving) -> Opening
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        if self.proxy.speaks_socks(self.listener) {
            Box::pin(async move {
                self.proxy.serve_socks(self.listener, stream, caller).await;
                None
            })
        } else {
            listen::open_http(stream, BytesMut::new(), self, caller, serving)
        }
    }
}

impl Handler for ListenerHandler {
    type Body = CallerBody;

    async fn handle(&self, request: Request<Incoming>, caller: &Arc<CallerConnection>) -> Response<CallerBody> {
        self.proxy.handle(self.listener, request, caller).await
    }

    fn title_case(&self) -> bool {
        self.proxy.title_case(self.listener)
    }

    fn began_with(&self, what: Misplaced, caller: &CallerConnection) {
        self.proxy.note_misplaced(self.listener, what, caller);
    }

    fn refused_head(&self, why: Unreadable, caller: &CallerConnection) {
        self.proxy.note_unreadable(self.listener, why, caller);
    }

    fn malformed(why: Unreadable) -> Bytes {
        malformed(why)
    }
}
