//! An HTTP/2 server that writes its frames itself, for what no library would send.

use std::future::Future;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Raw;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame as it is on the wire.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[length[1], length[2], length[3], kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A connection in frames.
pub struct Frames {
    stream: TlsStream<TcpStream>,
}

/// One frame as it came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// True for the last frame of a request.
    pub fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

impl Frames {
    /// Runs a script for each connection, which has said its preface and its settings.
    pub async fn start<S, F>(config: Arc<ServerConfig>, script: S) -> Raw
    where
        S: Fn(Self, usize) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Raw::start(move |stream, number| {
            let (acceptor, script) = (TlsAcceptor::from(config.clone()), script.clone());
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let mut preface = [0; 24];
                    if stream.read_exact(&mut preface).await.is_err() {
                        return;
                    }
                    let mut frames = Self { stream };
                    frames.write(SETTINGS, 0, 0, &[]).await;
                    script(frames, number).await;
                } else {
                    script(Self { stream }, number).await;
                }
            }
        })
        .await
    }

    /// The stream itself, where HTTP/1.1 is spoken.
    pub fn http1(&mut self) -> Option<&mut TlsStream<TcpStream>> {
        (self.stream.get_ref().1.alpn_protocol() != Some(b"h2")).then_some(&mut self.stream)
    }

    /// The next frame; settings and pings are answered on the way, and all room is given back. `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4] & 1) {
                (SETTINGS, 0) => self.write(SETTINGS, 1, 0, &[]).await,
                (PING, 0) => self.write(PING, 1, 0, &payload).await,
                (SETTINGS | PING | WINDOW_UPDATE, _) => {}
                (kind, _) => {
                    if kind == DATA && length > 0 {
                        self.write(WINDOW_UPDATE, 0, 0, &length.to_be_bytes()).await;
                        self.write(WINDOW_UPDATE, 0, stream, &length.to_be_bytes()).await;
                    }
                    return Some(Frame { kind, flags: head[4], stream, payload });
                }
            }
        }
    }

    /// Waits until the other end has read what was written: pings are answered in order. Frames that come meanwhile are lost.
    pub async fn are_read(&mut self) {
        self.write(PING, 0, 0, &[1; 8]).await;
        let mut head = [0; 9];
        while self.stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await.unwrap();
            if (head[3], head[4] & 1) == (PING, 1) {
                return;
            }
        }
    }

    /// Writes a frame; whether it arrives is seen in what comes back.
    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let _closed = self.stream.write_all(&frame(kind, flags, stream, payload)).await;
        let _closed = self.stream.flush().await;
    }

    /// 200 without a body.
    pub async fn answer(&mut self, stream: u32) {
        self.write(HEADERS, END_STREAM | END_HEADERS, stream, &[0x88]).await;
    }

    /// Ends a stream.
    pub async fn reset(&mut self, stream: u32, reason: h2::Reason) {
        self.write(RST_STREAM, 0, stream, &u32::from(reason).to_be_bytes()).await;
    }

    /// Ends the connection: streams above this one are not processed.
    pub async fn go_away(&mut self, last: u32, reason: h2::Reason) {
        self.write(GOAWAY, 0, 0, &[last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat()).await;
    }
}
