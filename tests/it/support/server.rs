//! Scripted HTTP/1.1 servers: an upstream and a token endpoint. They record what they were asked, byte for byte.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// One request as a scripted server received it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET /path HTTP/1.1`.
    pub line: String,
    /// Name (as received) and value, in order.
    pub fields: Vec<(String, String)>,
    /// Decoded from chunks if need be.
    pub body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Asked {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The only value of a field; panics if there are several.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// The request target.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }
}

/// What a scripted server does with one request.
pub enum Reply {
    /// Writes these bytes and keeps the connection.
    Raw(Vec<u8>),
    /// Writes these bytes and closes.
    Close(Vec<u8>),
    /// Never answers; keeps the connection open.
    Silence,
    /// Closes without a byte.
    HangUp,
    /// Waits for this, then writes these bytes and keeps the connection.
    After(Pin<Box<dyn Future<Output = ()> + Send>>, Vec<u8>),
}

impl Reply {
    /// A status with fields (`"A: b\r\nC: d\r\n"`) and a body, framed by Content-Length.
    pub fn new(status: u16, fields: &str, body: &str) -> Self {
        let length = body.len();
        Self::Raw(format!("HTTP/1.1 {status} Scripted\r\n{fields}content-length: {length}\r\n\r\n{body}").into_bytes())
    }

    /// 200 with this body.
    pub fn ok(body: &str) -> Self {
        Self::new(200, "", body)
    }

    /// This reply, once the gate has been opened (by [`Semaphore::add_permits`] or [`Semaphore::close`]). One permit lets one
    /// reply through.
    pub fn when_open(self, gate: &Arc<Semaphore>) -> Self {
        let Self::Raw(bytes) = self else { panic!("only a raw reply can wait") };
        let gate = Arc::clone(gate);
        let opened = async move {
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
        };
        Self::After(Box::pin(opened), bytes)
    }
}

/// A server that answers as its script says.
pub struct Scripted {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Answers every request with what `script` makes of it and of its number, from 0. The script runs in the connection's
    /// task, so several may run at once.
    pub async fn start(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        let script = Arc::new(script);
        let (seen, opened) = (Arc::clone(&asked), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, Ordering::SeqCst);
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                tasks.spawn(converse(stream, script, seen));
            }
        });
        Self { address, asked, connections, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A token endpoint: issues `token-1`, `token-2`, …
pub struct TokenServer {
    pub server: Scripted,
}

impl TokenServer {
    /// Tokens that live for an hour.
    pub async fn start() -> Self {
        Self::scripted(|_, number| Reply::ok(&Self::granted(&format!("token-{}", number + 1), 3600))).await
    }

    pub async fn scripted(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self { server: Scripted::start(script).await }
    }

    /// A successful answer's body.
    pub fn granted(token: &str, expires_in: u64) -> String {
        format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in}}}"#)
    }

    /// `http://127.0.0.1:PORT/token`.
    pub fn endpoint(&self) -> String {
        format!("{}/token", self.server.origin())
    }

    /// Token requests so far.
    pub fn requests(&self) -> usize {
        self.server.requests()
    }
}

type Script = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

async fn converse(mut stream: TcpStream, script: Arc<Script>, seen: Arc<Mutex<Vec<Asked>>>) {
    let mut buffer = Vec::new();
    while let Some(asked) = read_request(&mut stream, &mut buffer).await {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(asked.clone());
            seen.len() - 1
        };
        match script(&asked, number) {
            Reply::Raw(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::Close(bytes) => {
                let _gone = stream.write_all(&bytes).await;
                let _gone = stream.shutdown().await;
                return;
            }
            Reply::After(opened, bytes) => {
                opened.await;
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::Silence => std::future::pending().await,
            Reply::HangUp => return,
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Asked> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let mut asked = Asked { line, fields: lines.map(split_field).collect(), body: Vec::new(), trailers: Vec::new() };
    let chunked = asked.all("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked"));
    if chunked {
        read_chunks(stream, buffer, &mut asked).await?;
    } else if let Some(length) = asked.field("content-length").map(|length| length.parse::<usize>().unwrap()) {
        while buffer.len() < length {
            if stream.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        }
        asked.body = buffer.drain(..length).collect();
    }
    Some(asked)
}

async fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>, asked: &mut Asked) -> Option<()> {
    loop {
        let size = read_line(stream, buffer).await?;
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
        if size == 0 {
            loop {
                let line = read_line(stream, buffer).await?;
                if line.is_empty() {
                    return Some(());
                }
                asked.trailers.push(split_field(&line));
            }
        }
        while buffer.len() < size + 2 {
            if stream.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        }
        asked.body.extend(buffer.drain(..size));
        buffer.drain(..2);
    }
}

async fn read_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = find(buffer, b"\r\n") {
            let line = String::from_utf8(buffer[..end].to_vec()).unwrap();
            buffer.drain(..end + 2);
            return Some(line);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn split_field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap();
    (name.to_owned(), value.trim().to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
