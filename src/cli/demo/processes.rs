//! The programs that the fleet's story starts besides itself: replicas, and a server for what they share. Each ends with its value.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::telling::{DemoError, prefer};

/// No program here takes longer to start, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks whether one has started.
const LOOK: Duration = Duration::from_millis(20);

/// Either will do.
const SERVERS: [&str; 2] = ["valkey-server", "redis-server"];

/// A Redis or Valkey of one's own, which nobody else reaches: it listens on a socket in a private folder.
pub(super) struct Server {
    program: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// From the PATH; not started yet.
    pub(super) fn find(folder: &Path) -> Result<Self, DemoError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = |folder: PathBuf| SERVERS.map(|name| folder.join(name));
        let program = std::env::split_paths(&path).flat_map(all).find(|program| program.is_file());
        let none = || {
            let remedy = "install the package redis-server or valkey-server (elsewhere called redis or valkey), and run it again";
            DemoError::Start(format!("there is no valkey-server and no redis-server in the PATH; {remedy}"))
        };
        Ok(Self { program: program.ok_or_else(none)?, folder: folder.to_owned(), child: None })
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("server.sock")
    }

    /// Starts it, empty, and waits until it takes connections.
    pub(super) async fn start(&mut self) -> Result<(), DemoError> {
        let (log, socket) = (self.folder.join("server.log"), self.socket());
        let mut command = Command::new(&self.program);
        // A port of 0 is none.
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(&self.folder);
        let child = self.child.insert(begin(command, &log)?);
        let name = self.program.display().to_string();
        wait(child, &name, &log, async || UnixStream::connect(&socket).await.is_ok()).await
    }

    /// Ends it at once, with all that it holds.
    pub(super) async fn kill(&mut self) -> Result<(), DemoError> {
        end(&mut self.child).await
    }
}

/// An attache with a file of its own.
pub(super) struct Replica {
    pub(super) number: usize,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    folder: PathBuf,
    child: Option<Child>,
}

impl Replica {
    /// Not started yet. `toml` makes its file from the ports of its listener and of its admin listener.
    pub(super) fn new(
        number: usize,
        folder: &Path,
        once: bool,
        toml: impl Fn(u16, u16) -> String,
    ) -> Result<Self, DemoError> {
        let at = |preferred| match prefer(preferred, once) {
            0 => free_port(),
            port => Ok(port),
        };
        let nth = u16::try_from(number).unwrap_or(u16::MAX);
        let (port, admin) = (at(9000 + nth)?, at(8078 + nth)?);
        let replica = Self {
            number,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, admin)),
            folder: folder.to_owned(),
            child: None,
        };
        std::fs::write(replica.file("toml"), toml(port, admin))?;
        Ok(replica)
    }

    /// Starts it, and waits until it listens.
    pub(super) async fn start(&mut self) -> Result<(), DemoError> {
        let log = self.file("log");
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--config"]).arg(self.file("toml"));
        let child = self.child.insert(begin(command, &log)?);
        let address = self.address;
        wait(child, &format!("replica {}", self.number), &log, async || TcpStream::connect(address).await.is_ok()).await
    }

    /// Ends it as a machine does that loses its power.
    pub(super) async fn kill(&mut self) -> Result<(), DemoError> {
        end(&mut self.child).await
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("replica-{}.{extension}", self.number))
    }
}

fn begin(mut command: Command, log: &Path) -> Result<Child, DemoError> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log)?).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|error| DemoError::Start(format!("{program}: {error}")))
}

async fn wait(child: &mut Child, name: &str, log: &Path, listens: impl AsyncFn() -> bool) -> Result<(), DemoError> {
    let deadline = Instant::now() + PATIENCE;
    while !listens().await {
        let ended = child.try_wait()?.is_some();
        if ended || Instant::now() > deadline {
            let what = if ended { "ended at once" } else { "does not listen" };
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let last = said.lines().last().unwrap_or("it says nothing").to_owned();
            return Err(DemoError::Start(format!("{name} {what}: {last}")));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

async fn end(child: &mut Option<Child>) -> Result<(), DemoError> {
    match child.take() {
        Some(mut child) => Ok(child.kill().await?),
        None => Ok(()),
    }
}

fn free_port() -> Result<u16, DemoError> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
