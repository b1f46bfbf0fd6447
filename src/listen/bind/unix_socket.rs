//! Unix sockets, and what stands in for them on systems that have none: types without a value, so that the rest of the
//! code is one.

#[cfg(unix)]
pub(super) use std::os::unix::net::UnixListener as StdUnixListener;
#[cfg(unix)]
pub(super) use tokio::net::{UnixListener, UnixStream};

#[cfg(not(unix))]
pub(super) use absent::{StdUnixListener, UnixListener, UnixStream};

use std::io;
use std::path::Path;

/// A socket that a process left behind when it was killed is in the way; one that answers belongs to a program that runs.
#[cfg(unix)]
pub(super) fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name, and it is no socket"))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
            Err(_) => std::fs::remove_file(path),
        },
    }
}

/// There is none, and there will be none.
#[cfg(not(unix))]
pub(super) fn remove_stale(_: &Path) -> io::Result<()> {
    Err(absent::unsupported())
}

#[cfg(not(unix))]
mod absent {
    use std::io;
    use std::path::Path;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    #[derive(Debug)]
    #[expect(unnameable_types, reason = "it has no value")]
    pub(crate) enum StdUnixListener {}

    pub(in crate::listen) enum UnixListener {}

    pub(in crate::listen) enum UnixStream {}

    pub(in crate::listen) fn unsupported() -> io::Error {
        let what = "this system has no unix sockets; write an address such as 127.0.0.1:8080";
        io::Error::new(io::ErrorKind::Unsupported, what)
    }

    /// Who is at the other end.
    pub(in crate::listen) enum Credentials {}

    impl StdUnixListener {
        pub(in crate::listen) fn bind(_: &Path) -> io::Result<Self> {
            Err(unsupported())
        }

        pub(in crate::listen) fn set_nonblocking(&self, _: bool) -> io::Result<()> {
            match *self {}
        }

        pub(in crate::listen) fn try_clone(&self) -> io::Result<Self> {
            match *self {}
        }
    }

    impl UnixListener {
        #[expect(clippy::needless_pass_by_value, reason = "as the one of tokio")]
        pub(in crate::listen) fn from_std(listener: StdUnixListener) -> io::Result<Self> {
            match listener {}
        }

        #[expect(clippy::unused_async, reason = "as the one of tokio")]
        pub(in crate::listen) async fn accept(&self) -> io::Result<(UnixStream, ())> {
            match *self {}
        }
    }

    impl UnixStream {
        pub(in crate::listen) fn peer_cred(&self) -> io::Result<Credentials> {
            match *self {}
        }
    }

    impl Credentials {
        pub(in crate::listen) fn uid(&self) -> u32 {
            match *self {}
        }
    }

    impl AsyncRead for UnixStream {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            match *self.get_mut() {}
        }
    }

    impl AsyncWrite for UnixStream {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            match *self.get_mut() {}
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            match *self.get_mut() {}
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            match *self.get_mut() {}
        }
    }
}
