//! One question to the kernel: whose is the socket with these two addresses (`sock_diag(7)`, Linux)?
//!
//! It looks the socket up by its hash, however many there are; reading `/proc/net/tcp` walks through all of them. The kernel has
//! answered when the sending returns, so nothing is waited for.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// `AF_NETLINK`, `NETLINK_SOCK_DIAG`.
const FAMILY: i32 = 16;
const SOCK_DIAG: i32 = 4;

/// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`, `NLMSG_ERROR`.
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;

/// `AF_INET`, `AF_INET6`, `IPPROTO_TCP`, `TCP_ESTABLISHED`.
const INET: u8 = 2;
const INET6: u8 = 10;
const TCP: u8 = 6;
const ESTABLISHED: u8 = 1;

/// `struct nlmsghdr`, and behind it `struct inet_diag_req_v2` or `struct inet_diag_msg`.
const HEADER: usize = 16;
const QUESTION: usize = 56;
/// Where in the answer family and state are, the addresses (`struct inet_diag_sockid`), and the user.
const ID: usize = HEADER + 4;
const UID: usize = HEADER + 64;
const SHORTEST: usize = HEADER + 72;

/// The user whose socket has `local` for its own address and `remote` for the other, if the connection stands. `Ok(None)`: there is
/// none.
///
/// # Errors
/// When the kernel cannot be asked.
pub(super) fn owner(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u32>> {
    let mut socket = Socket::new(Domain::from(FAMILY), Type::DGRAM, Some(Protocol::from(SOCK_DIAG)))?;
    socket.set_nonblocking(true)?;
    socket.write_all(&question(local, remote))?;
    let mut answer = [0; 1024];
    let length = socket.read(&mut answer)?;
    read(&answer[..length], local, remote)
}

fn question(local: SocketAddr, remote: SocketAddr) -> [u8; HEADER + QUESTION] {
    let (local, remote) = (canonical(local), canonical(remote));
    let family = if local.is_ipv4() && remote.is_ipv4() { INET } else { INET6 };
    let mut question = Vec::with_capacity(HEADER + QUESTION);
    question.extend(u32::try_from(HEADER + QUESTION).unwrap_or_default().to_ne_bytes());
    question.extend(BY_FAMILY.to_ne_bytes());
    question.extend(REQUEST.to_ne_bytes());
    // Sequence number and port: there is one question for each socket.
    question.extend([0; 8]);
    question.extend([family, TCP, 0, 0]);
    question.extend((1_u32 << ESTABLISHED).to_ne_bytes());
    question.extend(ports(local, remote));
    question.extend(octets(local));
    question.extend(octets(remote));
    question.extend(0_u32.to_ne_bytes());
    // `INET_DIAG_NOCOOKIE`: whichever socket it is.
    question.extend([0xff; 8]);
    let mut whole = [0; HEADER + QUESTION];
    whole.copy_from_slice(&question);
    whole
}

/// The kernel may answer with a socket that listens on the port, where none is connected: it has to be the one that was asked for.
fn read(answer: &[u8], local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u32>> {
    let word = |at: usize| answer.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    match kind {
        Some(ERROR) => {
            let code = word(HEADER).map_or(0, u32::cast_signed);
            let error = io::Error::from_raw_os_error(code.wrapping_neg());
            // `ENOENT`
            if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) }
        }
        Some(BY_FAMILY) if answer.len() >= SHORTEST => {
            let (family, state) = (answer[HEADER], answer[HEADER + 1]);
            let id = &answer[ID..];
            let is = |at: usize, address: SocketAddr| address_at(family, &id[at..at + 16]) == canonical(address).ip();
            let found = state == ESTABLISHED && id[..4] == ports(local, remote) && is(4, local) && is(20, remote);
            Ok(if found { word(UID) } else { None })
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn ports(local: SocketAddr, remote: SocketAddr) -> [u8; 4] {
    let ([a, b], [c, d]) = (local.port().to_be_bytes(), remote.port().to_be_bytes());
    [a, b, c, d]
}

fn octets(address: SocketAddr) -> [u8; 16] {
    match address.ip() {
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&ip.octets());
            octets
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// A socket for both families has the address of an IPv4 peer within one of IPv6.
fn address_at(family: u8, octets: &[u8]) -> IpAddr {
    let mut whole = [0; 16];
    whole.copy_from_slice(octets);
    if family == INET {
        IpAddr::from([whole[0], whole[1], whole[2], whole[3]])
    } else {
        IpAddr::from(whole).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn the_kernel_tells_whose_an_established_connection_is_and_of_no_other() {
        let me = std::fs::metadata("/proc/self").unwrap().uid();
        for at in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue };
            let port = listener.local_addr().unwrap().port();
            let to = if at.starts_with("[::1]") { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") };
            let stream = TcpStream::connect(to).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            let (ours, theirs) = (accepted.local_addr().unwrap(), stream.local_addr().unwrap());
            assert_eq!(owner(peer, ours).unwrap(), Some(me), "{at}");
            assert_eq!(owner(theirs, ours).unwrap(), Some(me), "{at}, by the caller's own address");
            // There is a listening socket at this end, and no connection to there.
            let other = SocketAddr::new(peer.ip(), 1);
            assert_eq!(owner(SocketAddr::new(ours.ip(), port), other).unwrap(), None, "{at}");
            drop(stream);
            // A closed connection has no owner.
            assert_eq!(owner(peer, ours).unwrap(), None, "{at}");
        }
    }
}
