//! Sockets that a service manager passes (socket activation): they are open before attache starts and after it ends, so that
//! a restart drops no connection. systemd says by `LISTEN_FDS` how many there are, and by `LISTEN_FDNAMES` what they are called.

use std::io;
use std::net::TcpListener as StdTcpListener;

use super::unix_socket::StdUnixListener;
use super::{BindError, Bound};
use crate::listen::settings::ListenAddress;

/// What was passed to this process.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Vec<Held>);

#[derive(Debug)]
struct Held {
    /// `FileDescriptorName=`; `unknown` if the manager gave none.
    name: String,
    address: ListenAddress,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(StdTcpListener),
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are none"))]
    Unix(StdUnixListener),
}

impl Inherited {
    /// What the environment says was passed to this process, and to no other. Ask once: descriptors have one owner.
    ///
    /// # Errors
    /// A descriptor that is no listening stream socket.
    #[cfg(unix)]
    pub(crate) fn from_environment() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut passed = listenfd::ListenFd::from_env();
        let mut held = Vec::with_capacity(passed.len());
        for index in 0..passed.len() {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned());
            let (address, socket) = taken(&mut passed, index).map_err(|error| {
                io::Error::new(error.kind(), format!("the service manager's socket {name:?} cannot be used: {error}"))
            })?;
            held.push(Held { name, address, socket });
        }
        Ok(Self(held))
    }

    /// There is no such thing here.
    #[cfg(not(unix))]
    pub(crate) fn from_environment() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// The socket of this listener, once for each worker: the one that has its name, else the one at its address. `None`: there
    /// is none, and the listener has to bind its own.
    pub(crate) fn bound(
        &self,
        name: &str,
        wanted: &ListenAddress,
        workers: usize,
    ) -> Option<Result<(ListenAddress, Vec<Bound>), BindError>> {
        let by_name = self.0.iter().find(|held| held.name == name);
        let held = by_name.or_else(|| self.0.iter().find(|held| held.address == *wanted))?;
        // Whether a listener may be open to other machines was decided by its address in the file.
        if !fits(wanted, &held.address) {
            let reason = format!(
                "the service manager's socket of this name is at {}; write the same address in both places",
                held.address
            );
            return Some(Err(BindError::new(wanted, reason)));
        }
        let sockets: io::Result<Vec<Bound>> = (0..workers.max(1)).map(|_| held.socket.duplicate()).collect();
        Some(
            sockets
                .map(|sockets| (held.address.clone(), sockets))
                .map_err(|error| BindError::new(wanted, error.to_string())),
        )
    }

    /// The first socket that none of these listeners takes: a name that was misspelt, in one place or the other.
    #[must_use]
    pub(crate) fn unwanted(&self, listeners: &[(&str, &ListenAddress)]) -> Option<String> {
        let taken = |held: &Held| listeners.iter().any(|(name, at)| *name == held.name || **at == held.address);
        let held = self.0.iter().find(|held| !taken(held))?;
        let names: Vec<&str> = listeners.iter().map(|(name, _)| *name).collect();
        Some(format!(
            "the service manager passed a socket {:?} at {}, and no listener has that name or address; give it one of these as \
             FileDescriptorName=: {}",
            held.name,
            held.address,
            names.join(", ")
        ))
    }
}

fn fits(wanted: &ListenAddress, held: &ListenAddress) -> bool {
    match (wanted, held) {
        (ListenAddress::Tcp(wanted), ListenAddress::Tcp(held)) if wanted.port() == 0 => wanted.ip() == held.ip(),
        _ => wanted == held,
    }
}

impl Socket {
    /// Another descriptor of the same socket, which programs that attache starts do not get.
    fn duplicate(&self) -> io::Result<Bound> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Bound::Tcp(socket.try_clone()?))
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Bound::Unix(socket.try_clone()?))
            }
        }
    }
}

#[cfg(unix)]
fn taken(passed: &mut listenfd::ListenFd, index: usize) -> io::Result<(ListenAddress, Socket)> {
    let gone = || io::Error::other("it was taken already");
    if let Ok(socket) = passed.take_tcp_listener(index) {
        let socket = closed_on_exec(&socket.ok_or_else(gone)?)?;
        return Ok((ListenAddress::Tcp(socket.local_addr()?), Socket::Tcp(socket)));
    }
    let socket = passed.take_unix_listener(index)?.ok_or_else(gone)?;
    let path = socket.local_addr()?.as_pathname().map(std::path::Path::to_owned);
    let path = path.ok_or_else(|| io::Error::other("a unix socket without a path has no place in a configuration"))?;
    Ok((ListenAddress::Unix(path), Socket::Unix(socket.try_clone()?)))
}

/// The descriptor as it was passed goes on to every program that attache starts; a copy does not.
#[cfg(unix)]
fn closed_on_exec(socket: &StdTcpListener) -> io::Result<StdTcpListener> {
    socket.try_clone()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn held(name: &str) -> (Inherited, ListenAddress) {
        let socket = StdTcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = ListenAddress::Tcp(socket.local_addr().unwrap());
        (Inherited(vec![Held { name: name.into(), address: address.clone(), socket: Socket::Tcp(socket) }]), address)
    }

    #[test]
    fn a_socket_is_found_by_its_name_or_its_address() {
        let (inherited, address) = held("proxy");
        let (real, sockets) = inherited.bound("proxy", &address, 2).unwrap().unwrap();
        assert_eq!((real, sockets.len()), (address.clone(), 2));
        assert!(inherited.bound("other", &address, 1).unwrap().is_ok(), "at its address");
        let any = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        assert!(inherited.bound("proxy", &any, 1).unwrap().is_ok(), "port 0 is whatever it is");
        assert!(inherited.bound("other", &any, 1).is_none());
    }

    #[test]
    fn another_address_than_that_of_the_file_is_refused() {
        let (inherited, _) = held("proxy");
        let wanted = ListenAddress::Tcp(([127, 0, 0, 1], 1).into());
        let error = inherited.bound("proxy", &wanted, 1).unwrap().unwrap_err().to_string();
        assert!(error.contains("write the same address in both places"), "{error}");
    }

    #[test]
    fn a_socket_that_no_listener_takes_is_told_with_the_names_that_there_are() {
        let (inherited, address) = held("porxy");
        let elsewhere = ListenAddress::Tcp(([127, 0, 0, 1], 1).into());
        let told = inherited.unwanted(&[("proxy", &elsewhere), ("admin", &elsewhere)]).unwrap();
        assert!(told.contains("\"porxy\"") && told.ends_with("FileDescriptorName=: proxy, admin"), "{told}");
        assert!(inherited.unwanted(&[("x", &address)]).is_none());
        assert!(Inherited::default().unwanted(&[]).is_none());
    }
}
