//! Listening sockets: bound before anything else starts, so that an address in use is a start error.

pub(in crate::listen) mod inherited;
mod unix_path;
mod unix_socket;

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

pub(crate) use self::unix_path::UnixPath;
use self::unix_socket::{StdUnixListener, UnixListener, UnixStream, remove_stale};
use super::caller::Peer;
use super::settings::ListenAddress;

/// Connections that wait to be accepted, for each socket.
const BACKLOG: i32 = 4096;

/// A unix socket is for its own user, unless the configuration says otherwise.
const SOCKET_MODE: u32 = 0o600;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub(crate) struct BindError {
    address: String,
    reason: String,
}

impl BindError {
    pub(in crate::listen) fn new(address: &ListenAddress, reason: String) -> Self {
        Self { address: address.to_string(), reason }
    }
}

/// One worker's socket on one address.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(StdTcpListener),
    /// A unix socket; all workers accept from the same one.
    Unix(StdUnixListener),
}

/// Binds one socket for each worker, and says which address it really is (port 0 takes a free one). `mode` is that of a unix
/// socket's file; without one it is for its own user alone.
///
/// # Errors
/// An address in use, not this machine's, or not permitted; a path that is no socket.
pub(crate) fn bind(
    address: &ListenAddress,
    mode: Option<u32>,
    workers: usize,
) -> Result<(ListenAddress, Vec<Bound>), BindError> {
    let failed = |error: &io::Error| BindError { address: address.to_string(), reason: reason(error) };
    match address {
        ListenAddress::Tcp(wanted) => {
            let (real, sockets) = bind_tcp(*wanted, workers).map_err(|error| failed(&error))?;
            Ok((ListenAddress::Tcp(real), sockets.into_iter().map(Bound::Tcp).collect()))
        }
        ListenAddress::Unix(path) => {
            let sockets = bind_unix(path, mode.unwrap_or(SOCKET_MODE), workers).map_err(|error| failed(&error))?;
            Ok((address.clone(), sockets.into_iter().map(Bound::Unix).collect()))
        }
    }
}

/// How often another free port is tried, where any will do: between the probe and the sockets another program may take it.
#[cfg(unix)]
const FREE_PORTS: usize = 8;

#[cfg(unix)]
fn bind_tcp(wanted: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<StdTcpListener>)> {
    let tries = if wanted.port() == 0 { FREE_PORTS } else { 1 };
    let taken = |bound: &io::Result<_>| bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    let mut bound = bind_tcp_once(wanted, workers);
    for _ in 1..tries {
        if !taken(&bound) {
            break;
        }
        bound = bind_tcp_once(wanted, workers);
    }
    bound
}

#[cfg(unix)]
fn bind_tcp_once(wanted: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<StdTcpListener>)> {
    // With SO_REUSEPORT a second process of the same user would share the port silently: ask without it first.
    let probe = tcp_socket(wanted, false)?;
    probe.bind(&wanted.into())?;
    probe.listen(1)?;
    let real = probe.local_addr()?.as_socket().unwrap_or(wanted);
    drop(probe);
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers.max(1) {
        let socket = tcp_socket(real, true)?;
        socket.bind(&real.into())?;
        socket.listen(BACKLOG)?;
        sockets.push(socket.into());
    }
    Ok((real, sockets))
}

#[cfg(unix)]
fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Without `SO_REUSEPORT` all workers accept from the same socket. `SO_REUSEADDR` would let another program take the port there.
#[cfg(not(unix))]
fn bind_tcp(wanted: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<StdTcpListener>)> {
    let socket = Socket::new(Domain::for_address(wanted), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&wanted.into())?;
    socket.listen(BACKLOG)?;
    let real = socket.local_addr()?.as_socket().unwrap_or(wanted);
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(socket.try_clone()?.into());
    }
    sockets.push(socket.into());
    Ok((real, sockets))
}

fn bind_unix(path: &Path, mode: u32, workers: usize) -> io::Result<Vec<StdUnixListener>> {
    remove_stale(path)?;
    let listener = StdUnixListener::bind(path)?;
    set_mode(path, mode)?;
    listener.set_nonblocking(true)?;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(listener.try_clone()?);
    }
    sockets.push(listener);
    Ok(sockets)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; choose another address, or port 0 for a free one".into()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        io::ErrorKind::PermissionDenied => "not permitted; ports below 1024 need a privilege".into(),
        _ => error.to_string(),
    }
}

pub(in crate::listen) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(in crate::listen) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Accepted {
    /// Who connected.
    pub(in crate::listen) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(_, address) => Peer::Address(*address),
            Self::Unix(stream) => Peer::User(stream.peer_cred().ok().map(|credentials| credentials.uid())),
        }
    }
}

impl Accepted {
    /// Where they connected to.
    pub(in crate::listen) fn at(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream, _) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl Bound {
    pub(in crate::listen) fn into_acceptor(self) -> io::Result<Acceptor> {
        Ok(match self {
            Self::Tcp(listener) => Acceptor::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(listener) => Acceptor::Unix(UnixListener::from_std(listener)?),
        })
    }
}

impl Acceptor {
    /// Ends the listening. What had connected by then is returned: closing the socket would reset it, and its requests may be
    /// on their way. A socket of a service manager's stays open.
    pub(in crate::listen) fn finish(self) -> Vec<Accepted> {
        let mut rest = Vec::new();
        match self {
            Self::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return rest };
                while let Ok((stream, address)) = listener.accept() {
                    if stream.set_nonblocking(true).is_ok()
                        && let Ok(stream) = TcpStream::from_std(stream)
                    {
                        rest.push(Accepted::Tcp(stream, address));
                    }
                }
            }
            #[cfg(not(unix))]
            Self::Unix(_) => {}
            #[cfg(unix)]
            Self::Unix(listener) => {
                let Ok(listener) = listener.into_std() else { return rest };
                while let Ok((stream, _)) = listener.accept() {
                    if stream.set_nonblocking(true).is_ok()
                        && let Ok(stream) = UnixStream::from_std(stream)
                    {
                        rest.push(Accepted::Unix(stream));
                    }
                }
            }
        }
        rest
    }

    pub(in crate::listen) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are written whole: waiting for more to send only adds latency.
                let _best_effort = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, address))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}
