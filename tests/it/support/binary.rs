//! The real binary, in a folder of its own.

use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::time::until_some;

/// A temporary folder with a `proxy.toml`, perhaps, and the environment for commands that run there.
pub struct Folder {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The only document on stdout.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Folder {
    /// An empty folder.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A secret in it is read by nobody else, and that is not warned of.
        #[cfg(unix)]
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self { folder, env: Vec::new() }
    }

    /// With this `proxy.toml`.
    pub fn with(toml: &str) -> Self {
        let folder = Self::new();
        folder.write("proxy.toml", toml);
        folder
    }

    /// Sets a variable for every command.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Starts `attache ARGS` and does not wait for it.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_program(env!("CARGO_BIN_EXE_attache"), args, "")
    }

    /// Starts a program with this on its stdin.
    pub fn start_program(&self, program: &str, args: &[&str], stdin: &str) -> Running {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.path());
        command.stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Nothing of the machine that the tests run on.
        command.env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        // A group of its own, to end with whatever it has started itself.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().unwrap();
        let stdout = Collected::of(child.stdout.take().unwrap());
        let stderr = Collected::of(child.stderr.take().unwrap());
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(stdin.as_bytes()).unwrap();
        }
        Running { child, stdout, stderr }
    }

    /// Runs `attache ARGS` to its end.
    pub async fn run(&self, args: &[&str]) -> Finished {
        self.start(args).finish().await
    }
}

/// A command that has not ended yet. Dropping it kills it, and what it has left behind.
pub struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// What it has said so far.
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits until stderr holds this.
    pub async fn says(&self, text: &str) {
        let said = || self.stderr().contains(text).then_some(());
        until_some(said, || format!("never said {text:?}: {}", self.stderr())).await;
    }

    /// Where `run` says that a listener listens, in either form of its log.
    pub async fn address(&self, listener: &str) -> SocketAddr {
        let said = || self.stderr().lines().find_map(|line| listening(line, listener));
        let url = until_some(said, || format!("it does not listen: {}", self.stderr())).await;
        url.split_once("://").unwrap().1.parse().unwrap()
    }

    /// Its number among processes.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub async fn finish(mut self) -> Finished {
        let (child, stderr) = (&mut self.child, &self.stderr);
        let status = until_some(|| child.try_wait().unwrap(), || format!("it does not end: {}", stderr.so_far())).await;
        Finished { code: status.code(), stdout: self.stdout.whole(), stderr: self.stderr.whole() }
    }
}

/// The URL in a line that says where this listener listens.
fn listening(line: &str, listener: &str) -> Option<String> {
    if let Ok(record) = serde_json::from_str::<serde_json::Value>(line) {
        return (record["listener"] == listener).then(|| record["address"].as_str().map(str::to_owned))?;
    }
    let line = line.strip_suffix(&format!("  ({listener})"))?;
    line.split_whitespace().nth(1).map(str::to_owned)
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already in most tests; what it had started may not have.
        let group = format!("-{}", self.child.id());
        let _nobody = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A pipe, read by a thread of its own.
struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text: Arc<Mutex<Vec<u8>>> = Arc::default();
        let to = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                to.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.so_far()
    }
}
