//! SOCKS 5 (RFC 1928) as far as a proxy of connections needs it: CONNECT, without authentication or by user name and
//! password (RFC 1929). The stream and the deadlines are the caller of these functions'.
//!
//! ```text
//! let request = greet(&mut io, required, check).await?;      // what the caller wants
//! reply(&mut io, Reply::Succeeded).await?;                    // or why it does not get it
//! ```
//!
//! Every message has a length of one byte at the most, so nothing here grows. Not a byte behind a message is read: a caller
//! may have sent its first bytes for the other side already.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

/// The version of the protocol, and that of its password exchange.
const VERSION: u8 = 5;
const PASSWORD_VERSION: u8 = 1;

/// Authentication methods (RFC 1928 section 3).
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;

/// Requests (RFC 1928 section 4).
const CONNECT: u8 = 1;

/// Kinds of address (RFC 1928 section 5).
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What a caller wants, once it may want something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The name as it came, an IPv4 address, or an IPv6 address in brackets: what stands before the port in an authority. To
    /// be read as strictly as any other host.
    pub(crate) host: String,
    /// From 1.
    pub(crate) port: u16,
    /// The user name by which the caller is authenticated; `None` where it was not asked.
    pub(crate) caller: Option<String>,
}

/// The answer to a request (RFC 1928 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reply {
    /// The tunnel stands.
    Succeeded = 0,
    /// Something else.
    GeneralFailure = 1,
    /// Policy.
    NotAllowed = 2,
    /// There is no way to that network.
    NetworkUnreachable = 3,
    /// The name does not resolve, or there is no answer.
    HostUnreachable = 4,
    /// The port is closed.
    ConnectionRefused = 5,
    /// BIND and UDP are not spoken.
    CommandNotSupported = 7,
    /// Neither a name nor an address of IPv4 or IPv6.
    AddressNotSupported = 8,
}

/// Why a caller is not served. Where the protocol has an answer to it, that has been written.
#[derive(Debug)]
pub(crate) enum SocksError {
    /// The connection ended or broke.
    Io(io::Error),
    /// It is not SOCKS 5 that is spoken here: the first byte.
    NotSocks(u8),
    /// Something of the wrong form.
    Malformed(&'static str),
    /// None of the caller's methods is one that is accepted here.
    NoAcceptableMethod,
    /// A wrong user name or password.
    NotAuthenticated,
    /// Another command than CONNECT.
    Command(u8),
    /// Another kind of address.
    AddressType(u8),
}

impl fmt::Display for SocksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connection ended: {error}"),
            // "GET", "CONNECT" and the like begin with a capital letter.
            Self::NotSocks(first) if first.is_ascii_uppercase() => {
                f.write_str("the caller speaks HTTP to a SOCKS listener; give it socks5h://HOST:PORT")
            }
            Self::NotSocks(4) => {
                f.write_str("the caller speaks SOCKS 4; set it to SOCKS 5, such as socks5h://HOST:PORT")
            }
            Self::NotSocks(_) => f.write_str("what the caller speaks is not SOCKS 5"),
            Self::Malformed(what) => f.write_str(what),
            Self::NoAcceptableMethod => f.write_str(
                "the caller offers no authentication that is accepted here; give it a user name and a password",
            ),
            Self::NotAuthenticated => f.write_str("the caller's user name or password is wrong"),
            Self::Command(command) => write!(f, "the caller wants command {command}; only CONNECT is served"),
            Self::AddressType(kind) => write!(f, "the caller names an address of the unknown type {kind}"),
        }
    }
}

impl std::error::Error for SocksError {}

impl From<io::Error> for SocksError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads what a caller wants. With `credentials_required` it has to give a user name and a password that
/// `check` accepts; without, it may offer them, and they are not looked at. The answer to the request is still owed then.
///
/// The whole of it has to be bounded in time by the one that waits; to give up is to drop it.
///
/// # Errors
/// As [`SocksError`] says; the caller has been told, and the connection is to be closed.
pub(crate) async fn greet<S>(
    io: &mut S,
    credentials_required: bool,
    check: impl Fn(&str, &[u8]) -> bool,
) -> Result<Request, SocksError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let caller = match choose_method(io, credentials_required).await? {
        PASSWORD => authenticate(io, credentials_required, check).await?,
        _ => None,
    };
    let (host, port) = read_request(io).await?;
    Ok(Request { host, port, caller })
}

/// Answers a request. The bound address is not told, and left blank.
///
/// # Errors
/// If the connection breaks.
pub(crate) async fn reply<S: AsyncWrite + Unpin>(io: &mut S, reply: Reply) -> io::Result<()> {
    io.write_all(&[VERSION, reply as u8, 0, IPV4, 0, 0, 0, 0, 0, 0]).await?;
    io.flush().await
}

/// RFC 1928 section 3. A method that was not offered is never chosen.
async fn choose_method<S>(io: &mut S, credentials_required: bool) -> Result<u8, SocksError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let version = io.read_u8().await?;
    if version != VERSION {
        return Err(SocksError::NotSocks(version));
    }
    let mut offered = [0; 255];
    let offered = read_counted(io, &mut offered).await?;
    // Without a need for it the shorter way, also where a password is offered: there is nothing to hold it against.
    let method = if !credentials_required && offered.contains(&NO_AUTHENTICATION) {
        NO_AUTHENTICATION
    } else if offered.contains(&PASSWORD) {
        PASSWORD
    } else {
        NONE_ACCEPTABLE
    };
    io.write_all(&[VERSION, method]).await?;
    io.flush().await?;
    if method == NONE_ACCEPTABLE { Err(SocksError::NoAcceptableMethod) } else { Ok(method) }
}

/// RFC 1929 section 2.
async fn authenticate<S>(
    io: &mut S,
    required: bool,
    check: impl Fn(&str, &[u8]) -> bool,
) -> Result<Option<String>, SocksError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if io.read_u8().await? != PASSWORD_VERSION {
        return Err(SocksError::Malformed("the caller's password comes in an unknown form"));
    }
    let mut name = Zeroizing::new([0; 255]);
    let name = read_counted(io, &mut name).await?.to_vec();
    let mut password = Zeroizing::new([0; 255]);
    let password = read_counted(io, &mut password).await?;
    // Names of the configuration are text; another belongs to no caller.
    let name = String::from_utf8(name).ok();
    let known = name.as_ref().is_some_and(|name| check(name, password));
    let accepted = known || !required;
    io.write_all(&[PASSWORD_VERSION, u8::from(!accepted)]).await?;
    io.flush().await?;
    if accepted { Ok(name.filter(|_| known)) } else { Err(SocksError::NotAuthenticated) }
}

/// RFC 1928 sections 4 and 5.
async fn read_request<S>(io: &mut S) -> Result<(String, u16), SocksError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = [0; 4];
    io.read_exact(&mut head).await?;
    let [version, command, _reserved, kind] = head;
    if version != VERSION {
        return refuse(io, Reply::GeneralFailure, SocksError::Malformed("the caller's request is not of SOCKS 5"))
            .await;
    }
    if command != CONNECT {
        return refuse(io, Reply::CommandNotSupported, SocksError::Command(command)).await;
    }
    let host = match kind {
        IPV4 => {
            let mut octets = [0; 4];
            io.read_exact(&mut octets).await?;
            Ipv4Addr::from(octets).to_string()
        }
        IPV6 => {
            let mut octets = [0; 16];
            io.read_exact(&mut octets).await?;
            format!("[{}]", Ipv6Addr::from(octets))
        }
        NAME => {
            let mut name = [0; 255];
            let name = read_counted(io, &mut name).await?;
            let text = std::str::from_utf8(name).ok().filter(|name| is_plain(name)).map(str::to_owned);
            match text {
                Some(name) => name,
                None => {
                    let error = SocksError::Malformed("the caller's host has characters that no host name has");
                    return refuse(io, Reply::HostUnreachable, error).await;
                }
            }
        }
        kind => return refuse(io, Reply::AddressNotSupported, SocksError::AddressType(kind)).await,
    };
    match io.read_u16().await? {
        0 => refuse(io, Reply::HostUnreachable, SocksError::Malformed("the caller's port is 0")).await,
        port => Ok((host, port)),
    }
}

/// Fit to stand in an authority and in a log. Which names are hosts is decided where all hosts are read; some programs send
/// an IPv6 address as a name, without brackets.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'/' | b'?' | b'#' | b'\\'))
}

async fn refuse<S: AsyncWrite + Unpin, T>(io: &mut S, answer: Reply, error: SocksError) -> Result<T, SocksError> {
    reply(io, answer).await?;
    Err(error)
}

/// Bytes behind a byte that says how many there are.
async fn read_counted<'b, S>(io: &mut S, buffer: &'b mut [u8; 255]) -> Result<&'b [u8], SocksError>
where
    S: AsyncRead + Unpin,
{
    let length = usize::from(io.read_u8().await?);
    let Some(place) = buffer.get_mut(..length) else {
        return Err(SocksError::Malformed("a length is larger than its byte can say"));
    };
    io.read_exact(place).await?;
    Ok(place)
}

#[cfg(test)]
#[path = "socks5_tests.rs"]
mod tests;
