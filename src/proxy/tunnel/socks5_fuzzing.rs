//! What the fuzz target holds against the reader of SOCKS 5: pieces do not matter, and a second reader, which has everything
//! before it, comes to the same.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socks5::{self, Request, SocksError};

/// A caller's words in SOCKS 5: the first byte says how they are cut, and whether a password is required.
///
/// # Errors
/// A caller that is let in without its password, or understood otherwise than it speaks.
pub fn socks(input: &[u8]) -> Result<(), String> {
    let Some((first, wire)) = input.split_first() else { return Ok(()) };
    let (required, piece) = (first & 1 == 1, usize::from(first >> 1) + 1);
    let expected = understood(wire, required);
    for piece in [wire.len().max(1), piece] {
        let mut said = Said { left: wire.chunks(piece).map(<[u8]>::to_vec).collect(), answered: Vec::new() };
        let told = socks5::greet(&mut said, required, |name, password| (name, password) == ("me", &b"sentinel"[..]))
            .now_or_never()
            .ok_or("a caller is waited for that says nothing more")?;
        let unread: usize = said.left.iter().map(Vec::len).sum();
        let found = match told {
            Ok(request) => Ok((request, wire.len() - unread)),
            Err(error) => Err(matches!(error, SocksError::Io(_))),
        };
        if found != expected {
            return Err(format!("in pieces of {piece}: {found:?} and not {expected:?}"));
        }
        if said.answered.len() > 14 {
            return Err("more is answered than there is to say".into());
        }
    }
    Ok(())
}

/// What is asked for, and how many bytes of the input say so; or whether more should have come.
type Understood = Result<(Request, usize), bool>;

fn understood(wire: &[u8], required: bool) -> Understood {
    const MORE: bool = true;
    const NO: bool = false;
    let counted = |rest: &mut &[u8]| -> Result<Vec<u8>, bool> {
        let (length, behind) = rest.split_first().ok_or(MORE)?;
        let (text, behind) = behind.split_at_checked(usize::from(*length)).ok_or(MORE)?;
        *rest = behind;
        Ok(text.to_vec())
    };
    let expect = |rest: &mut &[u8], version: u8| {
        let (found, behind) = rest.split_first().ok_or(MORE)?;
        *rest = behind;
        if *found == version { Ok(()) } else { Err(NO) }
    };
    let mut rest = wire;
    expect(&mut rest, 5)?;
    let offered = counted(&mut rest)?;
    let mut caller = None;
    if required || !offered.contains(&0) {
        if !offered.contains(&2) {
            return Err(NO);
        }
        expect(&mut rest, 1)?;
        let (name, password) = (counted(&mut rest)?, counted(&mut rest)?);
        let known = name == b"me" && password == b"sentinel";
        if required && !known {
            return Err(NO);
        }
        caller = known.then(|| "me".to_owned());
    }
    let (&[version, command, _, kind], behind) = rest.split_first_chunk().ok_or(MORE)?;
    rest = behind;
    if version != 5 || command != 1 {
        return Err(NO);
    }
    let host = match kind {
        1 => {
            let (octets, behind) = rest.split_first_chunk::<4>().ok_or(MORE)?;
            rest = behind;
            octets.map(|octet| octet.to_string()).join(".")
        }
        4 => {
            let (octets, behind) = rest.split_first_chunk::<16>().ok_or(MORE)?;
            rest = behind;
            format!("[{}]", std::net::Ipv6Addr::from(u128::from_be_bytes(*octets)))
        }
        3 => {
            let name = counted(&mut rest)?;
            let plain = |byte: &u8| (0x21..0x7f).contains(byte) && !b"@/?#\\".contains(byte);
            if name.is_empty() || !name.iter().all(plain) {
                return Err(NO);
            }
            String::from_utf8(name).or(Err(NO))?
        }
        _ => return Err(NO),
    };
    let (port, behind) = rest.split_first_chunk::<2>().ok_or(MORE)?;
    let port = u16::from_be_bytes(*port);
    if port == 0 { Err(NO) } else { Ok((Request { host, port, caller }, wire.len() - behind.len())) }
}

/// A caller that has said everything, piece by piece, and hangs up.
struct Said {
    left: VecDeque<Vec<u8>>,
    answered: Vec<u8>,
}

impl AsyncRead for Said {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if let Some(piece) = self.left.front_mut() {
            let taken = to.remaining().min(piece.len());
            to.put_slice(&piece[..taken]);
            piece.drain(..taken);
            if piece.is_empty() {
                self.left.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Said {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.answered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
