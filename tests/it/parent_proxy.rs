//! Networks that have a proxy of their own: `via`.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    ADMIN, Answer, Caller, FORWARD, Folder, ParentProxy, Raw, Reply, Scripted, TestCa, TestProxy, TlsFront,
    TokenServer, credential, get, read_head, upstream,
};

/// An API at `https://api.test` that only the network's proxy knows the way to.
struct Corporate {
    tokens: TokenServer,
    api: Scripted,
    front: TlsFront,
    ca: TestCa,
}

impl Corporate {
    async fn new() -> Self {
        let api = Scripted::start(|_, _| Reply::ok("fine")).await;
        let ca = TestCa::new();
        let front = TlsFront::start(ca.server(&["api.test"], &[]), api.address()).await;
        Self { tokens: TokenServer::start().await, api, front, ca }
    }

    /// `via` is TOML.
    fn proxy(&self, via: &str) -> TestProxy {
        TestProxy::start(&format!(
            "{FORWARD}{ADMIN}{}{}via = {via}\n{}",
            credential(&self.tokens),
            upstream("api", "https://api.test"),
            self.ca.trusted()
        ))
    }
}

async fn ask(proxy: &TestProxy) -> Answer {
    get(proxy.address("proxy"), "api.test", "http://api.test/x").await
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

#[tokio::test]
async fn white_space_before_a_colon_in_the_answer_to_connect_is_no_matter() {
    let it = Corporate::new().await;
    let there = it.front.address();
    let parent_proxy = Raw::start(move |mut caller, _| async move {
        read_head(&mut caller).await;
        let mut there = tokio::net::TcpStream::connect(there).await.unwrap();
        caller.write_all(b"HTTP/1.0 200 OK\r\nProxy-Agent : old\r\nX: a\r\n b\r\n\r\n").await.unwrap();
        let _ended = tokio::io::copy_bidirectional(&mut caller, &mut there).await;
    })
    .await;
    let proxy = it.proxy(&quoted(&parent_proxy.origin()));
    let answer = ask(&proxy).await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
}

#[tokio::test]
async fn an_https_origin_is_reached_through_a_tunnel_that_shows_the_proxy_no_token() {
    let it = Corporate::new().await;
    let parent_proxy = ParentProxy::start(&[("api.test:443", it.front.address())]).await;
    let proxy = it.proxy(&quoted(&parent_proxy.url()));
    for _ in 0..3 {
        let answer = ask(&proxy).await;
        assert_eq!((answer.status, answer.text()), (200, "fine"));
    }
    assert_eq!(it.api.asked()[0].field("authorization"), Some("Bearer token-1"));
    assert_eq!(it.front.names(), vec!["api.test"; it.front.names().len()], "the origin's own certificate is verified");
    let heads = parent_proxy.heads();
    assert!(heads.len() <= 2, "tunnels are kept: one for each worker at the most, and there were {}", heads.len());
    assert_eq!(heads[0], "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n");
}

#[tokio::test]
async fn a_certificate_that_is_not_the_origins_is_refused_through_a_proxy_too() {
    let it = Corporate::new().await;
    let other = TlsFront::start(it.ca.server(&["other.test"], &[]), it.api.address()).await;
    let parent_proxy = ParentProxy::start(&[("api.test:443", other.address())]).await;
    ask(&it.proxy(&quoted(&parent_proxy.url()))).await.assert_own_failure(502, "tls_certificate_error");
    assert_eq!(it.api.requests(), 0);
}

#[tokio::test]
async fn a_plain_origin_goes_through_a_tunnel_as_well() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("plain")).await);
    let parent_proxy = ParentProxy::start(&[("plain.test:80", api.address())]).await;
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{}{}allow_plaintext = true\nvia = \"{}\"\n",
        credential(&tokens),
        upstream("api", "http://plain.test"),
        parent_proxy.url()
    ));
    assert_eq!(get(proxy.address("proxy"), "plain.test", "http://plain.test/x").await.text(), "plain");
    assert_eq!(api.asked()[0].line, "GET /x HTTP/1.1");
    assert!(parent_proxy.heads()[0].starts_with("CONNECT plain.test:80 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_proxy_that_asks_who_comes_gets_the_password_and_nobody_else_does() {
    let it = Corporate::new().await;
    let hosts = [("api.test:443", it.front.address())];
    // me:sentinel
    let parent_proxy = ParentProxy::asking("\r\nProxy-Authorization: Basic bWU6c2VudGluZWw=\r\n", &hosts).await;
    let login = |password: &str| {
        format!("{{ url = \"{}\", username = \"me\", password = \"{password}\" }}", parent_proxy.url())
    };
    assert_eq!(ask(&it.proxy(&login("sentinel"))).await.status, 200);
    assert_eq!(it.api.asked()[0].field("proxy-authorization"), None);
    let answer = ask(&it.proxy(&login("wrong-sentinel"))).await;
    answer.assert_own_failure(502, "proxy_configuration_error");
    assert!(answer.text().contains("did not accept the username and password"), "{}", answer.text());
    assert!(!answer.text().contains("sentinel"), "{}", answer.text());
    let answer = ask(&it.proxy(&quoted(&parent_proxy.url()))).await;
    answer.assert_own_failure(502, "proxy_configuration_error");
    assert!(answer.text().contains("write via = { url"), "{}", answer.text());
}

#[tokio::test]
async fn a_proxy_that_is_spoken_to_by_tls_is_verified_by_its_own_name() {
    let it = Corporate::new().await;
    let parent_proxy = ParentProxy::start(&[("api.test:443", it.front.address())]).await;
    let front = TlsFront::start(it.ca.server(&["localhost"], &[]), parent_proxy.address()).await;
    let url = format!("https://localhost:{}", front.address().port());
    let trusted = format!("{{ url = \"{url}\", ca_file = \"{}\" }}", it.ca.path().display());
    let answer = ask(&it.proxy(&trusted)).await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    assert_eq!((front.names(), it.front.names()), (vec!["localhost".to_owned()], vec!["api.test".to_owned()]));
    let elsewhere = TlsFront::start(it.ca.server(&["other.test"], &[]), parent_proxy.address()).await;
    let wrong = trusted.replace(&front.address().port().to_string(), &elsewhere.address().port().to_string());
    let answer = ask(&it.proxy(&wrong)).await;
    answer.assert_own_failure(502, "tls_certificate_error");
    assert!(answer.text().contains("the parent proxy: the TLS handshake failed"), "{}", answer.text());
}

#[tokio::test]
async fn what_the_proxy_says_instead_becomes_a_sentence() {
    let it = Corporate::new().await;
    for (said, status, error, sentence) in [
        ("HTTP/1.1 403 No\r\n\r\n", 502, "connection_refused", "with 403 Forbidden: ask who runs it"),
        ("HTTP/1.1 502 Bad\r\n\r\n", 502, "destination_unavailable", "with 502 Bad Gateway: it could not reach"),
        ("HTTP/1.1 503 Busy\r\n\r\n", 502, "destination_unavailable", "with 503 Service Unavailable"),
        ("HTTP/1.1 504 Late\r\n\r\n", 504, "connection_timeout", "with 504 Gateway Timeout"),
        ("HTTP/1.1 302 Go\r\nLocation: http://evil.test\r\n\r\n", 502, "connection_refused", "with 302 Found"),
        ("HTTP/1.1 101 Switching\r\n\r\n", 502, "connection_refused", "with 101 Switching"),
        (
            "HTTP/1.1 407 Who\r\nProxy-Authenticate: NTLM\r\n\r\n",
            502,
            "proxy_configuration_error",
            "it does not take Basic",
        ),
        ("SSH-2.0-OpenSSH\r\n\r\n", 502, "http_protocol_error", "no HTTP"),
        ("HTTP/1.1 999 ?\r\n\r\n", 502, "connection_refused", "999"),
        ("HTTP/1.1 200", 502, "connection_terminated", "ended the connection before it answered CONNECT"),
    ] {
        let parent_proxy = Raw::start(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let _closed = stream.write_all(said.as_bytes()).await;
        })
        .await;
        let answer = ask(&it.proxy(&quoted(&parent_proxy.origin()))).await;
        answer.assert_own_failure(status, error);
        assert!(answer.text().contains(sentence), "{said:?}: {}", answer.text());
        assert!(answer.text().contains("the parent proxy"), "{said:?}: {}", answer.text());
        assert!(
            !answer.text().contains(&parent_proxy.address().to_string()),
            "where it is is for the log: {}",
            answer.text()
        );
    }
    assert_eq!(it.api.requests(), 0);
}

#[tokio::test]
async fn an_endless_answer_of_the_proxy_is_cut_off() {
    let it = Corporate::new().await;
    let parent_proxy = Raw::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _begun = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"X-Padding: 0123456789012345678901234567890123456789\r\n").await.is_ok() {}
    })
    .await;
    let answer = ask(&it.proxy(&quoted(&parent_proxy.origin()))).await;
    answer.assert_own_failure(502, "http_protocol_error");
    assert!(answer.text().contains("more than 16 KiB"), "{}", answer.text());
}

#[tokio::test]
async fn a_silent_proxy_is_given_the_connect_timeout() {
    let it = Corporate::new().await;
    let parent_proxy = Raw::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _held = stream.read_u8().await;
    })
    .await;
    let via = format!("\"{}\"\ntimeouts = {{ connect = \"300ms\" }}", parent_proxy.origin());
    let asked = Instant::now();
    let answer = ask(&it.proxy(&via)).await;
    answer.assert_own_failure(504, "connection_timeout");
    assert!(answer.text().contains("through the parent proxy"), "{}", answer.text());
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_proxy_that_cannot_be_found_is_a_matter_of_configuration() {
    let it = Corporate::new().await;
    let answer = ask(&it.proxy("\"http://proxy.invalid:3128\"")).await;
    answer.assert_own_failure(502, "proxy_configuration_error");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let answer = ask(&it.proxy(&format!("\"http://{free}\""))).await;
    answer.assert_own_failure(502, "connection_refused");
    assert!(answer.text().contains("the parent proxy: it cannot be connected to"), "{}", answer.text());
    assert!(!answer.text().contains(&free.to_string()), "{}", answer.text());
}

#[tokio::test]
async fn a_tunnel_through_the_proxy_loses_none_of_the_bytes_behind_its_answer() {
    let parent_proxy = Raw::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        // Interim answers, and a server that speaks first, all in one piece.
        let all = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nX: \r\n\r\n220 ready\r\n";
        stream.write_all(all).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let via = format!("[forward]\nunmatched = \"pass\"\nvia = \"{}\"\n", parent_proxy.origin());
    let proxy = TestProxy::start(&format!("{FORWARD}{via}"));
    let mut caller = Caller::connect(proxy.address("proxy")).await;
    caller.write("CONNECT mail.test:443 HTTP/1.1\r\nHost: mail.test\r\n\r\n").await;
    let answer = caller.answer_head().await;
    assert_eq!((answer.status, answer.field("x")), (200, None));
    assert_eq!(caller.read_exact(11).await, b"220 ready\r\n");
    caller.write("EHLO").await;
    assert_eq!(caller.read_exact(4).await, b"EHLO");
}

#[tokio::test]
async fn unmatched_hosts_go_through_the_proxy_save_what_no_proxy_excepts() {
    let (there, here) =
        (Scripted::start(|_, _| Reply::ok("there")).await, Scripted::start(|_, _| Reply::ok("here")).await);
    let parent_proxy = ParentProxy::start(&[("other.test:80", there.address())]).await;
    let proxy = TestProxy::start(&format!(
        "{FORWARD}[forward]\nunmatched = \"pass\"\nprivate_addresses = [\"127.0.0.0/8\"]\nvia = \"{}\"\nno_proxy = [\".corp\"]\n",
        parent_proxy.url()
    ));
    let address = proxy.address("proxy");
    assert_eq!(get(address, "other.test", "http://other.test/").await.text(), "there");
    // This machine never goes to a proxy.
    let local = format!("localhost:{}", here.address().port());
    assert_eq!(get(address, &local, &format!("http://{local}/")).await.text(), "here");
    get(address, "x.corp", "http://x.corp/").await.assert_own_failure(502, "dns_error");
    get(address, "unknown.test", "http://unknown.test/").await.assert_own_failure(502, "destination_unavailable");
    let asked: Vec<String> = parent_proxy.heads().iter().map(|head| head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(asked, ["CONNECT other.test:80 HTTP/1.1", "CONNECT unknown.test:80 HTTP/1.1"]);
}

#[tokio::test]
async fn a_proxy_is_no_way_to_addresses_that_are_refused() {
    let parent_proxy = ParentProxy::start(&[]).await;
    let proxy =
        TestProxy::start(&format!("{FORWARD}[forward]\nunmatched = \"pass\"\nvia = \"{}\"\n", parent_proxy.url()));
    for host in
        ["10.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "[::ffff:10.0.0.1]", "127.0.0.1", "localhost", "a.localhost"]
    {
        let answer = get(proxy.address("proxy"), host, &format!("http://{host}/")).await;
        let prohibited = answer.field("proxy-status") == Some("attache; error=destination_ip_prohibited");
        let unknown = host == "a.localhost" && answer.field("proxy-status") == Some("attache; error=dns_error");
        assert!(prohibited || unknown, "{host}: {}", answer.text());
    }
    assert_eq!(parent_proxy.heads(), [""; 0], "the proxy is not even asked");
}

#[tokio::test]
async fn a_proxy_on_this_machine_is_no_way_to_our_own_listeners() {
    // It would resolve the name to this machine, and knows nothing of the policy.
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let parent_proxy = ParentProxy::start(&[(&format!("rebound.test:{}", admin.port()), admin)]).await;
    let proxy = TestProxy::start(&format!(
        "{FORWARD}[admin]\naddress = \"{admin}\"\n[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\nvia = \"{}\"\n",
        parent_proxy.url()
    ));
    let host = format!("rebound.test:{}", admin.port());
    let answer = get(proxy.address("proxy"), &host, &format!("http://{host}/metrics")).await;
    answer.assert_own_failure(502, "proxy_loop_detected");
    let answer = get(proxy.address("proxy"), &admin.to_string(), &format!("http://{admin}/metrics")).await;
    answer.assert_own_failure(502, "proxy_loop_detected");
    assert_eq!(parent_proxy.heads(), [""; 0]);
}

#[tokio::test]
async fn a_proxy_that_is_attache_itself_is_a_loop() {
    let it = Corporate::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = TestProxy::start(&format!(
        "[listeners.proxy]\naddress = \"{free}\"\nmode = \"forward\"\n{}{}via = \"http://{free}\"\n",
        credential(&it.tokens),
        upstream("api", "https://api.test"),
    ));
    ask(&proxy).await.assert_own_failure(502, "proxy_loop_detected");
}

#[tokio::test]
async fn the_proxy_of_its_own_environment_is_not_used() {
    let (tokens, api, parent_proxy) =
        (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("direct")).await, ParentProxy::start(&[]).await);
    let toml = format!("{FORWARD}{}{}", credential(&tokens), upstream("api", &api.origin()));
    let mut folder = Folder::with(&toml);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        folder = folder.env(name, &parent_proxy.url());
    }
    let running = folder.start(&["run"]);
    let host = api.address().to_string();
    let answer = get(running.address("proxy").await, &host, &format!("{}/x", api.origin())).await;
    assert_eq!((answer.status, answer.text()), (200, "direct"));
    assert_eq!(parent_proxy.heads(), [""; 0]);
}
