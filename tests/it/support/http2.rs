//! HTTP/2 on both sides of attache: callers with prior knowledge, and an upstream by ALPN.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use tokio::net::TcpStream;

use super::{TestCa, TestProxy, TokenServer, credential, reverse, upstream};

/// A base URL in front of an HTTP/2 upstream at `https://api.test`, on one worker, with more lines for the upstream, behind
/// which other tables may follow.
pub fn in_front_of_http2(tokens: &TokenServer, ca: &TestCa, address: SocketAddr, rest: &str) -> TestProxy {
    let (listener, credential, api) = (reverse(&["api"]), credential(tokens), upstream("api", "https://api.test"));
    let toml = format!("{listener}{credential}{api}connect = \"{address}\"\n{}{rest}", ca.trusted());
    TestProxy::start_with(&toml, 1)
}

/// A caller that speaks HTTP/2.
pub async fn http2_caller(address: SocketAddr) -> SendRequest<Bytes> {
    http2_caller_with(address, 65_535).await
}

/// A caller with this much room for each answer.
pub async fn http2_caller_with(address: SocketAddr, window: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(1 << 20);
    let (send, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(async move {
        let _ended = connection.await;
    });
    send.ready().await.unwrap()
}

/// The rest of a body; an error if it does not end as one does.
pub async fn read_body(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        all.extend_from_slice(&data);
        let _ended = body.flow_control().release_capacity(data.len());
    }
    Ok(all)
}
