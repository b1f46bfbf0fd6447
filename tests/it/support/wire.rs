//! HTTP/1.1 as it is on the wire: heads, fields, chunks and trailers, for callers and scripted servers alike.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A request or a response, read to its end.
#[derive(Debug, Clone)]
pub struct Message {
    /// `GET /path HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub line: String,
    /// Name (as received) and value, in order.
    pub fields: Vec<(String, String)>,
    /// Decoded from chunks if need be.
    pub body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Message {
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

    /// The second word of the first line: a target or a status.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as a JSON document.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A stream, and what has been read of it too early. Everything it reads is `None` if the stream ends first.
pub struct Wire<'a, S> {
    pub stream: &'a mut S,
    pub buffer: &'a mut Vec<u8>,
}

impl<S: AsyncRead + Unpin> Wire<'_, S> {
    /// A head, as a message without a body.
    pub async fn head(&mut self) -> Option<Message> {
        let line = self.line().await?;
        let mut fields = Vec::new();
        self.fields(&mut fields).await?;
        Some(Message { line, fields, body: Vec::new(), trailers: Vec::new() })
    }

    /// The body that the head announces; `false` if it announces none.
    pub async fn body(&mut self, message: &mut Message) -> Option<bool> {
        if message.all("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
            self.chunks(message).await?;
        } else if let Some(length) = message.field("content-length").map(|length| length.parse().unwrap()) {
            message.body = self.exactly(length).await?;
        } else {
            return Some(false);
        }
        Some(true)
    }

    /// All that comes.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await.is_some() {}
        std::mem::take(self.buffer)
    }

    /// As many bytes.
    pub async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Some(self.buffer.drain(..length).collect())
    }

    async fn chunks(&mut self, message: &mut Message) -> Option<()> {
        loop {
            let size = self.line().await?;
            let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).unwrap();
            if size == 0 {
                return self.fields(&mut message.trailers).await;
            }
            message.body.extend(self.exactly(size).await?);
            self.exactly(2).await?;
        }
    }

    /// Fields, up to the empty line.
    async fn fields(&mut self, fields: &mut Vec<(String, String)>) -> Option<()> {
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(());
            }
            let (name, value) = line.split_once(':').unwrap();
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let mut line = self.buffer.drain(..end + 2).collect::<Vec<_>>();
                line.truncate(end);
                return Some(String::from_utf8(line).unwrap());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Option<()> {
        (self.stream.read_buf(self.buffer).await.ok()? > 0).then_some(())
    }
}

/// Reads up to the end of a head and not a byte further. Empty if the connection ends first.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}
