//! A plain HTTP/1.1 request, made without any library, so that what the demo shows is what happened on the wire.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer. Field names are compared without regard to case.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status line.
    pub status_line: String,
    /// The status code.
    pub status: u16,
    /// The fields, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, taken out of its chunks.
    pub body: String,
}

/// Sends `GET target` to `address` and reads the answer to its end. `target` is a path (origin-form) or a whole URL
/// (absolute-form, RFC 9112 section 3.2.2, as a program does that has `HTTP_PROXY` set).
///
/// # Errors
/// When no program listens there, or what comes back within ten seconds is no HTTP response.
pub async fn ask(address: SocketAddr, host: &str, target: &str) -> io::Result<Reply> {
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: a-plain-program\r\nConnection: close\r\n\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), exchange)
        .await
        .unwrap_or_else(|_elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s")))?;
    read(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP response"))
}

impl Reply {
    /// The first field of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

fn read(answer: &str) -> Option<Reply> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let (status_line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = status_line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let headers: Vec<_> = fields.split("\r\n").filter_map(field).collect();
    let mut reply = Reply { status_line: status_line.to_owned(), status, headers, body: String::new() };
    let chunked = reply.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    reply.body = if chunked { unchunked(body)? } else { body.to_owned() };
    Some(reply)
}

/// RFC 9112 section 7.1, without extensions and trailers: the demo sends none.
fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_with_and_without_chunks() {
        let plain = read("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\r\nno").unwrap();
        assert_eq!((plain.status, plain.header("www-authenticate"), plain.body.as_str()), (401, Some("Bearer"), "no"));
        let chunked =
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").unwrap();
        assert_eq!((chunked.status, chunked.body.as_str()), (200, "abc"));
        assert!(read("SSH-2.0-x\r\n\r\n").is_none());
    }
}
