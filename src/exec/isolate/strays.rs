//! What is dialled inside and leads nowhere is noticed: every packet there ends in this network, so a raw socket sees the
//! first of each.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;

use super::names::Names;
use super::remarks::Remarks;

/// What watches.
#[derive(Debug)]
pub(super) struct Strays(Vec<Arc<Watch>>);

/// Watches until the runtime ends. Where the system shows no packets, the ports that lead to attache notice what comes to them.
pub(super) fn watch(names: &Arc<Names>, remarks: &Arc<Remarks>) -> Strays {
    let watches = [(Protocol::TCP, "TCP", FIRST_SEGMENTS), (Protocol::UDP, "UDP", DATAGRAMS)].into_iter();
    let watches = watches.filter_map(|(protocol, name, filter)| match packets(protocol, filter) {
        Ok(packets) => Some(Watch { names: Arc::clone(names), remarks: Arc::clone(remarks), name, packets }),
        Err(error) => {
            tracing::debug!(target: "attache::exec", %error, "what the command dials in vain is not noticed");
            None
        }
    });
    let watches: Vec<Arc<Watch>> = watches.map(Arc::new).collect();
    for watch in &watches {
        tokio::spawn(Arc::clone(watch).until_the_end());
    }
    Strays(watches)
}

impl Strays {
    /// Looks at what came last, before the command had ended.
    pub(super) async fn finish(&self) {
        // So that the runtime asks the system what there is.
        tokio::task::yield_now().await;
        let mut packet = [0; SNAP as usize];
        for watch in &self.0 {
            while let Ok(length) = watch.packets.try_recv(&mut packet) {
                watch.seen(&packet[..length]);
            }
        }
    }
}

/// What is said of an address that stands for no name.
pub(super) fn bare_address(at: SocketAddr, protocol: &str) -> String {
    let at = SocketAddr::new(at.ip().to_canonical(), at.port());
    format!(
        "the command dialled {at} ({protocol}), an address instead of a name: under --isolate only the names of upstreams lead \
         anywhere"
    )
}

#[derive(Debug)]
struct Watch {
    names: Arc<Names>,
    remarks: Arc<Remarks>,
    name: &'static str,
    packets: UdpSocket,
}

impl Watch {
    async fn until_the_end(self: Arc<Self>) {
        let mut packet = [0; SNAP as usize];
        loop {
            // An error of one packet is none of the next.
            if let Ok(length) = self.packets.recv(&mut packet).await {
                self.seen(&packet[..length]);
            }
        }
    }

    fn seen(&self, packet: &[u8]) {
        let Some(to) = destination(packet) else { return };
        if Names::is_own(to) {
            return;
        }
        let ports = self.names.ports();
        match self.names.meant_by(to.ip()) {
            None => self.remarks.once(bare_address(to, self.name)),
            Some(host) if self.name == "TCP" && !ports.contains(&to.port()) => {
                let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
                self.remarks.once(format!(
                    "the command dialled {host}:{}, where nothing is: under --isolate the ports {ports} lead to attache",
                    to.port()
                ));
            }
            // HTTP/3 is tried, and given up for TCP.
            Some(_) => {}
        }
    }
}

/// Address and port in an IPv4 packet (RFC 791 section 3.1) of TCP or UDP, which have the port at the same place.
fn destination(packet: &[u8]) -> Option<SocketAddr> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let port: [u8; 2] = packet.get(header + 2..header + 4)?.try_into().ok()?;
    Some((Ipv4Addr::from(address), u16::from_be_bytes(port)).into())
}

/// The runtime has a type for datagrams alone, and what is read from this socket are datagrams too.
fn packets(protocol: Protocol, filter: &[SockFilter]) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
    socket.attach_filter(filter)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// How much of a packet is looked at.
const SNAP: u32 = 64;

/// The kernel's own filter (classic BPF), so that no other packet comes here: not to 127.0.0.0/8.
const LOAD_DESTINATION: SockFilter = SockFilter::new(0x20, 0, 0, 16);
const NETWORK: SockFilter = SockFilter::new(0x54, 0, 0, 0xff00_0000);
const KEEP: SockFilter = SockFilter::new(0x06, 0, 0, SNAP);
const LEAVE: SockFilter = SockFilter::new(0x06, 0, 0, 0);

const DATAGRAMS: &[SockFilter] = &[LOAD_DESTINATION, NETWORK, SockFilter::new(0x15, 1, 0, 0x7f00_0000), KEEP, LEAVE];

/// Of TCP those with SYN and without ACK: the flags are in byte 13 behind the IP header, whose length is in the first byte.
const FIRST_SEGMENTS: &[SockFilter] = &[
    LOAD_DESTINATION,
    NETWORK,
    SockFilter::new(0x15, 5, 0, 0x7f00_0000),
    SockFilter::new(0xb1, 0, 0, 0),
    SockFilter::new(0x50, 0, 0, 13),
    SockFilter::new(0x54, 0, 0, 0x12),
    SockFilter::new(0x15, 0, 1, 0x02),
    KEEP,
    LEAVE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_says_where_it_goes_also_with_options() {
        let mut packet = vec![0x46; 24];
        packet[16..20].copy_from_slice(&[192, 0, 2, 7]);
        packet.extend([0xaa, 0xbb, 0x01, 0xbb]);
        assert_eq!(destination(&packet), Some("192.0.2.7:443".parse().unwrap()));
        assert_eq!(destination(&packet[..26]), None);
        assert_eq!(destination(&[]), None);
    }
}
