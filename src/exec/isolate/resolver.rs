//! The name server inside (RFC 1035), on port 53 of 127.0.0.1 over UDP and TCP: it knows what `names` knows, and that at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::names::{Answer, Names};
use super::remarks::Remarks;
use crate::dial::Host;

const AT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);

/// How long an answer may be kept, in seconds. It stays true, but another run has others.
const TTL: u32 = 60;

/// The most connections at a time, and how long each may be silent.
const CONNECTIONS: usize = 64;
const SILENCE: Duration = Duration::from_secs(10);

/// What answers.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) names: Arc<Names>,
    pub(super) remarks: Arc<Remarks>,
}

impl Resolver {
    /// Serves until the runtime ends.
    ///
    /// # Errors
    /// When the port is unavailable.
    pub(super) async fn start(self) -> io::Result<()> {
        let (udp, tcp) = (UdpSocket::bind(AT).await?, TcpListener::bind(AT).await?);
        let resolver = Arc::new(self);
        tokio::spawn(Arc::clone(&resolver).datagrams(udp));
        tokio::spawn(resolver.connections(tcp));
        Ok(())
    }

    async fn datagrams(self: Arc<Self>, socket: UdpSocket) {
        let mut query = [0; 4096];
        loop {
            // A program that has gone away makes for an error here, and is no reason to stop.
            let Ok((length, from)) = socket.recv_from(&mut query).await else { continue };
            if let Some(reply) = self.reply(&query[..length]) {
                let _gone = socket.send_to(&reply, from).await;
            }
        }
    }

    async fn connections(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let resolver = Arc::clone(&self);
                    tokio::spawn(async move {
                        let _broken = resolver.connection(stream).await;
                        drop(place);
                    });
                }
                Err(_no_descriptors) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Each message with its length in front (RFC 1035 section 4.2.2).
    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let mut query = Vec::new();
            tokio::time::timeout(SILENCE, async {
                let length = stream.read_u16().await?;
                query.resize(length.into(), 0);
                stream.read_exact(&mut query).await
            })
            .await??;
            let Some(reply) = self.reply(&query) else { return Ok(()) };
            let Ok(length) = u16::try_from(reply.len()) else { return Ok(()) };
            let message = [length.to_be_bytes().as_slice(), &reply].concat();
            tokio::time::timeout(SILENCE, stream.write_all(&message)).await??;
        }
    }

    /// The answer to a query; none to what is none.
    fn reply(&self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Packet::parse(query).ok()?;
        if query.has_flags(PacketFlag::RESPONSE) {
            return None;
        }
        let mut reply = Packet::new_reply(query.id());
        *reply.opcode_mut() = query.opcode();
        reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
        if query.has_flags(PacketFlag::RECURSION_DESIRED) {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        *reply.rcode_mut() = match (query.opcode(), query.questions.as_slice()) {
            (OPCODE::StandardQuery, [question]) => {
                reply.questions.push(question.clone());
                let name = question.qname.to_string();
                let is_internet = matches!(question.qclass, QCLASS::ANY | QCLASS::CLASS(CLASS::IN));
                let (code, records) =
                    if is_internet { self.look_up(&name, question.qtype) } else { (RCODE::Refused, vec![]) };
                let name = |record| ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, record);
                reply.answers = records.into_iter().map(name).collect();
                code
            }
            (OPCODE::StandardQuery, _) => RCODE::FormatError,
            _ => RCODE::NotImplemented,
        };
        reply.build_bytes_vec_compressed().ok()
    }

    fn look_up(&self, name: &str, kind: QTYPE) -> (RCODE, Vec<RData<'static>>) {
        let v4 = matches!(kind, QTYPE::ANY | QTYPE::TYPE(TYPE::A));
        let v6 = matches!(kind, QTYPE::ANY | QTYPE::TYPE(TYPE::AAAA));
        let Ok(host) = Host::parse(name) else { return (RCODE::NameError, vec![]) };
        let records = match self.names.look_up(&host) {
            Answer::Local => {
                let v4 = v4.then(|| RData::A(A { address: Ipv4Addr::LOCALHOST.to_bits() }));
                let v6 = v6.then_some(RData::AAAA(AAAA { address: 1 }));
                v4.into_iter().chain(v6).collect()
            }
            Answer::Address(address) if v4 => vec![RData::A(A { address: address.to_bits() })],
            Answer::Address(_) => vec![],
            Answer::Full => return (RCODE::ServerFailure, vec![]),
            Answer::Unknown => {
                if v4 || v6 {
                    self.remarks.once(format!(
                        "the command looked up {host}, which no upstream covers: under --isolate it has no address \
                         (--unmatched pass gives it one)"
                    ));
                }
                return (RCODE::NameError, vec![]);
            }
        };
        (RCODE::NoError, records)
    }
}

/// Where programs find it.
pub(super) fn address() -> SocketAddr {
    AT.into()
}

#[cfg(test)]
mod tests {
    use simple_dns::{Name, Question};

    use super::*;

    fn resolver() -> Resolver {
        let names = Names::new(vec!["https://orders.example.com".parse().unwrap()], false);
        Resolver { names: Arc::new(names), remarks: Arc::new(Remarks::new(|_| ())) }
    }

    /// The code and the records of an answer.
    fn asked(name: &str, kind: TYPE) -> (RCODE, Vec<String>) {
        let mut query = Packet::new_query(77);
        let name = Name::new_unchecked(name);
        query.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
        let reply = resolver().reply(&query.build_bytes_vec().unwrap()).unwrap();
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!((reply.id(), reply.questions.len()), (77, 1));
        let shown = reply.answers.iter().map(|record| match &record.rdata {
            RData::A(a) => Ipv4Addr::from_bits(a.address).to_string(),
            RData::AAAA(aaaa) => std::net::Ipv6Addr::from_bits(aaaa.address).to_string(),
            other => format!("{other:?}"),
        });
        (reply.rcode(), shown.collect())
    }

    #[test]
    fn names_of_upstreams_have_an_a_record_and_an_empty_aaaa() {
        assert_eq!(asked("Orders.Example.Com", TYPE::A), (RCODE::NoError, vec!["198.18.0.2".to_owned()]));
        assert_eq!(asked("orders.example.com", TYPE::AAAA), (RCODE::NoError, vec![]));
        assert_eq!(asked("orders.example.com", TYPE::HTTPS), (RCODE::NoError, vec![]));
        assert_eq!(asked("localhost", TYPE::A), (RCODE::NoError, vec!["127.0.0.1".to_owned()]));
        assert_eq!(asked("localhost", TYPE::AAAA), (RCODE::NoError, vec!["::1".to_owned()]));
    }

    #[test]
    fn no_other_name_is_there() {
        for name in ["example.com", "orders.example.com.example.com", "4.3.2.1.in-addr.arpa", "a b.example", "1.2.3.4"]
        {
            assert_eq!(asked(name, TYPE::A), (RCODE::NameError, vec![]), "{name}");
        }
    }

    #[test]
    fn what_is_no_query_gets_no_answer_or_is_told_so() {
        let resolver = resolver();
        assert_eq!(resolver.reply(b""), None);
        assert_eq!(resolver.reply(&[0xff; 40]), None);
        let reply = Packet::new_reply(1).build_bytes_vec().unwrap();
        assert_eq!(resolver.reply(&reply), None, "an answer to an answer never ends");
        let empty = resolver.reply(&Packet::new_query(1).build_bytes_vec().unwrap()).unwrap();
        assert_eq!(Packet::parse(&empty).unwrap().rcode(), RCODE::FormatError);
    }
}
