//! The PROXY protocol: a header ahead of everything else, in which a proxy in front says where its caller is. Both versions of it
//! (the specification stands in haproxy's own documentation, proxy-protocol.txt).
//!
//! Never a byte more is read than belongs to the header: what comes behind it is for TLS or HTTP, which begin as if there had
//! been nothing.

use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::timer;

/// How a header of version 1 begins, a line of text.
const V1: &[u8] = b"PROXY ";

/// The same of version 2, in bytes.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line, with its end.
const V1_MAX: usize = 107;

/// The shortest, `PROXY UNKNOWN`. Longer than [`V2`].
const V1_MIN: usize = 15;

/// Of a line that names addresses.
const V1_WORDS: usize = 6;

/// What stands in front of the rest, whose length it says.
const V2_FIXED: usize = 16;

/// The longest rest. What proxies add is a few hundred bytes, or a certificate; the length field would allow 64 KiB.
const V2_MAX: usize = 4096;

/// Why a connection was closed that had to begin with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyHeaderError {
    /// It begins with something else.
    Missing,
    Malformed,
    TooLong,
    /// It did not come within `limits.header_timeout`.
    Timeout,
}

impl ProxyHeaderError {
    /// As it is counted.
    pub(crate) const ALL: [Self; 4] = [Self::Missing, Self::Malformed, Self::TooLong, Self::Timeout];

    /// The label of its counter.
    #[must_use]
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Timeout => "timeout",
        }
    }
}

/// Why there is nothing to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// The other end has gone without a word, as health checks do, or attache wants it to.
    Ended,
    Refused(ProxyHeaderError),
}

/// Reads the header that a connection has to begin with, and that has to come within this time. `None` if it speaks of no caller:
/// the proxy asks for itself, or does not know.
pub(super) async fn read(stream: impl AsyncRead + Unpin, within: Duration) -> Result<Option<SocketAddr>, Unread> {
    let read = timer::timeout(within, read_header(stream)).await;
    read.unwrap_or(Err(Unread::Refused(ProxyHeaderError::Timeout)))
}

/// True if this is how a header begins.
pub(super) fn begins(first: &[u8]) -> bool {
    first.starts_with(V1) || first.starts_with(V2)
}

async fn read_header(mut stream: impl AsyncRead + Unpin) -> Result<Option<SocketAddr>, Unread> {
    let mut read = Vec::with_capacity(V1_MAX);
    loop {
        let owed = owed(&read).map_err(Unread::Refused)?;
        if owed == 0 {
            return parse(&read).map_err(Unread::Refused);
        }
        let more = (&mut stream).take(owed as u64).read_buf(&mut read).await;
        match more {
            Ok(0) if !read.is_empty() => return Err(Unread::Refused(ProxyHeaderError::Malformed)),
            Ok(0) | Err(_) => return Err(Unread::Ended),
            Ok(_) => {}
        }
    }
}

fn parse(header: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    // What is added to the addresses is of no use here.
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(header, config) {
        Ok((parsed, length)) if length == header.len() => Ok(parsed.proxied_address().map(|told| told.source)),
        _ => Err(ProxyHeaderError::Malformed),
    }
}

/// How many bytes of the header are sure to come still; 0 if there are none.
fn owed(read: &[u8]) -> Result<usize, ProxyHeaderError> {
    let begins = |signature: &[u8]| read.iter().zip(signature).all(|(byte, expected)| byte == expected);
    match read.first() {
        None => Ok(V2.len()),
        Some(_) if begins(V2) => owed_v2(read),
        Some(_) if begins(V1) => owed_v1(read),
        Some(_) => Err(ProxyHeaderError::Missing),
    }
}

fn owed_v2(read: &[u8]) -> Result<usize, ProxyHeaderError> {
    let Some(&[high, low]) = read.get(V2_FIXED - 2..V2_FIXED) else { return Ok(V2_FIXED - read.len()) };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > V2_MAX { Err(ProxyHeaderError::TooLong) } else { Ok(V2_FIXED + rest - read.len()) }
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT`, or `PROXY UNKNOWN` and anything.
fn owed_v1(read: &[u8]) -> Result<usize, ProxyHeaderError> {
    if read.contains(&b'\n') {
        return Ok(0);
    }
    if read.len() >= V1_MAX {
        return Err(ProxyHeaderError::TooLong);
    }
    let last = read.last().copied();
    let owed = match read.get(V1.len()) {
        _ if last == Some(b'\r') => 1,
        Some(b'T') => {
            let words = read.split(|byte| *byte == b' ').count();
            // Each word that is to come has a blank in front and a character; behind them is the end of the line.
            2 * V1_WORDS.saturating_sub(words) + usize::from(last == Some(b' ')) + 2
        }
        _ => V1_MIN.saturating_sub(read.len()).max(2),
    };
    Ok(owed.min(V1_MAX - read.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, Tlv};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    const FOUR: &str = "192.0.2.7:5123";
    const SIX: &str = "[2001:db8::7]:5123";

    fn header(source: &str, version: u8) -> ProxyHeader<'static> {
        let source: SocketAddr = source.parse().unwrap();
        let destination = if source.is_ipv4() { "192.0.2.1:443" } else { "[2001:db8::1]:443" };
        let mut header = ProxyHeader::with_address(ProxiedAddress::stream(source, destination.parse().unwrap()));
        if version == 2 {
            header.append_tlv(Tlv::Authority("gateway.test".into()));
            header.append_tlv(Tlv::UniqueId(vec![7; 64].into()));
        }
        header
    }

    fn bytes(source: &str, version: u8) -> Vec<u8> {
        let (header, mut bytes) = (header(source, version), Vec::new());
        if version == 1 { header.encode_v1(&mut bytes) } else { header.encode_v2(&mut bytes) }.unwrap();
        bytes
    }

    /// What is read where this comes, in pieces of so many bytes; and what has not been read.
    async fn read_of(sent: &[u8], piece: usize) -> (Result<Option<SocketAddr>, Unread>, Vec<u8>) {
        let (mut near, mut far) = tokio::io::duplex(piece);
        let sent = sent.to_vec();
        let write = tokio::spawn(async move { far.write_all(&sent).await });
        let read = read_header(&mut near).await;
        let mut rest = Vec::new();
        if read.is_ok() {
            near.read_to_end(&mut rest).await.unwrap();
        }
        drop(near);
        let _broken = write.await.unwrap();
        (read, rest)
    }

    #[tokio::test]
    async fn a_header_is_read_to_its_last_byte_and_no_further() {
        let unknown: [&[u8]; 3] =
            [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::1 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"];
        // The addresses of a command LOCAL are not the caller's; those of unix sockets are no addresses of callers.
        let mut local = bytes(FOUR, 2);
        local[12] = 0x20;
        let unix = [V2, b"\x21\x31\0\xd8", &[b'/'; 216]].concat();
        let mut cases: Vec<(Vec<u8>, Option<&str>)> = unknown.iter().map(|bytes| (bytes.to_vec(), None)).collect();
        cases.extend([(local, None), (unix, None)]);
        for version in [1, 2] {
            cases.extend([FOUR, SIX].map(|source| (bytes(source, version), Some(source))));
        }
        for (header, source) in cases {
            for piece in [1, 3, 4096] {
                for behind in ["", "\n", "GET / HTTP/1.1\r\n", "PROXY TCP4 "] {
                    let sent = [&header, behind.as_bytes()].concat();
                    let (read, rest) = read_of(&sent, piece).await;
                    assert_eq!(read, Ok(source.map(|source| source.parse().unwrap())), "{header:?}");
                    assert_eq!(rest, behind.as_bytes(), "{header:?}, {piece}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_told_apart() {
        let refused = |why| Err(Unread::Refused(why));
        let long = [V2, b"\x21\x11\xff\xff"].concat();
        let unknown_command = [V2, b"\x22\x11\0\x0c", &[0; 12]].concat();
        let short = [V2, b"\x21\x11\0\x04", &[0; 4]].concat();
        let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
        let cases: [(&[u8], ProxyHeaderError); 13] = [
            (b"GET / HTTP/1.1\r\n\r\n", ProxyHeaderError::Missing),
            (b"PRI * HTTP/2.0\r\n\r\n", ProxyHeaderError::Missing),
            (b"\x16\x03\x01", ProxyHeaderError::Missing),
            (b"\x05\x01\0", ProxyHeaderError::Missing),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\nGET", ProxyHeaderError::Malformed),
            (b"PROXY TCP4 2001:db8::1 192.0.2.1 1 2\r\n", ProxyHeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n", ProxyHeaderError::Malformed),
            (b"PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n", ProxyHeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.7", ProxyHeaderError::Malformed),
            (&unknown_command, ProxyHeaderError::Malformed),
            (&short, ProxyHeaderError::Malformed),
            (&endless, ProxyHeaderError::TooLong),
            (&long, ProxyHeaderError::TooLong),
        ];
        for (sent, why) in cases {
            for piece in [1, 4096] {
                assert_eq!(read_of(sent, piece).await.0, refused(why), "{:?}", String::from_utf8_lossy(sent));
            }
        }
        assert_eq!(read_of(b"", 1).await.0, Err(Unread::Ended), "a health check that only connects");
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_is_not_waited_for() {
        let clock = tokio::task::LocalSet::new();
        let read = clock.run_until(async {
            let _clock = tokio::task::spawn_local(timer::drive());
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(b"PROXY TCP4 192.").await.unwrap();
            read(near, Duration::from_secs(10)).await
        });
        assert_eq!(read.await, Err(Unread::Refused(ProxyHeaderError::Timeout)));
    }

    proptest! {
        #[test]
        fn no_header_is_read_beyond_its_end(
            four in any::<(std::net::Ipv4Addr, u16)>(), six in any::<(std::net::Ipv6Addr, u16)>(), version in 1..=2_u8, cut in 0..200_usize,
        ) {
            for source in [SocketAddr::from(four), SocketAddr::from(six)] {
                let header = bytes(&source.to_string(), version);
                prop_assert_eq!(owed(&header), Ok(0));
                prop_assert_eq!(parse(&header), Ok(Some(source)));
                let cut = cut % header.len();
                let owed = owed(&header[..cut]).unwrap();
                prop_assert!(owed > 0 && cut + owed <= header.len(), "{} of {:?}", cut, header);
            }
        }

        #[test]
        fn whatever_comes_is_read_to_an_end(
            signature in proptest::sample::select(&[V1, V2, b"PROXY T", b""][..]), rest in proptest::collection::vec(any::<u8>(), 0..5000),
        ) {
            let sent = [signature, &rest].concat();
            let mut read = 0;
            while let Ok(owed @ 1..) = owed(&sent[..read]) {
                read += owed;
                prop_assert!(read <= V2_FIXED + V2_MAX);
                if read > sent.len() {
                    return Ok(());
                }
            }
            let _parsed = parse(&sent[..read]);
        }
    }
}
