//! Which user is at the other end of a TCP connection within this machine, as the kernel tells (Linux).
//!
//! A port of 127.0.0.1 is open to everybody on the machine. Where it is meant for one user's programs, the owner of the other
//! socket decides: no program has to be told a password, and not all could be.
//!
//! The kernel is asked for the one socket (`sock_diag`). Where it cannot be asked so (a sandbox without netlink, a kernel
//! without the module), the tables of all sockets are read: on a blocking thread, once for all connections that come together.

#[cfg(target_os = "linux")]
mod sock_diag;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock, OnceLock};

use crate::coalesce::Coalescer;

/// `st` of a connection that stands; of any other the owner may be missing.
const ESTABLISHED: &str = "01";

/// Who has which connection, by the addresses of its two ends.
type Owners = HashMap<(SocketAddr, SocketAddr), u32>;

/// What is read for all that ask at the same time, on any worker.
static TABLES: LazyLock<Coalescer<Arc<Owners>>> = LazyLock::new(Coalescer::default);

/// The user whose socket is at the other end. `None`: it cannot be told, or the connection has ended already.
pub(crate) async fn owner(peer: SocketAddr, ours: SocketAddr) -> Option<u32> {
    let (peer, ours) = (canonical(peer), canonical(ours));
    if kernel_answers() {
        // An error is no reason to trust a stranger.
        return sock_diag::owner(peer, ours).ok().flatten();
    }
    let owners = TABLES.get(|| Arc::new(all_owners())).await?;
    owners.get(&(peer, ours)).copied()
}

/// Whether the kernel can be asked for one socket; found out once, with a connection of attache's own. An answer that there is no
/// such socket looks the same as that the kernel has no module to look for one.
fn kernel_answers() -> bool {
    static ANSWERS: OnceLock<bool> = OnceLock::new();
    let try_it = || {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).ok()?;
        let stream = std::net::TcpStream::connect(listener.local_addr().ok()?).ok()?;
        sock_diag::owner(stream.local_addr().ok()?, stream.peer_addr().ok()?).ok().flatten()
    };
    *ANSWERS.get_or_init(|| {
        let answers = try_it().is_some();
        tracing::debug!(target: "attache::listen", answers, "sock_diag, for the owners of connections");
        answers
    })
}

/// Other systems do not tell.
#[cfg(not(target_os = "linux"))]
mod sock_diag {
    pub(super) fn owner(_: super::SocketAddr, _: super::SocketAddr) -> std::io::Result<Option<u32>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// Reads the tables of all sockets; blockingly.
fn all_owners() -> Owners {
    let mut owners = Owners::new();
    // A program with a socket for both families is in the second table, though it came by IPv4.
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        owners.extend(owners_in(&std::fs::read_to_string(table).unwrap_or_default()));
    }
    owners
}

fn owners_in(table: &str) -> impl Iterator<Item = ((SocketAddr, SocketAddr), u32)> {
    table.lines().filter_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (local, remote, state) = (columns.next()?, columns.next()?, columns.next()?);
        if state != ESTABLISHED {
            return None;
        }
        Some(((address(local)?, address(remote)?), columns.nth(3)?.parse().ok()?))
    })
}

/// As the kernel writes it: words in the machine's order.
fn address(written: &str) -> Option<SocketAddr> {
    let (ip, port) = written.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut octets = [0; 16];
            for part in 0..4 {
                octets[4 * part..4 * part + 4].copy_from_slice(&word(8 * part)?);
            }
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 2 1
   2: 0100007F:9C40 0100007F:1F91 06 00000000:00000000 03:00000000 00000000     0        0 0 3
   3: 0100007F:9C41 0100007F:1F90 05 00000000:00000000 00:00000000 00000000  1001        0 0 3
   4: 0000000000000000FFFF00000100007F:9C42 0000000000000000FFFF00000100007F:1F90 01 00000000:00000000 00:00000000 00000000  1002 0 5 1
";

    #[cfg(target_endian = "little")]
    #[test]
    fn the_owner_is_that_of_exactly_this_connection() {
        let owners: Owners = owners_in(TABLE).collect();
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let owner = |peer: u16, ours: u16| owners.get(&(at(peer), at(ours))).copied();
        assert_eq!(owner(40000, 8080), Some(1000));
        assert_eq!(owner(40000, 8081), None, "what has ended may have no owner any more");
        assert_eq!(owner(40001, 8080), None);
        assert_eq!(owner(40002, 8080), Some(1002), "a socket of both families");
        assert_eq!(owner(8080, 0), None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn this_process_owns_its_own_connection_by_either_way_of_asking() {
        use std::os::unix::fs::MetadataExt as _;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_accepted, peer) = listener.accept().unwrap();
        let me = std::fs::metadata("/proc/self").unwrap().uid();
        let ours = stream.peer_addr().unwrap();
        assert_eq!(owner(peer, ours).await, Some(me));
        assert_eq!(all_owners().get(&(peer, ours)), Some(&me));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn among_many_connections_each_has_its_owner_and_a_closed_one_has_none() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let open: Vec<_> =
            (0..200).map(|_| (std::net::TcpStream::connect(to).unwrap(), listener.accept().unwrap())).collect();
        for (stream, _) in open.iter().step_by(20) {
            assert!(owner(stream.local_addr().unwrap(), to).await.is_some());
        }
        let (stream, accepted) = std::net::TcpStream::connect(to).map(|one| (one, listener.accept())).unwrap();
        let gone = stream.local_addr().unwrap();
        drop((stream, accepted));
        assert_eq!(owner(gone, to).await, None);
    }
}
