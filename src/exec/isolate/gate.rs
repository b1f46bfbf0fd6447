//! The program's own user namespace: who it is stays what it was, and it has no right to the network and the mounts that it is in.
//!
//! Which users there are in a namespace has to be written by one who stands outside of it (`user_namespaces(7)`). So the program's
//! process enters it, waits at a socket, and becomes the program when that is done.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

use super::super::child::StartError;

/// How long either side waits for the other.
const LIMIT: Duration = Duration::from_secs(30);

/// The side that opens.
#[derive(Debug)]
pub(super) struct Gate {
    listener: UnixListener,
    pub(super) socket: PathBuf,
}

impl Gate {
    pub(super) fn within(folder: &Path) -> io::Result<Self> {
        let socket = folder.join("gate.sock");
        Ok(Self { listener: UnixListener::bind(&socket)?, socket })
    }

    /// Waits for the process of this id, says who it is in its namespace, and lets it pass.
    pub(super) async fn open(self, process: u32, user: u32, group: u32) -> io::Result<()> {
        let opened = tokio::time::timeout(LIMIT, async {
            let mut waiting = self.listener.accept().await?.0;
            let id = waiting.peer_cred()?.pid().and_then(|id| u32::try_from(id).ok());
            if id != Some(process) {
                return Err(io::Error::from(io::ErrorKind::PermissionDenied));
            }
            let map = |name: &str, id: u32| {
                let own = fs::read_to_string(format!("/proc/self/{name}"))?;
                fs::write(format!("/proc/{process}/{name}"), same_ids(&own, id))
            };
            map("uid_map", user)?;
            map("gid_map", group)?;
            fs::remove_file(&self.socket)?;
            waiting.write_all(&[0]).await
        });
        opened.await?
    }
}

/// Becomes the program once the gate is open; returns why it does not.
pub(crate) fn pass(gate: &Path, program: &OsString, arguments: &[OsString]) -> StartError {
    use std::os::unix::process::CommandExt as _;
    match wait(gate) {
        Ok(()) => StartError::of(program, std::process::Command::new(program).args(arguments).exec()),
        Err(error) => StartError::Gate(error),
    }
}

fn wait(gate: &Path) -> io::Result<()> {
    let mut stream = std::os::unix::net::UnixStream::connect(gate)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.read_exact(&mut [0])
}

/// The map that has in the new namespace the ids that this one has; of a namespace with one id only, as a user's is, this one in its
/// place.
fn same_ids(own: &str, id: u32) -> String {
    let lines: Vec<Vec<&str>> = own.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    match lines.as_slice() {
        [only] if only.get(2) == Some(&"1") => format!("{id} {} 1\n", only[0]),
        all => {
            let same = |line: &Vec<&str>| Some(format!("{0} {0} {1}\n", line.first()?, line.get(2)?));
            all.iter().filter_map(same).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_who_they_were() {
        assert_eq!(same_ids("         0       1000          1\n", 1000), "1000 0 1\n");
        assert_eq!(same_ids("         0          0 4294967295\n", 0), "0 0 4294967295\n");
        assert_eq!(same_ids("0 1000 1\n1 100000 65536\n", 0), "0 0 1\n1 1 65536\n");
    }
}
