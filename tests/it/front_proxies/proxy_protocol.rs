//! `listeners.L.proxy_protocol`: an address that stands before everything else on a connection.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::{Front, v1};
use crate::support::{Caller, Folder, Reply, Scripted, TestCa, TestProxy, get, read_body, send, until};

const OURS: &str = "proxy_protocol = [\"127.0.0.1\"]\n";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2: a command, a family, and what comes behind the length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

/// `192.0.2.7:5123`, with a field behind it that says more.
fn v2_four() -> Vec<u8> {
    v2(1, 0x11, &[192, 0, 2, 7, 192, 0, 2, 1, 0x14, 0x03, 0x01, 0xbb, 0x02, 0, 4, b'h', b'o', b's', b't'])
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[tokio::test]
async fn the_address_in_a_header_of_either_version_is_the_callers() {
    let front = Front::start(OURS, "").await;
    let address = front.proxy.address("base");
    let mut six = [0; 36];
    six[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
    six[32..34].copy_from_slice(&5123_u16.to_be_bytes());
    let cases = [
        ("/one/four", v1("192.0.2.7:5123").into_bytes(), Some("192.0.2.7:5123")),
        ("/one/six", v1("[2001:db8::7]:5123").into_bytes(), Some("[2001:db8::7]:5123")),
        ("/two/four", v2_four(), Some("192.0.2.7:5123")),
        ("/two/six", v2(1, 0x21, &six), Some("[2001:db8::7]:5123")),
        // The proxy asks for itself, or does not know.
        ("/one/unknown", b"PROXY UNKNOWN ffff:f::1 ffff:f::2 65535 65535\r\n".to_vec(), None),
        ("/two/local", v2(0, 0x11, &[192, 0, 2, 7, 192, 0, 2, 1, 0x14, 0x03, 0x01, 0xbb]), None),
        ("/two/local/bare", v2(0, 0, &[]), None),
        ("/two/unspecified", v2(1, 0, &[]), None),
    ];
    for (path, header, told) in cases {
        // In one piece with its request, and byte by byte.
        let mut whole = Caller::connect(address).await;
        let whole_from = whole.stream.local_addr().unwrap().to_string();
        whole.write([&header, request(path).as_bytes()].concat()).await;
        assert_eq!(whole.answer().await.status, 200, "{path}");
        let mut pieces = Caller::connect(address).await;
        pieces.stream.set_nodelay(true).unwrap();
        let pieces_from = pieces.stream.local_addr().unwrap().to_string();
        for byte in [&header, request(path).as_bytes()].concat() {
            pieces.write([byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(pieces.answer().await.status, 200, "{path}");
        let of = |own: String| told.map_or(own, str::to_owned);
        let mut expected = [of(whole_from), of(pieces_from)];
        let mut peers = front.peers(path, 2).await;
        expected.sort();
        peers.sort();
        assert_eq!(peers, expected, "{path}");
    }
    assert_eq!(
        front.proxy.metric("attache_proxy_protocol_errors_total{listener=\"base\",reason=\"missing\"}").await,
        0.0
    );
}

#[tokio::test]
async fn the_connection_keeps_its_address_when_it_is_parked_between_requests() {
    let toml = format!("[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\n{OURS}");
    let front = Front::with(&toml, TestProxy::parking_at_once).await;
    let mut caller = Caller::connect(front.proxy.address("base")).await;
    caller.write(v1("192.0.2.7:5123")).await;
    for path in ["/a", "/b", "/c"] {
        caller.write(request(path)).await;
        assert_eq!(caller.answer().await.status, 200);
        assert_eq!(front.peer(path).await, "192.0.2.7:5123");
    }
}

#[tokio::test]
async fn a_header_stands_before_http_2_and_before_tls() {
    let (ca, folder) = (TestCa::new(), tempfile::tempdir().unwrap());
    let (certificate, key) = ca.issue(&["gateway.test"]);
    std::fs::write(folder.path().join("own.pem"), certificate.pem() + &key.serialize_pem()).unwrap();
    let tls = format!("tls = {{ certificate = \"{}\" }}\n", folder.path().join("own.pem").display());
    let clear = format!("[listeners.clear]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\n{OURS}");
    let front = Front::start(&format!("{OURS}{tls}hosts = \"any\"\n"), &clear).await;

    let mut stream = TcpStream::connect(front.proxy.address("base")).await.unwrap();
    stream.write_all(&v2_four()).await.unwrap();
    let mut stream = ca.connect("gateway.test", stream).await;
    stream.write_all(b"GET /tls HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(front.peer("/tls").await, "192.0.2.7:5123");

    let mut stream = TcpStream::connect(front.proxy.address("clear")).await.unwrap();
    stream.write_all(v1("[2001:db8::7]:5123").as_bytes()).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let asked = http::Request::get("http://localhost/h2").body(()).unwrap();
    let mut answer = send.send_request(asked, true).unwrap().0.await.unwrap();
    assert_eq!(read_body(answer.body_mut()).await.unwrap(), b"fine");
    assert_eq!(front.peer("/h2").await, "[2001:db8::7]:5123");
    connection.abort();
}

#[tokio::test]
async fn a_connection_that_does_not_begin_with_a_header_is_closed_and_counted() {
    let front = Front::start(OURS, "[limits]\nheader_timeout = \"1s\"\n").await;
    let address = front.proxy.address("base");
    // As a health check does, which is no error.
    drop(TcpStream::connect(address).await.unwrap());
    let cases: [(&[u8], &str); 8] = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "missing"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "missing"),
        (b"PROXY TCP4 192.0.2.7 443\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.7 2001:db8::1 1 2\r\n", "malformed"),
        (&[SIGNATURE, b"\x2f\x11\0\0"].concat(), "malformed"),
        (&[b"PROXY UNKNOWN ".to_vec(), vec![b'1'; 100]].concat(), "too_long"),
        (&[SIGNATURE, b"\x21\x11\xff\xff"].concat(), "too_long"),
        (b"PROXY TCP4 192.0.2.7", "timeout"),
    ];
    let series = |reason: &str| format!("attache_proxy_protocol_errors_total{{listener=\"base\",reason=\"{reason}\"}}");
    for (sent, reason) in cases {
        let before = front.proxy.metric(&series(reason)).await;
        let mut caller = Caller::connect(address).await;
        caller.write(sent).await;
        assert!(caller.is_closed().await, "{:?}", String::from_utf8_lossy(sent));
        let counted = async || front.proxy.metric(&series(reason)).await == before + 1.0;
        until("it is counted", counted).await;
    }
    let all = ["missing", "malformed", "too_long", "timeout"];
    let mut sum = 0.0;
    for reason in all {
        sum += front.proxy.metric(&series(reason)).await;
    }
    assert_eq!((sum, front.api.requests()), (8.0, 0));
}

#[tokio::test]
async fn from_elsewhere_no_header_is_read() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let listener = |name: &str, keys: &str| {
        format!("[listeners.{name}]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\n{keys}")
    };
    let elsewhere = listener("elsewhere", "proxy_protocol = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n");
    let folder = Folder::with(&format!(
        "{elsewhere}{}{}[upstreams.api]\norigin = \"{}\"\n",
        listener("none", ""),
        listener("ours", OURS),
        api.origin()
    ));
    let running = folder.start(&["run"]);
    for (name, header) in [("elsewhere", v1("192.0.2.7:1").into_bytes()), ("none", v2_four())] {
        let address = running.address(name).await;
        assert_eq!(send(address, [&header, request("/").as_bytes()].concat()).await.status, 400, "{name}");
        running.says(&format!("add its network to listeners.{name}.proxy_protocol")).await;
        assert_eq!(get(address, "localhost", "/").await.status, 200, "without one it is a caller like others");
    }
    let ours = running.address("ours").await;
    let mut caller = Caller::connect(ours).await;
    caller.write(request("/")).await;
    assert!(caller.is_closed().await);
    running.says("a connection was closed: it does not begin with a PROXY protocol header; have the proxy").await;
    let line = running.stderr().lines().find(|line| line.contains("was closed")).unwrap().to_owned();
    assert!(line.contains("listener=ours") && line.contains("peer=127.0.0.1:"), "{line}");
}

#[tokio::test]
async fn each_address_that_is_told_has_limits_of_its_own() {
    let callers = "callers = [\"one\"]\n";
    let tables = "[callers.one]\npassword = \"right\"\n[limits]\nconnections_per_address = 2\n";
    let front = Front::start(&format!("{OURS}{callers}"), tables).await;
    let address = front.proxy.address("base");
    let connect = async |source: &str| {
        let mut caller = Caller::connect(address).await;
        caller.write(v1(source)).await;
        caller
    };
    let ask = async |caller: &mut Caller, pair: &str| {
        use base64::Engine as _;
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        caller.write(format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {pair}\r\n\r\n")).await;
        caller.answer().await.status
    };
    let mut open = Vec::new();
    for source in ["192.0.2.7:1", "192.0.2.7:2", "192.0.2.8:1", "[2001:db8::1]:1"] {
        let mut caller = connect(source).await;
        assert_eq!(ask(&mut caller, "one:right").await, 200, "{source}");
        open.push(caller);
    }
    assert_eq!(ask(&mut connect("192.0.2.7:3").await, "one:right").await, 429, "one more than two");
    assert_eq!(ask(&mut connect("192.0.2.8:3").await, "one:right").await, 200);
    drop(open);
    // Passwords are guessed from one of them; the other one, behind the same proxy, has tries of its own.
    let mut guesser = connect("198.51.100.1:1").await;
    let mut answers = Vec::new();
    for number in 0..30 {
        answers.push(ask(&mut guesser, &format!("one:wrong{number}")).await);
    }
    assert!(answers.contains(&429), "{answers:?}");
    assert_eq!(ask(&mut connect("198.51.100.2:1").await, "one:wrong").await, 401);
}

#[tokio::test]
async fn every_mode_of_listener_reads_it() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let host = api.address();
    let log = tempfile::tempdir().unwrap();
    let toml = format!(
        "[listeners.socks]\naddress = \"127.0.0.1:0\"\nmode = \"socks5\"\n{OURS}\
         [listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n{OURS}\
         [listeners.tokens]\naddress = \"127.0.0.1:0\"\nmode = \"token\"\n{OURS}\
         [telemetry]\naccess_log = \"{}\"\naccess_log_format = \"json\"\n\
         [credentials.key]\ntoken_endpoint = \"http://127.0.0.1:1/\"\nclient_id = \"me\"\nclient_secret = \"s3cret\"\n\
         [upstreams.api]\norigin = \"http://{host}\"\ncredential = \"key\"\non_token_error = \"pass\"\n",
        log.path().join("access.log").display()
    );
    let proxy = TestProxy::start(&toml);

    let mut socks = Caller::connect(proxy.address("socks")).await;
    let std::net::SocketAddr::V4(to) = host else { unreachable!("{host}") };
    let mut hello = v2_four();
    hello.extend([5, 1, 0]);
    socks.write(hello).await;
    assert_eq!(socks.read_exact(2).await, [5, 0]);
    let request = [&[5, 1, 0, 1][..], &to.ip().octets(), &to.port().to_be_bytes()].concat();
    socks.write(request).await;
    assert_eq!(socks.read_exact(10).await[1], 0);
    let inside = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    socks.write(inside("/socks")).await;
    assert_eq!(socks.answer().await.status, 200);

    let mut tunnel = Caller::connect(proxy.address("proxy")).await;
    tunnel.write(v1("192.0.2.7:5123")).await;
    tunnel.write(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert_eq!(tunnel.answer_head().await.status, 200);
    tunnel.write(inside("/tunnel")).await;
    assert_eq!(tunnel.answer().await.status, 200);

    let mut tokens = Caller::connect(proxy.address("tokens")).await;
    tokens.write(v1("192.0.2.7:5123")).await;
    let form = "grant_type=client_credentials&client_id=me&client_secret=wrong";
    tokens
        .write(format!(
            "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ))
        .await;
    assert_eq!(tokens.answer().await.status, 401);
    drop((socks, tunnel, tokens));

    let lines = || std::fs::read_to_string(log.path().join("access.log")).unwrap();
    until("all are written", async || lines().lines().count() >= 4).await;
    for line in lines().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["peer"], "192.0.2.7:5123", "{line}");
    }
}

/// Users are those whose processes connect, wherever they say that their callers are.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_is_told_lets_nobody_in() {
    use std::os::unix::fs::MetadataExt as _;

    let folder = tempfile::tempdir().unwrap();
    let (mine, others) = (folder.path().join("mine"), folder.path().join("others"));
    let me = std::fs::metadata("/proc/self").unwrap().uid();
    let listener = |name: &str, path: &std::path::Path, user: u32| {
        format!(
            "[listeners.{name}]\naddress = \"unix:{}\"\nmode = \"reverse\"\nupstream = \"api\"\nusers = [{user}]\nproxy_protocol = [\"unix\"]\n",
            path.display()
        )
    };
    let toml = listener("mine", &mine, me) + &listener("others", &others, me + 1);
    let front = Front::with(&toml, TestProxy::start).await;
    for (path, is_mine) in [(&mine, true), (&others, false)] {
        for told in ["127.0.0.1:1", "192.0.2.7:1"] {
            let mut stream = UnixStream::connect(path).await.unwrap();
            let asked = format!("{}GET /{told} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", v1(told));
            let _refused = stream.write_all(asked.as_bytes()).await;
            let mut answer = Vec::new();
            let _reset = stream.read_to_end(&mut answer).await;
            assert_eq!(answer.starts_with(b"HTTP/1.1 200 "), is_mine, "{}", String::from_utf8_lossy(&answer));
            if is_mine {
                assert_eq!(front.peer(&format!("/{told}")).await, told);
            }
        }
    }
    assert_eq!(front.api.requests(), 2);
}
