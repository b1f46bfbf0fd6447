//! The ports inside that lead to attache: what is dialled there by name is handed on with the name.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::names::Names;
use super::plan::Door;
use super::remarks::Remarks;
use super::socks::{self, Reply, SocksError};
use super::strays;

/// The most connections at a time; further ones wait.
const CONNECTIONS: usize = 4096;

/// What is kept of each direction.
const BUFFER: usize = 32 * 1024;

/// What leads out.
#[derive(Debug)]
pub(super) struct Ports {
    names: Arc<Names>,
    remarks: Arc<Remarks>,
    socks: PathBuf,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Ports {
    /// With the names that are known, and the socket of attache's that takes SOCKS.
    pub(super) fn new(names: Arc<Names>, remarks: Arc<Remarks>, socks: PathBuf) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        Arc::new(Self { names, remarks, socks, room, tasks: TaskTracker::new() })
    }

    /// Serves until the runtime ends.
    ///
    /// # Errors
    /// When a port is unavailable.
    pub(super) async fn start(self: &Arc<Self>, doors: Vec<Door>) -> io::Result<()> {
        for Door { port, socket } in doors {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            tokio::spawn(Arc::clone(self).accept(listener, Some(socket.into())));
        }
        for port in self.names.ports() {
            tokio::spawn(Arc::clone(self).accept(everywhere(port).await?, None));
        }
        Ok(())
    }

    /// Lets what is on its way arrive.
    pub(super) async fn drain(&self, limit: Duration) {
        self.tasks.close();
        // What is still open then is of programs that the command has left behind.
        let _cut_off = tokio::time::timeout(limit, self.tasks.wait()).await;
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, door: Option<Arc<Path>>) {
        loop {
            let Ok(place) = Arc::clone(&self.room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (ports, door) = (Arc::clone(&self), door.clone());
                    self.tasks.spawn(async move {
                        match door {
                            Some(socket) => ports.through(stream, &socket).await,
                            None => ports.by_name(stream).await,
                        }
                        drop(place);
                    });
                }
                Err(_no_descriptors) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn through(&self, stream: TcpStream, socket: &Path) {
        match UnixStream::connect(socket).await {
            Ok(outside) => carry(stream, outside).await,
            Err(_attache_ends) => refuse(&stream),
        }
    }

    async fn by_name(&self, stream: TcpStream) {
        let Ok(at) = stream.local_addr() else { return };
        let Some(host) = self.names.meant_by(at.ip()) else {
            if !Names::is_own(at) {
                self.remarks.once(strays::bare_address(at, "TCP"));
            }
            return refuse(&stream);
        };
        match socks::dial(&self.socks, &host, at.port()).await {
            Ok(outside) => carry(stream, outside).await,
            Err(error) => {
                // What is not allowed is told outside, with what would allow it.
                if !matches!(error, SocksError::Refused(Reply::NOT_ALLOWED)) {
                    self.remarks.once(format!("no connection to {host}:{}: {error}", at.port()));
                }
                refuse(&stream);
            }
        }
    }
}

/// Every address of this network, IPv6 too where there is one.
async fn everywhere(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(_no_ipv6) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
    }
}

async fn carry(mut inside: TcpStream, mut outside: UnixStream) {
    let _low_latency = inside.set_nodelay(true);
    if copy_bidirectional_with_sizes(&mut inside, &mut outside, BUFFER, BUFFER).await.is_err() {
        refuse(&inside);
    }
}

/// The program sees a connection that is reset, not one that ended well.
fn refuse(stream: &TcpStream) {
    let _closed = stream.set_zero_linger();
}
