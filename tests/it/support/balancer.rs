//! What a balancer does: it asks each replica whether it is ready, and hands callers' connections to those that are.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::real_time;

const INTERVAL: Duration = Duration::from_millis(50);

pub struct Replica {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    ready: AtomicBool,
    /// Connections to it that are being made.
    dialling: AtomicUsize,
}

impl Replica {
    pub fn new(address: SocketAddr, admin: SocketAddr) -> Arc<Self> {
        Arc::new(Self { address, admin, ready: AtomicBool::new(false), dialling: AtomicUsize::new(0) })
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// True if no caller is sent there any more.
    pub fn is_left_alone(&self) -> bool {
        !self.is_ready() && self.dialling.load(Ordering::SeqCst) == 0
    }

    /// A balancer looks at the status alone, and takes no answer for no.
    async fn probe(&self) -> bool {
        let asked = async {
            let mut stream = TcpStream::connect(self.admin).await.ok()?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await.ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok()?;
            Some(answer.starts_with(b"HTTP/1.1 200 "))
        };
        asked.await.unwrap_or(false)
    }
}

#[derive(Clone, Default)]
pub struct Balancer {
    replicas: Arc<Mutex<Vec<Arc<Replica>>>>,
    next: Arc<AtomicUsize>,
}

impl Balancer {
    /// Serves on this socket, for as long as the test runs.
    pub fn start(socket: TcpListener) -> Self {
        let (balancer, probing) = (Self::default(), Self::default());
        let probing = Self { replicas: Arc::clone(&balancer.replicas), ..probing };
        tokio::spawn(async move {
            loop {
                let replicas = probing.replicas.lock().unwrap().clone();
                for replica in replicas {
                    replica.ready.store(replica.probe().await, Ordering::SeqCst);
                }
                real_time("a balancer asks at intervals", INTERVAL).await;
            }
        });
        let accepting = balancer.clone();
        tokio::spawn(async move {
            while let Ok((caller, _)) = socket.accept().await {
                tokio::spawn(accepting.clone().hand_on(caller));
            }
        });
        balancer
    }

    pub fn add(&self, replica: &Arc<Replica>) {
        self.replicas.lock().unwrap().push(Arc::clone(replica));
    }

    pub fn remove(&self, replica: &Arc<Replica>) {
        self.replicas.lock().unwrap().retain(|known| !Arc::ptr_eq(known, replica));
    }

    /// One that refuses is tried no second time: its caller sees it.
    async fn hand_on(self, mut caller: TcpStream) {
        let Some(replica) = self.choose() else { return };
        let dialled = TcpStream::connect(replica.address).await;
        replica.dialling.fetch_sub(1, Ordering::SeqCst);
        if let Ok(mut dialled) = dialled {
            let _ended = tokio::io::copy_bidirectional(&mut caller, &mut dialled).await;
        }
    }

    fn choose(&self) -> Option<Arc<Replica>> {
        let replicas = self.replicas.lock().unwrap();
        let ready: Vec<&Arc<Replica>> = replicas.iter().filter(|replica| replica.is_ready()).collect();
        let chosen = Arc::clone(ready.get(self.next.fetch_add(1, Ordering::SeqCst) % ready.len().max(1))?);
        chosen.dialling.fetch_add(1, Ordering::SeqCst);
        Some(chosen)
    }
}
