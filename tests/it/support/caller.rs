//! A caller that writes exactly the bytes it is given, and reads one response at a time.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// No conversation of these tests takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A response, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The only value of a field; panics if there are several.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// The body as a JSON document.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The answer is one of attache's own failures, in full: status, `Proxy-Status` with this error, a problem document with
    /// a sentence, and the request id in both places (product.md, "Failures are told apart").
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
        while self.buffer.len() < length {
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            assert!(read.expect("no bytes in time").unwrap() > 0, "closed after {:?}", self.buffer);
        }
        self.buffer.drain(..length).collect()
    }

    async fn read(&mut self, headless: bool) -> Option<Answer> {
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
                self.buffer.drain(..end + 4);
                break head;
            }
            self.more().await?;
        };
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines.map(split_field).collect();
        let mut answer = Answer { status, fields, body: Vec::new(), trailers: Vec::new() };
        if status == 100 {
            return Box::pin(self.read(headless)).await;
        }
        if headless || status == 204 || status == 304 || status == 101 {
            return Some(answer);
        }
        if answer.field("transfer-encoding").is_some() {
            self.read_chunks(&mut answer).await?;
        } else if let Some(length) = answer.field("content-length").map(|length| length.parse::<usize>().unwrap()) {
            while self.buffer.len() < length {
                self.more().await?;
            }
            answer.body = self.buffer.drain(..length).collect();
        } else {
            while self.more().await.is_some() {}
            answer.body = std::mem::take(&mut self.buffer);
        }
        Some(answer)
    }

    async fn read_chunks(&mut self, answer: &mut Answer) -> Option<()> {
        loop {
            let size = usize::from_str_radix(self.line().await?.trim(), 16).ok()?;
            if size == 0 {
                loop {
                    let line = self.line().await?;
                    if line.is_empty() {
                        return Some(());
                    }
                    answer.trailers.push(split_field(&line));
                }
            }
            while self.buffer.len() < size + 2 {
                self.more().await?;
            }
            answer.body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Option<()> {
        (self.stream.read_buf(&mut self.buffer).await.ok()? > 0).then_some(())
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

fn split_field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap();
    (name.to_owned(), value.trim().to_owned())
}
