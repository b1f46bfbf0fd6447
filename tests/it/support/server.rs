//! Scripted HTTP/1.1 servers: an upstream and a token endpoint. They record what they were asked, byte for byte.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::wire::{Message, Wire};

/// One request as a scripted server received it.
pub type Asked = Message;

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
                let _closed = stream.write_all(&bytes).await;
                let _closed = stream.shutdown().await;
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
    let mut wire = Wire { stream, buffer };
    let mut asked = wire.head().await?;
    wire.body(&mut asked).await?;
    Some(asked)
}
