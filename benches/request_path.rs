//! Whole requests on loopback, one after the other on a connection that is kept alive: caller, attache with one worker,
//! and an upstream that answers 1 KiB.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up says why")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use attache::app::App;
use attache::app::ListenAddress;
use attache::config::Config;
use attache::demo::{AUDIENCE, AuthorizationServer, CLIENT_ID, CLIENT_SECRET, Client, SCOPES};
use criterion::Criterion;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The length of every answer's body; it consists of one of these two, for a request that came with a token or without.
const BODY: usize = 1024;
const TOKEN: u8 = b'+';
const NO_TOKEN: u8 = b'-';

fn main() {
    // The servers run on a thread of this runtime's, the caller on this one, and attache on its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = Client::new(CLIENT_ID, CLIENT_SECRET, &SCOPES);
    let issuer = runtime.block_on(AuthorizationServer::start(ANYWHERE, AUDIENCE, vec![client])).unwrap();
    issuer.set_lifetime(Duration::from_secs(3600));
    // One for each upstream: origins are what a forward listener tells apart.
    let [orders, plain] = [(); 2].map(|()| runtime.block_on(start_upstream()).unwrap());
    let config = Config::parse("proxy.toml", &proxy_toml(&issuer.token_endpoint(), orders, plain)).unwrap();
    let app = App::start_with(config, 1).unwrap();
    let [forward, reverse] = ["forward", "reverse"].map(|listener| tcp_address(&app, listener));

    let mut criterion = Criterion::default().configure_from_args();
    let cases = [
        ("reverse, injected", reverse, "/orders/17".to_owned(), TOKEN),
        ("reverse, passed", reverse, "/plain/17".to_owned(), NO_TOKEN),
        ("forward, injected", forward, format!("http://{orders}/17"), TOKEN),
        ("forward, passed", forward, format!("http://{plain}/17"), NO_TOKEN),
        ("no proxy", plain, "/17".to_owned(), NO_TOKEN),
    ];
    for (name, address, target, expected) in cases {
        let host = if address == forward { target.split('/').nth(2).unwrap().to_owned() } else { address.to_string() };
        let mut caller = runtime.block_on(Caller::connect(address, &host, &target)).unwrap();
        assert_eq!(runtime.block_on(caller.ask()).unwrap(), expected, "{name}");
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|requests| runtime.block_on(caller.ask_often(requests)).unwrap());
        });
    }
    criterion.final_summary();
}

fn proxy_toml(token_endpoint: &str, orders: SocketAddr, plain: SocketAddr) -> String {
    format!(
        r#"[listeners.forward]
address = "{ANYWHERE}"
mode = "forward"

[listeners.reverse]
address = "{ANYWHERE}"
mode = "reverse"
upstreams = ["orders", "plain"]

[credentials.orders]
token_endpoint = "{token_endpoint}"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"

[upstreams.orders]
origin = "http://{orders}"
path_prefix = "/orders"
credential = "orders"

[upstreams.plain]
origin = "http://{plain}"
path_prefix = "/plain"
"#
    )
}

fn tcp_address(app: &App, listener: &str) -> SocketAddr {
    let tcp = |(name, address)| match address {
        ListenAddress::Tcp(address) if name == listener => Some(address),
        _ => None,
    };
    app.addresses().into_iter().find_map(tcp).unwrap()
}

/// A program that asks for the same thing again and again.
struct Caller {
    stream: TcpStream,
    request: String,
    answer: Vec<u8>,
}

impl Caller {
    async fn connect(address: SocketAddr, host: &str, target: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: a-program\r\nAccept: */*\r\n\r\n");
        Ok(Self { stream, request, answer: Vec::with_capacity(8192) })
    }

    /// One request and its answer, of which this is the last byte.
    async fn ask(&mut self) -> io::Result<u8> {
        self.stream.write_all(self.request.as_bytes()).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let head = end_of_head(&self.answer);
            if let Some(last) = head.and_then(|head| self.answer.get(head + BODY - 1)) {
                return Ok(*last);
            }
        }
    }

    async fn ask_often(&mut self, requests: u64) -> io::Result<Duration> {
        let began = Instant::now();
        for _ in 0..requests {
            self.ask().await?;
        }
        Ok(began.elapsed())
    }
}

/// A server that answers everything, and says in the body whether there was a token.
async fn start_upstream() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(ANYWHERE).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(address)
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let [with, without] = [TOKEN, NO_TOKEN].map(|byte| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n");
        [head.as_bytes(), &[byte; BODY]].concat()
    });
    let mut request = Vec::with_capacity(8192);
    while stream.read_buf(&mut request).await? > 0 {
        if end_of_head(&request).is_some() {
            let bearer = b"authorization: Bearer ";
            let authorized = request.windows(bearer.len()).any(|text| text.eq_ignore_ascii_case(bearer));
            stream.write_all(if authorized { &with } else { &without }).await?;
            request.clear();
        }
    }
    Ok(())
}

fn end_of_head(message: &[u8]) -> Option<usize> {
    message.windows(4).position(|text| text == b"\r\n\r\n").map(|at| at + 4)
}
