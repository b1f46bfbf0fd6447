//! HTTP/1.1 requests as attache takes them apart (RFC 9110, RFC 9112): what is refused, and what is left behind.

use crate::support::{
    ADMIN, Caller, FORWARD, LocalCa, Raw, Reply, Scripted, TestProxy, TokenServer, credential, reverse, send, upstream,
};

pub(crate) struct Base {
    _tokens: TokenServer,
    pub(crate) api: Scripted,
    pub(crate) proxy: TestProxy,
}

impl Base {
    pub(crate) async fn start(rest: &str) -> Self {
        let tokens = TokenServer::start().await;
        let api = Scripted::start(|_, _| Reply::ok("fine")).await;
        let config = format!("{rest}{}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin()));
        Self { _tokens: tokens, api, proxy: TestProxy::start(&config) }
    }

    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(self.proxy.address("base")).await
    }

    /// The request is refused with this status, the connection ends, and the upstream never hears of it.
    pub(crate) async fn refuses(&self, request: impl AsRef<[u8]>, status: u16) {
        let before = self.api.requests();
        let mut caller = self.caller().await;
        caller.write(request.as_ref()).await;
        let shown = String::from_utf8_lossy(request.as_ref()).into_owned();
        let answer = caller.try_answer().await.unwrap_or_else(|| panic!("no answer to {shown}"));
        assert_eq!(answer.status, status, "{shown}");
        answer.assert_own_failure(status, "http_request_error");
        assert_eq!(answer.field("connection"), Some("close"), "{shown}");
        assert!(caller.is_closed().await, "{shown}");
        assert_eq!(self.api.requests(), before, "{shown}");
    }
}

pub(crate) const HOST: &str = "Host: localhost\r\n";

#[tokio::test]
async fn exactly_one_valid_host_is_needed() {
    let it = Base::start("").await;
    it.refuses("GET / HTTP/1.1\r\n\r\n", 400).await;
    it.refuses("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400).await;
    it.refuses("GET / HTTP/1.1\r\nHost: localhost\r\nhost: evil.test\r\n\r\n", 400).await;
    for host in [
        "",
        "user@localhost",
        "localhost/x",
        "local host",
        "localhost,evil.test",
        "localhost:",
        "localhost:x",
        "localhost:0",
        "localhost:65536",
        "localhost:80:80",
        "localhost#",
        "localhost?",
        "[::1",
        "[::1]x",
        "::1",
        "a..b",
        ".localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "local%68ost",
        "http://localhost",
        "localhost\\x",
        "l\u{f6}calhost",
    ] {
        let mut caller = it.caller().await;
        caller.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let answer = caller.answer().await;
        assert_eq!(answer.status, 400, "{host}");
        answer.assert_own_failure(400, "http_request_error");
    }
    let userinfo = send(it.proxy.address("base"), format!("GET http://u:p@localhost/ HTTP/1.1\r\n{HOST}\r\n")).await;
    userinfo.assert_own_failure(400, "http_request_error");
    assert!(!userinfo.text().contains("u:p"), "{}", userinfo.text());
    assert_eq!(it.api.requests(), 0);
    assert_eq!(send(it.proxy.address("base"), "GET / HTTP/1.0\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn transfer_encoding_is_one_chunked_or_none() {
    let it = Base::start("").await;
    for encoding in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding:",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding:\r\n chunked",
    ] {
        it.refuses(format!("POST / HTTP/1.1\r\n{HOST}{encoding}\r\n\r\n0\r\n\r\n"), 400).await;
    }
    it.refuses(format!("POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400).await;
    for encoding in ["CHUNKED", "  chunked  ", "\tchunked"] {
        let request = format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding:{encoding}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        assert_eq!(send(it.proxy.address("base"), request).await.status, 200);
    }
    assert!(it.api.asked().iter().all(|asked| asked.body == b"abc" && asked.all("transfer-encoding") == ["chunked"]));
}

#[tokio::test]
async fn content_length_is_one_number() {
    let it = Base::start("").await;
    for lengths in [
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: -3",
        "Content-Length: 3 3",
        "Content-Length: 0x3",
        "Content-Length: 3;",
        "Content-Length: 3.0",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 3",
        "Content-Length : 3",
        "Content-Length: \u{b}3",
    ] {
        it.refuses(format!("POST / HTTP/1.1\r\n{HOST}{lengths}\r\n\r\nabc"), 400).await;
    }
    let twice = format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc");
    let mut caller = it.caller().await;
    caller.write(twice).await;
    if caller.answer().await.status == 200 {
        assert_eq!(it.api.asked()[0].field("content-length"), Some("3"), "never forwarded twice");
    }
}

/// Ways to say both (RFC 9112 section 6.3), in any order, case and number of lines.
const BOTH: [&str; 7] = [
    "Content-Length: 4\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 4",
    "tRANSFER-eNCODING:chunked\r\nX: y\r\ncONTENT-lENGTH:4",
    "Content-Length: 0\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: x",
    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\nContent-Length: 4",
    "Content-Length: 4\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
];

#[tokio::test]
async fn a_length_beside_chunks_is_refused_and_smuggles_nothing() {
    let it = Base::start("").await;
    for fields in BOTH {
        for smuggled in ["", "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
            let request = format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n\r\n0\r\n\r\n{smuggled}");
            it.refuses(request, 400).await;
        }
    }
    let mut caller = it.caller().await;
    caller.write(format!("POST / HTTP/1.1\r\n{HOST}{}\r\n\r\n0\r\n\r\n", BOTH[0])).await;
    let detail = caller.answer().await.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, "the request has both Content-Length and Transfer-Encoding; send one of them");
}

/// The head is enough, whatever its coding is and however little of a body has come.
#[tokio::test]
async fn a_length_beside_a_coding_is_refused_before_any_body_comes() {
    let it = Base::start("").await;
    for (fields, body) in [
        ("Transfer-Encoding: chunked\r\nContent-Length: 2", ""),
        ("Transfer-Encoding: identity\r\nContent-Length: 2", "ab"),
        ("Content-Length: 0\r\nTransfer-Encoding:", ""),
        ("Transfer-Encoding: gzip\r\nContent-Length: 2", "a"),
    ] {
        let mut caller = it.caller().await;
        caller.write(format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n\r\n{body}")).await;
        let answer = caller.answer().await;
        answer.assert_own_failure(400, "http_request_error");
        assert!(answer.text().contains("both Content-Length and Transfer-Encoding"), "{}", answer.text());
    }
}

/// A line of a head may come in two reads, and requests may come before the last one was answered.
#[tokio::test]
async fn a_length_beside_chunks_is_refused_wherever_the_bytes_are_cut() {
    let it = Base::start("").await;
    let before = format!(
        "POST /1 HTTP/1.1\r\n{HOST}Content-Length: 45\r\n\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\
         POST /2 HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n13\r\nContent-Length: 4\r\n\r\n0\r\nX-Content-Length: 4\r\n\r\n\
         GET /3 HTTP/1.1\r\n{HOST}Upgrade: h2c\r\n\r\n"
    );
    let both = format!("POST /4 HTTP/1.1\r\n{HOST}{}\r\n\r\n0\r\n\r\n", BOTH[1]);
    for piece in [usize::MAX, 1, 7, 50] {
        let (asked, mut caller) = (it.api.requests(), it.caller().await);
        caller.stream.set_nodelay(true).unwrap();
        for bytes in before.as_bytes().chunks(piece.min(before.len())) {
            caller.write(bytes).await;
        }
        for _ in 0..3 {
            assert_eq!(caller.answer().await.status, 200);
        }
        for bytes in both.as_bytes().chunks(piece.min(both.len())) {
            caller.write(bytes).await;
        }
        let answer = caller.answer().await;
        answer.assert_own_failure(400, "http_request_error");
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(caller.is_closed().await);
        assert_eq!(it.api.requests() - asked, 3);
    }
    // All at once: the answers come in order, and the last one is the refusal.
    let pipelined = before.replace("Upgrade: h2c\r\n", "");
    let mut caller = it.caller().await;
    caller.write(format!("{pipelined}{both}")).await;
    for status in [200, 200, 200, 400] {
        assert_eq!(caller.answer().await.status, status);
    }
    assert!(caller.is_closed().await);
    // What comes before it is known whether protocols are switched is not read at all.
    let (asked, mut caller) = (it.api.requests(), it.caller().await);
    caller.write(format!("GET / HTTP/1.1\r\n{HOST}Upgrade: h2c\r\n\r\n{both}")).await;
    let answer = caller.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert!(caller.is_closed().await);
    assert_eq!(it.api.requests() - asked, 1);
}

#[tokio::test]
async fn a_length_beside_chunks_is_refused_inside_of_opened_tunnels_and_passes_where_nothing_is_read() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let echo = Raw::start(|mut stream, _| async move {
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let local = LocalCa::new();
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{ADMIN}[listeners.tokens]\naddress = \"127.0.0.1:0\"\nmode = \"token\"\n\
         [forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\nconnect_ports = \"any\"\n{}{}{}",
        local.intercept(),
        credential(&tokens),
        upstream("api", &api.origin())
    ));
    let connect = |target: &str| format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let target = api.address().to_string();
    let both = format!("POST / HTTP/1.1\r\nHost: {target}\r\n{}\r\n\r\n0\r\n\r\n", BOTH[0]);
    let mut caller = Caller::connect(proxy.address("proxy")).await;
    caller.write(connect(&target)).await;
    assert_eq!(caller.answer_head().await.status, 200);
    caller.write(format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    assert_eq!(caller.answer().await.status, 200);
    caller.write(&both).await;
    caller.answer().await.assert_own_failure(400, "http_request_error");
    assert!(caller.is_closed().await);
    assert_eq!(api.requests(), 1);
    // A tunnel that was refused is none: what follows is read.
    let mut caller = Caller::connect(proxy.address("proxy")).await;
    caller.write(connect("[::1]:1")).await;
    let refused = caller.answer().await;
    assert!(refused.status >= 400 && refused.field("connection").is_none(), "{refused:?}");
    let absolute = format!("http://{target}/");
    caller.write(format!("GET {absolute} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    assert_eq!(caller.answer().await.status, 200);
    caller.write(both.replace("POST /", &format!("POST {absolute}"))).await;
    caller.answer().await.assert_own_failure(400, "http_request_error");
    // The admin listener and a token endpoint read requests too.
    for listener in ["admin", "tokens"] {
        let answer = send(proxy.address(listener), &both).await;
        assert_eq!((answer.status, answer.field("connection")), (400, Some("close")), "{listener}");
    }
    // Through an unopened one bytes pass as they are, also those that come with CONNECT itself.
    let mut caller = Caller::connect(proxy.address("proxy")).await;
    caller.write(connect(&echo.address().to_string()) + &both).await;
    assert_eq!(caller.answer_head().await.status, 200);
    assert_eq!(caller.read_exact(both.len()).await, both.as_bytes());
    caller.write(&both).await;
    assert_eq!(caller.read_exact(both.len()).await, both.as_bytes());
}

#[tokio::test]
async fn heads_that_cannot_be_read_are_refused_with_a_document() {
    let it = Base::start("").await;
    for request in [
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: localhost\r\n\r\n",
        "GET / http/1.1\r\nHost: localhost\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: 1\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
    ] {
        it.refuses(request, 400).await;
    }
    let scheme = send(it.proxy.address("base"), format!("GET ftp://localhost/ HTTP/1.1\r\n{HOST}\r\n")).await;
    scheme.assert_own_failure(400, "http_request_error");
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_431() {
    let it = Base::start("[limits]\nheader_bytes = \"8KiB\"\n").await;
    let mut caller = it.caller().await;
    caller.write(format!("GET / HTTP/1.1\r\n{HOST}X: {}\r\n\r\n", "x".repeat(16 * 1024))).await;
    let answer = caller.answer().await;
    answer.assert_own_failure(431, "http_request_error");
    assert!(answer.text().contains("limits.header_bytes"), "{}", answer.text());
    assert_eq!(it.api.requests(), 0);
    let within = format!("GET / HTTP/1.1\r\n{HOST}X: {}\r\n\r\n", "x".repeat(7000));
    assert_eq!(send(it.proxy.address("base"), within).await.status, 200);
    let long = format!("GET /{} HTTP/1.1\r\n{HOST}\r\n", "x".repeat(100_000));
    let mut caller = it.caller().await;
    caller.write(long).await;
    let answer = caller.answer().await;
    assert!([414, 431].contains(&answer.status), "{answer:?}");
    answer.assert_own_failure(answer.status, "http_request_error");
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_408() {
    let it = Base::start("[limits]\nheader_timeout = \"400ms\"\n").await;
    for begun in ["GET / HTTP/1.1\r\nHost: localhost\r\nX: ", "GE", "P"] {
        let mut caller = it.caller().await;
        caller.write(begun).await;
        match caller.try_answer().await {
            Some(answer) => answer.assert_own_failure(408, "http_request_error"),
            None => assert_eq!(begun, "P", "closed without a word, where it could still become HTTP/2"),
        }
    }
    // The same between two requests: what was begun has to be finished.
    let mut caller = it.caller().await;
    caller.write(format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
    assert_eq!(caller.answer().await.status, 200);
    caller.write("GET /second HT").await;
    caller.answer().await.assert_own_failure(408, "http_request_error");
}

#[tokio::test]
async fn broken_chunks_end_the_request_on_both_sides() {
    let it = Base::start("").await;
    for chunks in [
        "-1\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3 3\r\nabc\r\n0\r\n\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "g\r\n\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{chunks}");
        it.refuses(request, 400).await;
    }
}

#[tokio::test]
async fn chunk_extensions_are_dropped() {
    let it = Base::start("").await;
    let request =
        format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n3;a=b;c=\"d\"\r\nabc\r\n0;e\r\n\r\n");
    assert_eq!(send(it.proxy.address("base"), request).await.status, 200);
    assert_eq!(it.api.asked()[0].body, b"abc");
}

#[tokio::test]
async fn a_get_with_a_chunked_body_keeps_it() {
    let it = Base::start("").await;
    let request = format!("GET /_search HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(send(it.proxy.address("base"), request).await.status, 200);
    assert_eq!(it.api.asked()[0].body, b"abc");
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order_on_one_connection() {
    let it = Base::start("").await;
    let mut caller = it.caller().await;
    let one = |path: &str| format!("POST {path} HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\nab");
    caller.write(one("/1") + &one("/2") + &one("/3")).await;
    for _ in 0..3 {
        let answer = caller.answer().await;
        assert_eq!((answer.status, answer.field("connection")), (200, None));
    }
    let targets: Vec<_> = it.api.asked().iter().map(|asked| asked.target().to_owned()).collect();
    assert_eq!(targets, ["/1", "/2", "/3"]);
    assert_eq!(it.api.connections(), 1, "and the upstream's is used again");
}

#[tokio::test]
async fn a_chunk_that_is_none_is_the_callers_fault_and_not_the_upstreams() {
    let it = Base::start("").await;
    let mut caller = it.caller().await;
    caller.write(format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\nxyz\r\n")).await;
    let answer = caller.answer().await;
    answer.assert_own_failure(400, "http_request_error");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("the request body is not valid ("), "{detail}");
}
