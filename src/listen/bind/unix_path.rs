//! The file of a unix socket, which goes with the socket.

use std::path::{Path, PathBuf};

use crate::listen::settings::ListenAddress;

/// Takes a unix socket's path away when it is dropped, unless another program has bound a socket of its own there by then.
#[derive(Debug)]
pub(crate) struct UnixPath {
    path: PathBuf,
    file: Option<FileIdentity>,
}

impl UnixPath {
    /// Of a socket that was bound just now; `None` for a TCP address.
    #[must_use]
    pub(crate) fn of(address: &ListenAddress) -> Option<Self> {
        match address {
            ListenAddress::Tcp(_) => None,
            ListenAddress::Unix(path) => Some(Self { file: identity(path), path: path.clone() }),
        }
    }
}

impl Drop for UnixPath {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // Left behind, it is removed by the next start.
            let _best_effort = std::fs::remove_file(&self.path);
        }
    }
}

/// What a file is told from another by that has its name.
#[derive(Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
    /// The number of an inode is given again at once on some file systems. Unlike the time of its last change this one stays when
    /// the socket is given another mode or owner.
    created: Option<std::time::SystemTime>,
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<FileIdentity> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::symlink_metadata(path).ok()?;
    Some(FileIdentity { device: found.dev(), inode: found.ino(), created: found.created().ok() })
}

/// There are no unix sockets, so none has to go.
#[cfg(not(unix))]
const fn identity(_: &Path) -> Option<FileIdentity> {
    None
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_path_goes_with_its_socket_whatever_its_mode_has_become() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _socket = UnixListener::bind(&path).unwrap();
        let ours = UnixPath::of(&ListenAddress::Unix(path.clone()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).unwrap();
        drop(ours);
        assert!(!path.exists());
    }

    #[test]
    fn a_successors_socket_at_the_same_path_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _socket = UnixListener::bind(&path).unwrap();
        let ours = UnixPath::of(&ListenAddress::Unix(path.clone()));
        std::fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }
}
