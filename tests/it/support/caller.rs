//! A caller that writes exactly the bytes it is given, and reads one response at a time.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::wire::{Message, Wire};

/// No conversation of these tests takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A response, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    message: Message,
}

impl Deref for Answer {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl Answer {
    /// The answer is one of attache's own failures, in full: status, `Proxy-Status` with this error, a problem document with
    /// a sentence, and the request id in both places.
    #[track_caller]
    pub fn assert_own_failure(&self, status: u16, error: &str) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.field("proxy-status"), Some(format!("attache; error={error}").as_str()));
        assert_eq!(self.field("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"].as_str(), self.field("x-request-id"));
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    }
}

/// An open connection to attache.
pub struct Caller {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// Over a connection that is there.
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads a response to a request that was not HEAD. Panics if none comes.
    pub async fn answer(&mut self) -> Answer {
        tokio::time::timeout(PATIENCE, self.read(false)).await.expect("no answer in time").expect("no answer")
    }

    /// Reads a response that may break off: `None` if the connection ends before it does.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read(false)).await.expect("no answer in time")
    }

    /// Reads a response without a body (to HEAD or CONNECT).
    pub async fn answer_head(&mut self) -> Answer {
        tokio::time::timeout(PATIENCE, self.read(true)).await.expect("no answer in time").expect("no answer")
    }

    /// True if attache closes the connection without another byte.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0; 1];
        let read =
            tokio::time::timeout(PATIENCE, self.stream.read(&mut byte)).await.expect("neither closed nor answered");
        self.buffer.is_empty() && matches!(read, Ok(0) | Err(_))
    }

    /// Raw bytes, exactly as many.
    pub async fn read_exact(&mut self, length: usize) -> Vec<u8> {
        let read = tokio::time::timeout(PATIENCE, self.wire().exactly(length)).await.expect("no bytes in time");
        read.unwrap_or_else(|| panic!("closed after {:?}", self.buffer))
    }

    async fn read(&mut self, headless: bool) -> Option<Answer> {
        let mut message = self.wire().head().await?;
        while message.target() == "100" {
            message = self.wire().head().await?;
        }
        let status = message.target().parse().ok()?;
        let empty = headless || matches!(status, 101 | 204 | 304);
        if !empty && !self.wire().body(&mut message).await? {
            message.body = self.wire().rest().await;
        }
        Some(Answer { status, message })
    }

    const fn wire(&mut self) -> Wire<'_, TcpStream> {
        Wire { stream: &mut self.stream, buffer: &mut self.buffer }
    }
}

/// Sends one raw request on a connection of its own, and reads the answer.
pub async fn send(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut caller = Caller::connect(address).await;
    caller.write(request).await;
    caller.answer().await
}

/// `GET target` with this Host.
pub async fn get(address: SocketAddr, host: &str, target: &str) -> Answer {
    send(address, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
}
