//! Authorization servers that answer as real ones do to a client that is wrong.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Asked, Raw, Reply, Scripted};

const JSON: &str = "content-type: application/json\r\ncache-control: no-store\r\n";

/// An error of RFC 6749 section 5.2.
pub fn refusal(status: u16, code: &str, about: &str) -> Reply {
    Reply::new(status, JSON, &format!(r#"{{"error":"{code}","error_description":"{about}"}}"#))
}

pub fn granted() -> Reply {
    Reply::new(200, JSON, r#"{"access_token":"a","token_type":"Bearer","expires_in":3600}"#)
}

pub fn page(status: u16, title: &str) -> Reply {
    Reply::new(status, "content-type: text/html\r\n", &format!("<!doctype html><title>{title}</title><p>{title}"))
}

pub async fn server(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |asked, _| script(asked)).await
}

/// A server in clear that is spoken to in another protocol, and answers as those do.
pub async fn answers_anything() -> Raw {
    Raw::start(|mut caller, _| async move {
        let _gone = caller.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let _gone = caller.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// An address that nobody listens at.
pub fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
