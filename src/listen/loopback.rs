//! Which user is at the other end of a TCP connection within this machine, as the kernel tells (Linux).
//!
//! A port of 127.0.0.1 is open to everybody on the machine. Where it is meant for one user's programs, the owner of the other
//! socket decides: no program has to be told a password, and not all could be.

use std::net::{IpAddr, SocketAddr};

/// `st` of a connection that stands; of any other the owner may be missing.
const ESTABLISHED: &str = "01";

/// The user whose socket is at the other end. `None`: it cannot be told, or the connection has ended already.
#[must_use]
pub fn owner(peer: SocketAddr, ours: SocketAddr) -> Option<u32> {
    // A program with a socket for both families is in the second table, though it came by IPv4.
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| owner_in(&std::fs::read_to_string(table).ok()?, peer, ours))
}

fn owner_in(table: &str, peer: SocketAddr, ours: SocketAddr) -> Option<u32> {
    let (theirs, ours) = (written(peer), written(ours));
    table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (local, remote, state) = (columns.next()?, columns.next()?, columns.next()?);
        let found = theirs.iter().any(|one| one == local) && ours.iter().any(|one| one == remote);
        if found && state == ESTABLISHED { columns.nth(3)?.parse().ok() } else { None }
    })
}

/// As the kernel writes it: words in the machine's order, IPv4 also as a part of IPv6.
fn written(address: SocketAddr) -> Vec<String> {
    let words = |octets: &[u8]| -> String {
        let words = octets.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_ne_bytes));
        words.map(|word| format!("{word:08X}")).collect()
    };
    let port = address.port();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let mapped = ip.to_ipv6_mapped().octets();
            vec![format!("{}:{port:04X}", words(&ip.octets())), format!("{}:{port:04X}", words(&mapped))]
        }
        IpAddr::V6(ip) => vec![format!("{}:{port:04X}", words(&ip.octets()))],
    }
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
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(owner_in(TABLE, at(40000), at(8080)), Some(1000));
        assert_eq!(owner_in(TABLE, at(40000), at(8081)), None, "what has ended may belong to nobody any more");
        assert_eq!(owner_in(TABLE, at(40001), at(8080)), None);
        assert_eq!(owner_in(TABLE, at(40002), at(8080)), Some(1002), "a socket of both families");
        assert_eq!(owner_in("", at(1), at(2)), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_connection_is_ours() {
        use std::os::unix::fs::MetadataExt as _;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_accepted, peer) = listener.accept().unwrap();
        let me = std::fs::metadata("/proc/self").unwrap().uid();
        assert_eq!(owner(peer, stream.peer_addr().unwrap()), Some(me));
    }
}
