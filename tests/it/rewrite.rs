//! Answers that name the upstream's own origin are told in the caller's terms (`upstreams.X.rewrite`); of requests,
//! `Destination` in the origin's.

use http::{Request, Response};
use tokio::io::AsyncWriteExt as _;

use crate::clients::there_is;
use crate::support::{
    Answer, Asked, Caller, FORWARD, Http2Server, LocalCa, Raw, Reply, Scripted, TestCa, TestProxy, TlsFront,
    TokenServer, World, credential, get, http2_caller, read_head, reverse, send, upstream,
};

/// Everything that names `https://api.test`, and some that does not.
const SAID: [(&str, &str); 9] = [
    ("location", "https://api.test/x?y=1#z"),
    ("content-location", "/x?y=/w"),
    ("link", "<https://API.test:443/?page=2>; rel=\"next\", </?page=9>; rel=last; title=\"a, <https://api.test/>\""),
    ("link", "<https://api.test.evil/>; rel=help, <http://api.test/up>; rel=\"up\""),
    ("refresh", "5; url='https://api.test/z'"),
    ("set-cookie", "sid=1; Domain=api.test; Path=/; Secure; HttpOnly; SameSite=None"),
    ("set-cookie", "b=2; Domain=.test; Path=/x; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
    ("set-cookie", "c=3; Domain=evil.test; Secure; SameSite=Lax"),
    ("access-control-allow-origin", "https://api.test"),
];

fn said() -> String {
    SAID.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// `https://api.test` behind a base URL and a forward listener that opens tunnels.
struct Wire {
    api: Scripted,
    proxy: TestProxy,
    local: LocalCa,
    _ends: (TlsFront, TokenServer, TestCa),
}

impl Wire {
    async fn new(keys: &str, script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let (tokens, api) = (TokenServer::start().await, Scripted::start(script).await);
        let (ca, local) = (TestCa::new(), LocalCa::new());
        let front = TlsFront::start(ca.server(&["api.test"], &["http/1.1"]), api.address()).await;
        let proxy = TestProxy::start(&format!(
            "{FORWARD}{}{}{}{}connect = \"{}\"\n{}{keys}",
            reverse(&["api"]),
            local.intercept(),
            credential(&tokens),
            upstream("api", "https://api.test"),
            front.address(),
            ca.trusted(),
        ));
        Self { api, proxy, local, _ends: (front, tokens, ca) }
    }

    /// Answers everything with these fields.
    async fn saying(keys: &str, fields: &str) -> Self {
        let fields = fields.to_owned();
        Self::new(keys, move |_, _| Reply::new(201, &fields, "")).await
    }

    async fn base(&self, host: &str, target: &str) -> Answer {
        get(self.proxy.address("base"), host, target).await
    }

    async fn forward(&self, target: &str) -> Answer {
        get(self.proxy.address("proxy"), "api.test", target).await
    }
}

/// The fields of [`SAID`], as they came.
fn told(answer: &Answer) -> Vec<(&str, &str)> {
    let mut names: Vec<&str> = SAID.iter().map(|(name, _)| *name).collect();
    names.dedup();
    names.into_iter().flat_map(|name| answer.all(name).into_iter().map(move |value| (name, value))).collect()
}

/// What [`SAID`] becomes, where these differ.
#[track_caller]
fn assert_told(answer: &Answer, differing: &[(usize, &str)]) {
    let mut expected = SAID;
    for (at, value) in differing {
        expected[*at].1 = value;
    }
    assert_eq!(told(answer), expected);
}

#[tokio::test]
async fn a_base_url_is_told_as_the_origin_is() {
    let wire = Wire::saying("", &said()).await;
    let differing = [
        (0, "http://127.0.0.1:9001/x?y=1#z"),
        (2, "<http://127.0.0.1:9001/?page=2>; rel=\"next\", </?page=9>; rel=last; title=\"a, <https://api.test/>\""),
        (3, "<https://api.test.evil/>; rel=help, <http://127.0.0.1:9001/up>; rel=\"up\""),
        (4, "5; url='http://127.0.0.1:9001/z'"),
        (5, "sid=1; Path=/; HttpOnly"),
        (6, "b=2; Path=/x; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        (7, "c=3; Domain=evil.test; SameSite=Lax"),
    ];
    assert_told(&wire.base("127.0.0.1:9001", "/a").await, &differing);
    for host in ["localhost", "LOCALHOST:80", "[::1]:9001", "api.test", "api.test:9001"] {
        let answer = wire.base(host, "/a").await;
        assert_eq!(answer.field("location"), Some(format!("http://{host}/x?y=1#z").as_str()));
    }
    let absolute = wire.base("localhost:9001", "http://localhost:9001/a").await;
    assert_eq!(absolute.field("location"), Some("http://localhost:9001/x?y=1#z"));
}

#[tokio::test]
async fn behind_a_prefix_everything_is_told_below_it() {
    let wire = Wire::saying("path_prefix = \"/p/q\"\n", &said()).await;
    let differing = [
        (0, "http://127.0.0.1:9001/p/q/x?y=1#z"),
        (1, "/p/q/x?y=/w"),
        (
            2,
            "<http://127.0.0.1:9001/p/q/?page=2>; rel=\"next\", </p/q/?page=9>; rel=last; title=\"a, <https://api.test/>\"",
        ),
        (3, "<https://api.test.evil/>; rel=help, <http://127.0.0.1:9001/p/q/up>; rel=\"up\""),
        (4, "5; url='http://127.0.0.1:9001/p/q/z'"),
        (5, "sid=1; Path=/p/q; HttpOnly"),
        (6, "b=2; Path=/p/q/x; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        (7, "c=3; Domain=evil.test; SameSite=Lax"),
    ];
    for target in ["/p/q/a/b", "/p/q/", "http://127.0.0.1:9001/p/q/a"] {
        assert_told(&wire.base("127.0.0.1:9001", target).await, &differing);
    }
    // On the way where there is no prefix, none is put on.
    assert_eq!(wire.forward("http://api.test/a").await.field("content-location"), Some("/x?y=/w"));
}

#[tokio::test]
async fn a_relative_reference_stays_below_its_prefix() {
    let wire = Wire::new("path_prefix = \"/p\"\n", |asked, _| {
        let said = asked.target().split_once("?to=").unwrap().1;
        Reply::new(302, &format!("Location: {said}\r\nSet-Cookie: a=b\r\n"), "")
    })
    .await;
    for (target, said, told) in [
        ("/p/a/b", "c?page=2", "c?page=2"),
        ("/p/a/b", "?page=2", "?page=2"),
        ("/p/a/b", "../c", "../c"),
        ("/p/a/b", "../../c?d", "/p/c?d"),
        ("/p/a/b", "/../c", "/p/c"),
        ("/p/a/b", "//api.test/c", "//localhost/p/c"),
        ("/p/", "c", "c"),
        ("/p", "c", "/p/c"),
        ("/p", "?page=2", "?page=2"),
    ] {
        let answer = wire.base("localhost", &format!("{target}?to={said}")).await;
        assert_eq!(answer.field("location"), Some(told), "{target}");
        let cookie = if target == "/p" { "a=b; Path=/p" } else { "a=b" };
        assert_eq!(answer.field("set-cookie"), Some(cookie), "{target}");
    }
}

#[tokio::test]
async fn a_caller_whose_http_was_made_https_is_told_http() {
    let wire = Wire::saying("", &said()).await;
    let differing = [
        (0, "http://api.test/x?y=1#z"),
        (2, "<http://api.test/?page=2>; rel=\"next\", </?page=9>; rel=last; title=\"a, <https://api.test/>\""),
        (4, "5; url='http://api.test/z'"),
        (5, "sid=1; Domain=api.test; Path=/; HttpOnly"),
        (7, "c=3; Domain=evil.test; SameSite=Lax"),
    ];
    assert_told(&wire.forward("http://api.test/a").await, &differing);
    // Plain HTTP inside of a tunnel is the same.
    for target in ["api.test:80", "api.test:443"] {
        let mut caller = Caller::connect(wire.proxy.address("proxy")).await;
        caller.write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        assert_eq!(caller.answer_head().await.status, 200);
        caller.write(format!("GET /a HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        let answer = caller.answer().await;
        assert_eq!(answer.field("location"), Some(format!("http://{target}/x?y=1#z").as_str()));
        assert_eq!(answer.all("set-cookie")[0], "sid=1; Domain=api.test; Path=/; HttpOnly");
    }
}

#[tokio::test]
async fn a_caller_that_asks_for_https_is_told_nothing_else() {
    let wire = Wire::saying("path_prefix = \"/p\"\n", &said()).await;
    assert_told(&wire.forward("https://api.test/a").await, &[]);
    let address = wire.proxy.address("proxy");
    let tls = wire.local.tls(address, "api.test:443", "api.test", &["http/1.1"]).await.unwrap();
    let answer = tls.ask("GET /a HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    for (name, value) in SAID {
        assert!(answer.contains(&format!("\r\n{name}: {value}\r\n")), "{name}: {value} in {answer}");
    }
}

#[tokio::test]
async fn with_rewrite_turned_off_everything_passes_as_it_came() {
    let wire = Wire::saying("path_prefix = \"/p\"\nrewrite = false\n", &said()).await;
    assert_told(&wire.base("127.0.0.1:9001", "/p/a").await, &[]);
    assert_told(&wire.forward("http://api.test/a").await, &[]);
    let moved = "MOVE /p/a HTTP/1.1\r\nHost: localhost\r\nDestination: http://localhost/p/b\r\n\r\n";
    send(wire.proxy.address("base"), moved).await;
    assert_eq!(wire.api.asked()[2].field("destination"), Some("http://localhost/p/b"));
}

#[tokio::test]
async fn what_no_upstream_covers_passes_as_it_came() {
    let other = Scripted::start(|asked, _| {
        let origin = format!("http://{}", asked.field("host").unwrap());
        Reply::new(201, &format!("Location: {origin}/x\r\nSet-Cookie: a=b; Secure; SameSite=None\r\n"), "")
    })
    .await;
    let proxy = TestProxy::start(&format!("{FORWARD}[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\n"));
    let (host, url) = (other.address().to_string(), format!("{}/a", other.origin()));
    let moved = format!("MOVE {url} HTTP/1.1\r\nHost: {host}\r\nDestination: {url}\r\n\r\n");
    let answer = send(proxy.address("proxy"), moved).await;
    assert_eq!(answer.field("location"), Some(format!("{}/x", other.origin()).as_str()));
    assert_eq!(answer.field("set-cookie"), Some("a=b; Secure; SameSite=None"));
    assert_eq!(other.asked()[0].field("destination"), Some(url.as_str()));
}

#[tokio::test]
async fn what_only_looks_like_the_origin_is_another_origin() {
    let urls = [
        "https://api.test.evil/x",
        "https://api.test@evil/x",
        "https://evil@api.test/x",
        "https://api.test:8443/x",
        "http://api.test:8080/x",
        "https://xapi.test/x",
        "https://test/x",
        "//api.test.evil/x",
        "//evil/https://api.test/x",
        "https:///api.test/x",
        "https://api.test\\@evil/x",
        "/\\evil/x",
        "javascript://api.test/%0a",
    ];
    let fields: String =
        urls.iter().map(|url| format!("Link: <{url}>; rel=next\r\nSet-Cookie: a=\"{url}\"\r\n")).collect();
    let wire = Wire::saying("path_prefix = \"/p\"\n", &fields).await;
    let links: Vec<String> = urls.iter().map(|url| format!("<{url}>; rel=next")).collect();
    let cookies: Vec<String> = urls.iter().map(|url| format!("a=\"{url}\"")).collect();
    for answer in [wire.base("localhost", "/p/a").await, wire.forward("http://api.test/a").await] {
        assert_eq!(answer.all("link"), links);
        assert_eq!(answer.all("set-cookie"), cookies);
    }
}

#[tokio::test]
async fn a_caller_without_host_is_told_the_path() {
    let wire = Wire::saying("path_prefix = \"/p\"\n", "Location: https://api.test/x\r\n").await;
    let answer = send(wire.proxy.address("base"), "GET /p/a HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.field("location"), Some("/p/x"));
}

#[tokio::test]
async fn an_http_origin_behind_a_base_url_is_told_too() {
    let world = World::configured("path_prefix = \"/p\"", |asked, _| {
        let host = asked.field("host").unwrap();
        let links = format!("<http://{host}/x>, <https://{host}/x>, <http://127.0.0.1/x>");
        Reply::new(404, &format!("Link: {links}\r\nSet-Cookie: a=b; Domain=127.0.0.1; Secure\r\n"), "")
    })
    .await;
    let answer = world.get("/p/a").await;
    let port = world.api.address().port();
    let links = format!("<http://localhost/p/x>, <https://127.0.0.1:{port}/x>, <http://127.0.0.1/x>");
    assert_eq!((answer.status, answer.field("link")), (404, Some(links.as_str())));
    assert_eq!(answer.field("set-cookie"), Some("a=b"));
    // Without a change of scheme there is nothing to tell on a forward listener.
    let url = format!("{}/a", world.api.origin());
    let host = world.api.address().to_string();
    let answer = get(world.proxy.address("proxy"), &host, &url).await;
    assert_eq!(answer.field("set-cookie"), Some("a=b; Domain=127.0.0.1; Secure"));
}

#[tokio::test]
async fn of_a_wildcard_the_host_that_was_reached_is_the_own_one() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let links = "Link: <https://eu.api.test/x>, <https://us.api.test/x>, <https://api.test/x>\r\n";
    let api = Scripted::start(move |_, _| Reply::new(200, links, "")).await;
    let front = TlsFront::start(ca.server(&["eu.api.test"], &["http/1.1"]), api.address()).await;
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{}hosts = \"any\"\n{}{}connect = \"{}\"\n{}",
        reverse(&["api"]),
        credential(&tokens),
        upstream("api", "https://*.api.test"),
        front.address(),
        ca.trusted()
    ));
    let expected = "<http://eu.api.test/x>, <https://us.api.test/x>, <https://api.test/x>";
    let answer = get(proxy.address("proxy"), "eu.api.test", "http://eu.api.test/").await;
    assert_eq!(answer.field("link"), Some(expected));
    assert_eq!(get(proxy.address("base"), "eu.api.test", "/").await.field("link"), Some(expected));
}

#[tokio::test]
async fn of_an_origin_that_comes_with_the_token_that_one_is_the_own() {
    let tokens = TokenServer::scripted(|_, _| {
        Reply::ok(r#"{"access_token":"one","token_type":"Bearer","instance_url":"http://eu7.api.test"}"#)
    })
    .await;
    let toml = "origin_from = \"instance_url\"\nallow_plaintext = true\npath_prefix = \"/p\"\nconnect = ";
    let api = Scripted::start(|_, _| {
        let links = "Link: <http://eu7.api.test/x>, <http://us.api.test/x>, </x>\r\n";
        Reply::new(200, &format!("{links}Set-Cookie: a=b; Domain=eu7.api.test\r\n"), "")
    })
    .await;
    let proxy = TestProxy::start(&World::toml(
        &tokens.endpoint(),
        "http://*.api.test",
        "",
        &format!("{toml}\"{}\"", api.address()),
    ));
    let moved = "MOVE /p/a HTTP/1.1\r\nHost: localhost\r\nDestination: http://localhost/p/b\r\n\r\n";
    let answer = send(proxy.address("api"), moved).await;
    assert_eq!(answer.field("link"), Some("<http://localhost/p/x>, <http://us.api.test/x>, </p/x>"));
    assert_eq!(answer.field("set-cookie"), Some("a=b"));
    assert_eq!(api.asked()[0].field("destination"), Some("http://eu7.api.test/b"));
}

#[tokio::test]
async fn the_answer_after_a_renewed_token_is_told_and_so_is_one_that_refuses() {
    let wire = Wire::new("", |asked, _| match (asked.target(), asked.field("authorization")) {
        ("/healed", Some("Bearer token-1")) => Reply::new(401, "", ""),
        ("/healed", _) => Reply::new(303, "Location: https://api.test/done\r\n", ""),
        (_, _) => Reply::new(
            401,
            "WWW-Authenticate: Bearer error=\"insufficient_scope\"\r\nLink: <https://api.test/help>; rel=help\r\n",
            "",
        ),
    })
    .await;
    let healed = wire.base("localhost", "/healed").await;
    assert_eq!((healed.status, healed.field("location")), (303, Some("http://localhost/done")));
    let refused = wire.base("localhost", "/refused").await;
    assert_eq!((refused.status, refused.field("link")), (401, Some("<http://localhost/help>; rel=help")));
}

#[tokio::test]
async fn the_answer_that_switches_protocols_is_told_too() {
    let chat = Raw::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        let switched = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Link: <http://{host}/x>\r\nSet-Cookie: a=b; Path=/; Secure\r\n\r\n"
        );
        stream.write_all(switched.as_bytes()).await.unwrap();
        let _ended = read_head(&mut stream).await;
    })
    .await;
    let tokens = TokenServer::start().await;
    let proxy = TestProxy::start(&format!(
        "{}{}{}path_prefix = \"/p\"\n",
        reverse(&["chat"]),
        credential(&tokens),
        upstream("chat", &chat.origin())
    ));
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller
        .write(
            "GET /p/chat HTTP/1.1\r\nHost: localhost:9001\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Origin: http://localhost:9001\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let answer = caller.answer_head().await;
    assert_eq!((answer.status, answer.field("set-cookie")), (101, Some("a=b; Path=/p")));
    assert_eq!(answer.field("link"), Some("<http://localhost:9001/p/x>"));
}

#[tokio::test]
async fn a_destination_is_told_in_the_origins_terms_and_nothing_else_of_a_request() {
    let wire = Wire::new("path_prefix = \"/p\"\n", |_, _| Reply::new(201, "", "")).await;
    let (base, proxy) = (wire.proxy.address("base"), wire.proxy.address("proxy"));
    for (listener, target, host, said, told) in [
        (base, "/p/a", "127.0.0.1:9001", "http://127.0.0.1:9001/p/b%20c?d", "https://api.test/b%20c?d"),
        (base, "/p/a", "LOCALHOST", "http://localhost:80/p/b/", "https://api.test/b/"),
        (base, "/p/a", "[::1]:9001", "http://[0::1]:9001/p", "https://api.test/"),
        (base, "/p/a", "localhost", "/p/b", "/b"),
        (base, "/p/a", "localhost", "http://localhost/other/b", "http://localhost/other/b"),
        (base, "/p/a", "localhost", "http://localhost/p/../b", "http://localhost/p/../b"),
        (base, "/p/a", "localhost", "http://localhost:81/p/b", "http://localhost:81/p/b"),
        (base, "/p/a", "localhost", "http://localhost.evil/p/b", "http://localhost.evil/p/b"),
        (base, "/p/a", "localhost", "https://api.test/b", "https://api.test/b"),
        (proxy, "http://api.test/a", "api.test", "http://api.test/p/b", "https://api.test/p/b"),
        (proxy, "http://api.test/a", "api.test", "http://other.test/b", "http://other.test/b"),
        (proxy, "https://api.test/a", "api.test", "https://api.test/b", "https://api.test/b"),
    ] {
        let origin = format!("http://{host}");
        let rest =
            format!("Origin: {origin}\r\nReferer: http://localhost/p/a\r\nIf: <http://localhost/p/a> ([\"x\"])\r\n");
        let rest = if listener == base { rest } else { String::new() };
        let request = format!("MOVE {target} HTTP/1.1\r\nHost: {host}\r\nDestination: {said}\r\n{rest}\r\n");
        assert_eq!(send(listener, request).await.status, 201);
        let asked = wire.api.asked().pop().unwrap();
        assert_eq!(asked.field("destination"), Some(told), "{target} {said}");
        if listener == base {
            assert_eq!(asked.field("referer"), Some("http://localhost/p/a"));
            assert_eq!(asked.field("origin"), Some(origin.as_str()));
            assert_eq!(asked.field("if"), Some("<http://localhost/p/a> ([\"x\"])"));
        }
    }
}

#[tokio::test]
async fn both_sides_in_http2_are_told_the_same() {
    let (tokens, ca) = (TokenServer::start().await, TestCa::new());
    let server = Http2Server::start(ca.server(&["api.test"], &["h2"]), |_, mut respond| async move {
        let answer = Response::builder().status(303).header("location", "https://api.test/x");
        let answer = answer.header("set-cookie", "a=b; Path=/; Secure").header("set-cookie", "c=d; Secure");
        respond.send_response(answer.body(()).unwrap(), true).unwrap();
    })
    .await;
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{}{}{}connect = \"{}\"\npath_prefix = \"/p\"\n{}",
        reverse(&["api"]),
        credential(&tokens),
        upstream("api", "https://api.test"),
        server.address(),
        ca.trusted()
    ));
    for (listener, url, location, cookies) in [
        ("base", "http://localhost:9001/p/a", "http://localhost:9001/p/x", ["a=b; Path=/p", "c=d"]),
        // Something that ends TLS in front of attache says so, and then https comes back to it.
        ("base", "https://localhost/p/a", "https://localhost/p/x", ["a=b; Path=/p; Secure", "c=d; Secure"]),
        ("proxy", "http://api.test/a", "http://api.test/x", ["a=b; Path=/", "c=d"]),
        ("proxy", "https://api.test/a", "https://api.test/x", ["a=b; Path=/; Secure", "c=d; Secure"]),
    ] {
        let mut send = http2_caller(proxy.address(listener)).await;
        let request = Request::get(url).header("destination", url).body(()).unwrap();
        let answer = send.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(answer.headers()["location"], location);
        assert_eq!(answer.headers().get_all("set-cookie").iter().collect::<Vec<_>>(), cookies);
        assert_eq!(server.asked().last().unwrap().headers["destination"], "https://api.test/a");
    }
}

#[tokio::test]
async fn a_base_url_with_tls_keeps_what_is_for_https() {
    if !there_is("curl", &["--version"]) {
        return;
    }
    let (ca, folder) = (TestCa::new(), tempfile::tempdir().unwrap());
    let (certificate, key) = ca.issue(&["gateway.test"]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("own.pem"), certificate.pem()).unwrap();
    std::fs::write(path("own.key"), key.serialize_pem()).unwrap();
    let api = Scripted::start(|asked, _| {
        let host = asked.field("host").unwrap();
        let cookie = "Set-Cookie: a=b; Path=/; Secure; SameSite=None\r\n";
        Reply::new(303, &format!("Location: http://{host}/x\r\n{cookie}"), "")
    })
    .await;
    let proxy = TestProxy::start(&format!(
        "{}hosts = \"any\"\ntls = {{ certificate = \"{}\", key = \"{}\" }}\n[upstreams.api]\norigin = \"{}\"\npath_prefix = \"/p\"\n",
        reverse(&["api"]),
        path("own.pem"),
        path("own.key"),
        api.origin()
    ));
    let port = proxy.address("base").port();
    for version in ["--http1.1", "--http2"] {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "-D", "-", version, "--cacert", ca.path().to_str().unwrap(), "--resolve"]);
        curl.args([format!("gateway.test:{port}:127.0.0.1"), format!("https://gateway.test:{port}/p/a")]);
        let output = tokio::task::spawn_blocking(move || curl.output().unwrap()).await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(&format!("location: https://gateway.test:{port}/p/x\r\n")), "{version}: {said}");
        assert!(said.contains("set-cookie: a=b; Path=/p; Secure; SameSite=None\r\n"), "{version}: {said}");
    }
}
