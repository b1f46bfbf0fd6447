//! The proxy of a network: opens tunnels to the hosts that it knows, wherever the test has put them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::raw::Raw;
use super::wire::read_head;

/// A proxy that speaks CONNECT, and nothing else.
pub struct ParentProxy {
    raw: Raw,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ParentProxy {
    /// Knows these authorities; to others it says 502.
    pub async fn start(hosts: &[(&str, SocketAddr)]) -> Self {
        Self::asking("", hosts).await
    }

    /// Says 407 to who does not send this field.
    pub async fn asking(field: &str, hosts: &[(&str, SocketAddr)]) -> Self {
        let hosts: HashMap<String, SocketAddr> = hosts.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (asked, field) = (Arc::clone(&heads), field.to_owned());
        let raw = Raw::start(move |mut caller, _| {
            let (hosts, asked, field) = (hosts.clone(), Arc::clone(&asked), field.clone());
            async move {
                let head = read_head(&mut caller).await;
                if head.is_empty() {
                    return;
                }
                asked.lock().unwrap().push(head.clone());
                let known = head.split(' ').nth(1).and_then(|target| hosts.get(target));
                let refusal: &[u8] = match known {
                    _ if !head.contains(&field) => {
                        b"HTTP/1.1 407 Who?\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"
                    }
                    None => b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno\n",
                    Some(address) => {
                        let mut there = TcpStream::connect(address).await.unwrap();
                        caller.write_all(b"HTTP/1.1 200 Connection established\r\nX-Theirs: 1\r\n\r\n").await.unwrap();
                        let _ended = tokio::io::copy_bidirectional(&mut caller, &mut there).await;
                        return;
                    }
                };
                let _closed = caller.write_all(refusal).await;
            }
        })
        .await;
        Self { raw, heads }
    }

    pub fn address(&self) -> SocketAddr {
        self.raw.address()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.raw.origin()
    }

    /// The heads of everything that was asked of it.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}
