//! Scripted servers for tests of the store, which do what no real one does when it is told to.

use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::real_tests::{probe, settings};
use super::*;

/// What a scripted server does with a command.
pub(super) enum Say {
    Bytes(&'static str),
    Owned(String),
    /// Not now, and everything else meanwhile.
    Late(Duration, &'static str),
    Nothing,
    Close,
    /// A text without an end.
    Flood,
}

/// A server that answers by a script, which is told the number of the connection and the command.
pub(super) struct Peer {
    pub(super) port: u16,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    pub(super) accepted: Arc<Mutex<Vec<Instant>>>,
    pub(super) closed: Arc<Mutex<usize>>,
    pub(super) task: tokio::task::JoinHandle<()>,
}

impl Peer {
    pub(super) async fn start(script: impl Fn(usize, &str) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let accepted: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let closed: Arc<Mutex<usize>> = Arc::default();
        let (heard, opened, ended, script) =
            (Arc::clone(&asked), Arc::clone(&accepted), Arc::clone(&closed), Arc::new(script));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = {
                    let mut opened = opened.lock().unwrap();
                    opened.push(Instant::now());
                    opened.len()
                };
                let (heard, script, ended) = (Arc::clone(&heard), Arc::clone(&script), Arc::clone(&ended));
                connections.spawn(async move {
                    let _broken = converse(stream, |command| {
                        heard.lock().unwrap().push(command.to_owned());
                        script(number, command)
                    })
                    .await;
                    *ended.lock().unwrap() += 1;
                });
            }
        });
        Self { port, asked, accepted, closed, task }
    }

    pub(super) fn address(&self) -> StoreAddress {
        StoreAddress::Tcp { host: "127.0.0.1".into(), port: self.port }
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How often a command was said that begins so.
    pub(super) fn count(&self, begin: &str) -> usize {
        self.asked().iter().filter(|command| command.starts_with(begin)).count()
    }

    pub(super) fn connections(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(stream: TcpStream, mut script: impl FnMut(&str) -> Say) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut words = Vec::new();
        for _ in 0..line.trim_end().trim_start_matches('*').parse::<usize>().unwrap() {
            line.clear();
            stream.read_line(&mut line).await?;
            let mut word = vec![0; line.trim_end().trim_start_matches('$').parse::<usize>().unwrap() + 2];
            stream.read_exact(&mut word).await?;
            words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
        }
        match script(&words.join(" ")) {
            Say::Bytes(bytes) => stream.write_all(bytes.as_bytes()).await?,
            Say::Owned(bytes) => stream.write_all(bytes.as_bytes()).await?,
            Say::Late(after, bytes) => {
                tokio::time::sleep(after).await;
                stream.write_all(bytes.as_bytes()).await?;
            }
            Say::Nothing => {}
            Say::Close => return Ok(()),
            Say::Flood => {
                stream.write_all(b"$4000000000\r\n").await?;
                loop {
                    stream.write_all(&vec![b'x'; 64 * 1024]).await?;
                }
            }
        }
    }
}

/// What a good server answers, to everything that is said before the first question and to the question itself.
pub(super) fn good(command: &str) -> Say {
    Say::Bytes(match command.split(' ').next() {
        Some("HELLO") => {
            "%5\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n9.9.9\r\n$5\r\nproto\r\n:3\r\n$4\r\nmode\r\n\
             $10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
        }
        Some("ROLE") => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
        Some("SUBSCRIBE") => ">3\r\n$9\r\nsubscribe\r\n$24\r\nattache:1:{attache}:news\r\n:1\r\n",
        Some("EVALSHA" | "EVAL") if is_probe(command) => ":1\r\n",
        Some("EVALSHA" | "EVAL") => "$5\r\nhello\r\n",
        _ => "+OK\r\n",
    })
}

pub(super) fn is_probe(command: &str) -> bool {
    command.ends_with("members one")
}

/// A question, by the test's own script.
pub(super) fn is_echo(command: &str) -> bool {
    command.ends_with("x hello")
}

pub(super) fn refused(refusal: Refusal) -> Result<Reply, StoreError> {
    Err(StoreError::Refused(refusal))
}

pub(super) fn start_with(settings: StoreSettings, metrics: &StoreMetrics) -> Store {
    Store::start(settings, probe(), &Handle::current(), metrics.clone())
}

pub(super) async fn connected_to(peer: &Peer) -> Store {
    let store = start_with(settings(vec![peer.address()]), &StoreMetrics::default());
    assert!(store.wait_connected(Duration::from_secs(30)).await, "{store:?}");
    store
}
