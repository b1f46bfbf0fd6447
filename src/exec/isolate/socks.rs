//! The way out: a unix socket of attache's that takes SOCKS 5 (RFC 1928), and is told a name instead of an address.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::dial::Host;

/// attache bounds what it waits for itself; this is for one that hangs.
const LIMIT: Duration = Duration::from_secs(120);

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const NAME: u8 = 3;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocksError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(Reply),
}

/// What attache answers if not yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply(u8);

impl Reply {
    /// By the configuration.
    pub(super) const NOT_ALLOWED: Self = Self(2);
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            2 => "the configuration does not allow it",
            3 => "there is no way to its network",
            4 => "its name has no address, or nothing answers there",
            5 => "the connection is refused there",
            _ => "attache could not reach it",
        })
    }
}

/// A connection to this host and port through attache.
///
/// # Errors
/// What attache answers, or that it does not.
pub(super) async fn dial(socket: &Path, host: &Host, port: u16) -> Result<UnixStream, SocksError> {
    let dialled = tokio::time::timeout(LIMIT, async {
        let mut stream = UnixStream::connect(socket).await?;
        ask(&mut stream, host, port).await?;
        Ok(stream)
    });
    dialled.await.map_err(|_elapsed| SocksError::Io(io::ErrorKind::TimedOut.into()))?
}

async fn ask(stream: &mut UnixStream, host: &Host, port: u16) -> Result<(), SocksError> {
    let name = host.as_str().as_bytes();
    // A host has 253 bytes at most.
    let length = u8::try_from(name.len()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    stream.write_all(&[VERSION, 1, NO_AUTHENTICATION]).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    if chosen != [VERSION, NO_AUTHENTICATION] {
        return Err(io::Error::from(io::ErrorKind::InvalidData).into());
    }
    let request = [&[VERSION, CONNECT, 0, NAME, length], name, &port.to_be_bytes()].concat();
    stream.write_all(&request).await?;
    // attache's own answers name no bound address: ten bytes, each time.
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await?;
    match reply {
        [VERSION, 0, ..] => Ok(()),
        [VERSION, code, ..] => Err(SocksError::Refused(Reply(code))),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
    }
}
