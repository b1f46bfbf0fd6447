//! Where attache lets itself be sent: the threats of an open proxy, over real sockets (SSRF, ways into the admin listener).

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use crate::support::{
    ADMIN, Answer, Caller, FORWARD, Raw, Reply, Scripted, TestProxy, TokenServer, credential, get, send, upstream,
};

/// Everything that can be opened is.
const OPEN: &str = "[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\nconnect_ports = \"any\"\n";

/// Spellings of this machine that a proxy can be asked for.
const HERE: [&str; 8] =
    ["127.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST.", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]"];

/// Spellings that resolvers read as 127.0.0.1, or some URL parser does.
const IN_DISGUISE: [&str; 9] = [
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1..",
    "[127.0.0.1]",
];

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The address by which this machine would reach others, if it has one. Nothing is sent.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip()).filter(|ip| !ip.is_loopback())
}

async fn tunnel(proxy: SocketAddr, target: &str) -> Answer {
    let mut caller = Caller::connect(proxy).await;
    caller.write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    caller.answer().await
}

/// By a plain request, by one that asks for TLS, and by a tunnel.
async fn assert_is_a_loop(proxy: SocketAddr, authority: &str) {
    for scheme in ["http", "https"] {
        let answer = get(proxy, authority, &format!("{scheme}://{authority}/metrics")).await;
        answer.assert_own_failure(502, "proxy_loop_detected");
    }
    tunnel(proxy, authority).await.assert_own_failure(502, "proxy_loop_detected");
}

#[tokio::test]
async fn our_own_listeners_are_out_of_reach_in_every_spelling() {
    let proxy = TestProxy::start(&format!("{FORWARD}{ADMIN}{OPEN}"));
    for listener in ["admin", "proxy"] {
        let port = proxy.address(listener).port();
        for host in HERE {
            assert_is_a_loop(proxy.address("proxy"), &format!("{host}:{port}")).await;
        }
    }
}

#[tokio::test]
async fn listing_the_loopback_network_opens_no_way_to_our_own_listeners() {
    let policy = "[forward]\nunmatched = \"pass\"\nprivate_addresses = [\"127.0.0.0/8\", \"::1\"]\n";
    let proxy = TestProxy::start(&format!("{FORWARD}{ADMIN}{policy}"));
    let admin = proxy.address("admin");
    let answer = get(proxy.address("proxy"), &admin.to_string(), &format!("http://{admin}/metrics")).await;
    answer.assert_own_failure(502, "proxy_loop_detected");
}

#[tokio::test]
async fn a_listener_at_every_address_is_out_of_reach_at_each_of_them() {
    let everywhere = "[listeners.proxy]\naddress = \"0.0.0.0:0\"\nmode = \"forward\"\nopen = true\n\
        [admin]\naddress = \"0.0.0.0:0\"\ntoken = \"sentinel\"\n";
    let proxy = TestProxy::start(&format!("{everywhere}{OPEN}"));
    let at = SocketAddr::from(([127, 0, 0, 1], proxy.address("proxy").port()));
    let mut hosts: Vec<String> =
        ["127.0.0.1", "127.9.9.9", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"].map(str::to_owned).to_vec();
    match outward() {
        Some(ip) => hosts.extend([ip.to_string(), format!("[::ffff:{ip}]")]),
        None => eprintln!("this machine has no address but loopback: those of its interfaces are not tried"),
    }
    for listener in ["admin", "proxy"] {
        for host in &hosts {
            assert_is_a_loop(at, &format!("{host}:{}", proxy.address(listener).port())).await;
        }
    }
}

#[tokio::test]
async fn no_upstream_is_a_way_to_our_own_listeners() {
    let (tokens, admin) = (TokenServer::start().await, free_port());
    for (origin, connect, asked) in [
        (format!("http://{admin}"), String::new(), format!("http://{admin}/metrics")),
        ("https://api.test".into(), format!("connect = \"{admin}\"\n"), "http://api.test/metrics".into()),
        ("https://*.wild.test".into(), format!("connect = \"{admin}\"\n"), "http://a.wild.test/metrics".into()),
        (
            "https://*.wild.test".into(),
            format!("connect = \"localhost:{}\"\n", admin.port()),
            "https://a.wild.test/".into(),
        ),
        (
            "https://*.wild.test".into(),
            format!("connect = \"0.0.0.0:{}\"\n", admin.port()),
            "https://a.wild.test/".into(),
        ),
    ] {
        let proxy = TestProxy::start(&format!(
            "{FORWARD}[admin]\naddress = \"{admin}\"\n{}{}{connect}",
            credential(&tokens),
            upstream("api", &origin)
        ));
        let host = asked.split('/').nth(2).unwrap();
        let answer = get(proxy.address("proxy"), host, &asked).await;
        answer.assert_own_failure(502, "proxy_loop_detected");
        proxy.shutdown().await;
    }
}

#[tokio::test]
async fn addresses_in_disguise_are_refused_before_anything_is_matched() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = TestProxy::start(&format!("{FORWARD}{}{}{OPEN}", credential(&tokens), upstream("api", &api.origin())));
    let (address, port) = (proxy.address("proxy"), api.address().port());
    for host in IN_DISGUISE {
        let authority = format!("{host}:{port}");
        let answer = get(address, &authority, &format!("http://{authority}/")).await;
        assert_eq!(answer.status, 400, "{authority}: {}", answer.text());
        assert_eq!(tunnel(address, &authority).await.status, 400, "{authority}");
    }
    assert_eq!((api.connections(), tokens.requests()), (0, 0));
    // One more dot means the same host, and is the same host.
    let dotted = format!("127.0.0.1.:{port}");
    assert_eq!(get(address, &dotted, &format!("http://{dotted}/")).await.status, 200);
    assert_eq!(api.asked()[0].field("authorization"), Some("Bearer token-1"));
    assert_eq!(api.asked()[0].field("host"), Some(format!("127.0.0.1:{port}").as_str()));
}

#[tokio::test]
async fn metadata_and_private_hosts_are_refused_however_they_are_asked_for() {
    let proxy = TestProxy::start(&format!("{FORWARD}[forward]\nunmatched = \"pass\"\n"));
    let address = proxy.address("proxy");
    for host in [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "[ff02::1]",
        "192.168.0.1",
        "localhost",
    ] {
        for scheme in ["http", "https"] {
            let answer = get(address, host, &format!("{scheme}://{host}/latest/meta-data")).await;
            answer.assert_own_failure(403, "destination_ip_prohibited");
        }
        tunnel(address, &format!("{host}:443")).await.assert_own_failure(403, "destination_ip_prohibited");
    }
}

#[tokio::test]
async fn of_a_name_with_several_addresses_only_those_that_may_be_dialled_are() {
    // One port in both families, so that only the address tells who answers.
    let there = Raw::start(|mut stream, _| async move {
        crate::support::read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
    })
    .await;
    let port = there.address().port();
    let Ok(six) = TcpListener::bind(("::1", port)) else {
        eprintln!("this machine has no IPv6 loopback address, or its port is taken: not tried");
        return;
    };
    let policy = |networks: &str| {
        TestProxy::start(&format!("{FORWARD}[forward]\nunmatched = \"pass\"\nprivate_addresses = {networks}\n"))
    };
    let host = format!("localhost:{port}");
    let four = policy("[\"127.0.0.0/8\"]");
    assert_eq!(get(four.address("proxy"), &host, &format!("http://{host}/")).await.text(), "four");
    six.set_nonblocking(true).unwrap();
    assert!(six.accept().is_err(), "the other address was dialled");
    let none = policy("[\"10.0.0.0/8\"]");
    let answer = get(none.address("proxy"), &host, &format!("http://{host}/")).await;
    answer.assert_own_failure(403, "destination_ip_prohibited");
    assert_eq!(there.connections(), 1);
}

#[tokio::test]
async fn a_host_in_one_place_and_another_in_the_next_is_refused() {
    let proxy = TestProxy::start(&format!("{FORWARD}{OPEN}"));
    for request in [
        "GET http://a.test/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
        "GET http://a.test@169.254.169.254/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nHost: 127.0.0.1:443\r\n\r\n",
    ] {
        assert_eq!(send(proxy.address("proxy"), request).await.status, 400, "{request}");
    }
}

#[tokio::test]
async fn tunnels_lead_to_443_and_the_ports_of_upstreams_unless_more_are_opened() {
    let server = Raw::start(|_, _| async {}).await;
    let target = server.address();
    let with = |rest: &str| {
        TestProxy::start(&format!("{FORWARD}[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\n{rest}"))
    };
    let closed = with("");
    let answer = tunnel(closed.address("proxy"), &target.to_string()).await;
    answer.assert_own_failure(403, "http_request_denied");
    let sentence = format!(
        "no upstream covers {target}, and tunnels elsewhere lead to port 443 only; \
         to open this one, write [forward] connect_ports = [{}]",
        target.port()
    );
    assert_eq!(answer.json()["detail"], sentence);
    tunnel(closed.address("proxy"), "127.0.0.1:25").await.assert_own_failure(403, "http_request_denied");
    assert_eq!(server.connections(), 0);
    for open in [
        format!("connect_ports = [{}]\n", target.port()),
        "connect_ports = \"any\"\n".to_owned(),
        format!("[upstreams.other]\norigin = \"https://other.test:{}\"\n", target.port()),
    ] {
        let proxy = with(&open);
        let mut caller = Caller::connect(proxy.address("proxy")).await;
        caller.write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        assert_eq!(caller.answer_head().await.status, 200, "{open}");
    }
    // Of a plain request the port is part of the origin, and what is spoken there is HTTP.
    let answer = get(closed.address("proxy"), &target.to_string(), &format!("http://{target}/")).await;
    answer.assert_own_failure(502, "connection_terminated");
}

#[tokio::test]
async fn explain_says_the_same_of_ports() {
    let config = format!("{FORWARD}{ADMIN}[forward]\nunmatched = \"pass\"\nconnect_ports = [8443]\n");
    let proxy = TestProxy::start(&config);
    let explain = async |port: u16| {
        let asked = format!("/api/explain?method=CONNECT&url=api.test:{port}");
        get(proxy.address("admin"), "127.0.0.1", &asked).await.json()
    };
    for port in [443, 8443] {
        assert_eq!(explain(port).await["outcome"], "tunnel");
    }
    let refused = explain(25).await;
    assert_eq!(refused["outcome"], "deny");
    assert!(refused["reason"].as_str().unwrap().contains("lead to port 443, 8443 only"), "{refused}");
}

#[tokio::test]
async fn explaining_what_would_be_denied_is_not_counted_as_done() {
    let api = Scripted::start(|_, _| Reply::ok("")).await;
    let toml =
        format!("{FORWARD}{ADMIN}[forward]\nunmatched = \"report\"\n[upstreams.api]\norigin = \"{}\"\n", api.origin());
    let proxy = TestProxy::start(&toml);
    for question in ["GET&url=http://other.test/", "CONNECT&url=other.test:443"] {
        let answer = get(proxy.address("admin"), "localhost", &format!("/api/explain?method={question}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(proxy.metric("attache_would_deny_total{listener=\"proxy\"}").await, 0.0);
}
