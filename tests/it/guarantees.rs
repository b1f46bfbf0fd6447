//! The guarantees of README.md about where a request goes and who answers it. Each test has its guarantee's name.

use crate::support::{
    Answer, FORWARD, Reply, Scripted, TestCa, TestProxy, TlsFront, TokenServer, credential, get, reverse, send,
    upstream,
};

/// G1: the origin that is matched is the origin that is dialled, named, verified and given the credential.
#[tokio::test]
async fn one_authority() {
    let tokens = TokenServer::start().await;
    let ca = TestCa::new();
    let (good, evil) =
        (Scripted::start(|_, _| Reply::ok("good")).await, Scripted::start(|_, _| Reply::ok("evil")).await);
    let front = TlsFront::start(ca.server(&["api.test"], &[]), good.address()).await;
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{}{}{}connect = \"{}\"\n{}",
        reverse(&["api"]),
        credential(&tokens),
        upstream("api", "https://api.test"),
        front.address(),
        ca.trusted()
    ));
    // Every spelling of the one host goes to it, under its one name.
    for (target, host) in [
        ("http://api.test/", "api.test"),
        ("http://API.TEST:80/", "api.test"),
        ("http://api.test/", "Api.Test.:80"),
        ("https://api.test./", "api.test:443"),
    ] {
        assert_eq!(get(proxy.address("proxy"), host, target).await.text(), "good", "{target} {host}");
    }
    assert_eq!(get(proxy.address("base"), "localhost", "/").await.text(), "good");
    assert!(good.asked().iter().all(|asked| asked.field("host") == Some("api.test")));
    assert!(front.names().iter().all(|name| name == "api.test"), "{:?}", front.names());

    // A request that names two places goes to neither.
    let port = evil.address().port();
    let conflicts = [
        format!("GET http://api.test/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"),
        format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: api.test\r\n\r\n"),
        format!("GET http://api.test@127.0.0.1:{port}/ HTTP/1.1\r\nHost: api.test\r\n\r\n"),
        "GET http://user:pass@api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n".to_owned(),
        "GET http://api.test/ HTTP/1.1\r\nHost: user@api.test\r\n\r\n".to_owned(),
        "GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\nHost: api.test\r\n\r\n".to_owned(),
        "GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\nHost: evil.test\r\n\r\n".to_owned(),
        "GET http://api.test/ HTTP/1.1\r\nHost: api.test:8080\r\n\r\n".to_owned(),
        "GET http://api.test/ HTTP/1.1\r\nHost: api.test, evil.test\r\n\r\n".to_owned(),
        "GET http://api.test/ HTTP/1.1\r\n\r\n".to_owned(),
        "CONNECT api.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n".to_owned(),
        "CONNECT evil@api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n".to_owned(),
    ];
    let before = good.requests();
    for conflict in conflicts {
        let answer = send(proxy.address("proxy"), &conflict).await;
        assert_eq!(answer.status, 400, "{conflict}");
        answer.assert_own_failure(400, "http_request_error");
    }
    assert_eq!((good.requests(), evil.connections()), (before, 0));

    // What a caller says about forwarding moves nothing.
    let request = format!(
        "GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\nX-Forwarded-Host: evil.test\r\nForwarded: host=evil.test\r\n\
         X-Original-URL: http://127.0.0.1:{port}/\r\nX-Forwarded-Proto: http\r\n\r\n"
    );
    assert_eq!(send(proxy.address("proxy"), request).await.text(), "good");
    assert_eq!(evil.connections(), 0);
}

/// G2: a credential leaves for its upstream's origin only, over TLS unless loopback or `allow_plaintext`.
#[tokio::test]
async fn origin_bound() {
    let (tokens, others) = (
        TokenServer::start().await,
        TokenServer::scripted(|_, _| Reply::ok(&TokenServer::granted("other-token", 3600))).await,
    );
    let (one, two, free) = (
        Scripted::start(|_, _| Reply::ok("one")).await,
        Scripted::start(|_, _| Reply::ok("two")).await,
        Scripted::start(|_, _| Reply::ok("free")).await,
    );
    let other = credential(&others).replace("credentials.key", "credentials.other");
    let proxy = TestProxy::start(&format!(
        "{FORWARD}[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\n{}{other}{}{}",
        credential(&tokens),
        upstream("one", &one.origin()),
        upstream("two", &two.origin()).replace("\"key\"", "\"other\""),
    ));
    for _ in 0..3 {
        for api in [&one, &two, &free] {
            let host = api.address().to_string();
            assert_eq!(get(proxy.address("proxy"), &host, &format!("http://{host}/")).await.status, 200);
        }
    }
    let authorizations = |api: &Scripted| -> Vec<Option<String>> {
        api.asked().iter().map(|asked| asked.field("authorization").map(str::to_owned)).collect()
    };
    assert!(authorizations(&one).iter().all(|it| it.as_deref() == Some("Bearer token-1")));
    assert!(authorizations(&two).iter().all(|it| it.as_deref() == Some("Bearer other-token")));
    assert!(authorizations(&free).iter().all(Option::is_none));
    // The same host under another port or another name for the same address is another origin.
    let alias = format!("localhost:{}", one.address().port());
    assert_eq!(get(proxy.address("proxy"), &alias, &format!("http://{alias}/")).await.status, 200);
    assert_eq!(one.asked().last().unwrap().field("authorization"), None);

    // A server whose name cannot be verified never sees a request, let alone a token.
    let (ca, stranger) = (TestCa::new(), TestCa::new());
    let imposter = TlsFront::start(stranger.server(&["api.test"], &[]), free.address()).await;
    let seen = free.requests();
    let secure = TestProxy::start(&format!(
        "{FORWARD}{}{}connect = \"{}\"\n{}",
        credential(&tokens),
        upstream("api", "https://api.test"),
        imposter.address(),
        ca.trusted()
    ));
    let refused = get(secure.address("proxy"), "api.test", "http://api.test/").await;
    refused.assert_own_failure(502, "tls_certificate_error");
    assert_eq!(free.requests(), seen);

    // And a configuration that would send one in clear over a network is none.
    for (origin, rest) in [("http://api.test", ""), ("http://localhost:1", "connect = \"192.0.2.1:80\"\n")] {
        let config = format!("{FORWARD}{}{}{rest}", credential(&tokens), upstream("api", origin));
        assert!(attache::config::Config::parse("test.toml", &config).is_err(), "{origin}");
    }
}

/// G3: redirects go back to the caller, from upstreams and token endpoints alike.
#[tokio::test]
async fn no_redirects() {
    let elsewhere = Scripted::start(|_, _| Reply::ok(&TokenServer::granted("stolen", 3600))).await;
    let to = format!("Location: {}/next\r\n", elsewhere.origin());
    let tokens = TokenServer::start().await;
    for status in [301, 302, 303, 307, 308] {
        let location = to.clone();
        let api = Scripted::start(move |_, _| Reply::new(status, &location, "moved")).await;
        let proxy = TestProxy::start(&format!(
            "{}{}{}",
            reverse(&["api"]),
            credential(&tokens),
            upstream("api", &api.origin())
        ));
        for method in ["GET", "POST"] {
            let request = format!("{method} /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            let answer = send(proxy.address("base"), request).await;
            assert_eq!((answer.status, answer.text()), (status, "moved"));
            assert_eq!(answer.field("location"), Some(format!("{}/next", elsewhere.origin()).as_str()));
        }
        assert_eq!(api.requests(), 2);

        let location = to.clone();
        let moved = TokenServer::scripted(move |_, _| Reply::new(status, &location, "")).await;
        let proxy =
            TestProxy::start(&format!("{}{}{}", reverse(&["api"]), credential(&moved), upstream("api", &api.origin())));
        let answer = get(proxy.address("base"), "localhost", "/").await;
        assert!([502, 503].contains(&answer.status), "{answer:?}");
        assert_eq!(api.requests(), 2, "nothing is sent without a token");
    }
    assert_eq!(elsewhere.connections(), 0, "neither a token nor a secret went anywhere else");
}

/// G10: attache's own failures are 4xx or 5xx, never 401, always with `Proxy-Status`; an upstream's answers have none.
#[tokio::test]
async fn own_failures() {
    let tokens = TokenServer::start().await;
    let refusing = TokenServer::scripted(|_, _| Reply::new(401, "", r#"{"error":"invalid_client"}"#)).await;
    let down = TokenServer::scripted(|_, _| Reply::HangUp).await;
    let api = Scripted::start(|_, _| Reply::new(401, "WWW-Authenticate: Basic\r\n", "theirs")).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = |name: &str, tokens: &TokenServer| {
        credential(tokens).replace("credentials.key", &format!("credentials.{name}"))
    };
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{}{}{}{}{}path_prefix = \"/fine\"\ncaller_authorization = \"reject\"\nallow = [{{ methods = [\"GET\"] }}]\n\
         {}path_prefix = \"/gone\"\n{}path_prefix = \"/refused\"\n{}path_prefix = \"/down\"\n",
        reverse(&["api", "gone", "refused", "down"]),
        credential(&tokens),
        other("refusing", &refusing),
        other("down", &down),
        upstream("api", &api.origin()),
        upstream("gone", &format!("http://{gone}")),
        upstream("refused", &api.origin()).replace("\"key\"", "\"refusing\""),
        upstream("down", &api.origin()).replace("\"key\"", "\"down\""),
    ).replace("[listeners.proxy]\n", "[listeners.proxy]\nupstreams = [\"api\"]\n"));
    let ask = async |listener: &str, line: &str, rest: &str| -> Answer {
        send(proxy.address(listener), format!("{line} HTTP/1.1\r\nHost: localhost\r\n{rest}\r\n")).await
    };
    let checks = [
        ("base", "GET /nowhere", "", 404),
        ("base", "GET /gone", "", 502),
        ("base", "GET /refused", "", 502),
        ("base", "GET /down", "", 503),
        ("base", "POST /fine", "Content-Length: 0\r\n", 403),
        ("base", "GET /fine/../x", "", 400),
        ("base", "GET /fine", "Authorization: Bearer theirs\r\n", 400),
        ("base", "TRACE /gone", "", 405),
        ("base", "GET /fine", "Host: localhost\r\n", 400),
        ("base", "GET /fine", "Via: 1.1 attache\r\n", 502),
        ("base", "GET /fine", "Transfer-Encoding: gzip\r\n", 400),
        ("base", "GET /fine", "Bad Field: x\r\n", 400),
        ("base", "CONNECT localhost:1", "", 400),
        ("proxy", "GET /fine", "", 400),
        ("proxy", "GET http://localhost/", "", 403),
        ("proxy", "CONNECT localhost:1", "", 403),
    ];
    for (listener, line, rest, status) in checks {
        let answer = ask(listener, line, rest).await;
        assert_eq!(answer.status, status, "{line}: {}", answer.text());
        let proxy_status = answer.field("proxy-status").unwrap_or_else(|| panic!("{line}")).to_owned();
        answer.assert_own_failure(status, proxy_status.strip_prefix("attache; error=").unwrap());
        assert_eq!(answer.field("www-authenticate"), None);
    }
    assert_eq!(api.requests(), 0);
    let theirs = ask("base", "GET /fine", "").await;
    assert_eq!((theirs.status, theirs.text(), theirs.field("proxy-status")), (401, "theirs", None));
    assert_eq!(theirs.field("www-authenticate"), Some("Basic"));
}
