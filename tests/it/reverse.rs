//! Way 3: a reverse listener as base URL.

use crate::support::{
    ADMIN, Answer, Reply, Scripted, TestProxy, TokenServer, credential, get, reverse, send, upstream,
};

/// Answers with the target it was asked for.
async fn echo() -> Scripted {
    Scripted::start(|asked, _| Reply::ok(asked.target())).await
}

#[tokio::test]
async fn a_base_url_stands_for_its_upstream() {
    let (tokens, api) = (TokenServer::start().await, echo().await);
    let proxy =
        TestProxy::start(&format!("{}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin())));
    let address = proxy.address("base");
    let answer = get(address, &address.to_string(), "/x?y=1").await;
    assert_eq!((answer.status, answer.text()), (200, "/x?y=1"));
    let asked = &api.asked()[0];
    assert_eq!(asked.field("authorization"), Some("Bearer token-1"));
    assert_eq!(asked.field("host"), Some(api.address().to_string().as_str()));
}

#[tokio::test]
async fn path_and_query_go_through_byte_for_byte() {
    let (tokens, api) = (TokenServer::start().await, echo().await);
    let proxy = TestProxy::start(&format!(
        "{}{}{}{}path_prefix = \"/p\"\n",
        reverse(&["api", "cut"]),
        credential(&tokens),
        upstream("api", &api.origin()),
        upstream("cut", &api.origin()),
    ));
    for target in [
        "/",
        "/?",
        "/a?",
        "//a//b/",
        "/a/../b/./c",
        "/x/%2e%2e/%2F%5c",
        "/a;b=c/d",
        "/a+b%20c",
        "/x?a=1&a=2&&b=%zz&c=http://d/e?f",
        "/x?q=a;b+c%26",
        "/~'()*!$&,=:@",
        "/P/x",
    ] {
        let answer = get(proxy.address("base"), "localhost", target).await;
        assert_eq!((answer.status, answer.text()), (200, target));
        if !target.starts_with("/?") {
            let behind = get(proxy.address("base"), "localhost", &format!("/p{target}")).await;
            assert_eq!(behind.text(), target, "behind a prefix");
        }
    }
}

#[tokio::test]
async fn several_upstreams_are_told_apart_by_whole_segments_of_the_path() {
    let tokens = TokenServer::start().await;
    let (one, deeper) =
        (echo().await, Scripted::start(|asked, _| Reply::ok(&format!("deeper {}", asked.target()))).await);
    let proxy = TestProxy::start(&format!(
        "{}{}{}path_prefix = \"/one\"\n{}path_prefix = \"/one/two\"\n",
        reverse(&["one", "deeper"]),
        credential(&tokens),
        upstream("one", &one.origin()),
        upstream("deeper", &deeper.origin()),
    ));
    let ask = async |target: &str| get(proxy.address("base"), "127.0.0.1", target).await;
    for (target, received) in [
        ("/one/x", "/x"),
        ("/one/", "/"),
        ("/one", "/"),
        ("/one?y=1", "/?y=1"),
        ("/one/?y=1", "/?y=1"),
        ("/one/x?y=/one/two", "/x?y=/one/two"),
        ("/one//x", "//x"),
        ("/one/one/x", "/one/x"),
        ("/one/twofold", "/twofold"),
        ("/one/two", "deeper /"),
        ("/one/two/x", "deeper /x"),
    ] {
        let answer = ask(target).await;
        assert_eq!((answer.status, answer.text()), (200, received), "{target}");
    }
    for target in ["/", "/oneself", "/on", "/One/x", "/%6fne/x", "/two", "//one/x", "/other?/one/"] {
        ask(target).await.assert_own_failure(404, "destination_not_found");
    }
}

#[tokio::test]
async fn several_upstreams_are_told_apart_by_host() {
    let tokens = TokenServer::start().await;
    let (orders, billing) = (echo().await, Scripted::start(|_, _| Reply::ok("billing")).await);
    let proxy = TestProxy::start(&format!(
        "{}{}{}connect = \"{}\"\nallow_plaintext = true\n{}connect = \"{}\"\nallow_plaintext = true\n",
        reverse(&["orders", "billing"]),
        credential(&tokens),
        upstream("orders", "http://orders.test"),
        orders.address(),
        upstream("billing", "http://billing.test"),
        billing.address(),
    ));
    let ask = async |host: &str| -> Answer { get(proxy.address("base"), host, "/x").await };
    assert_eq!(ask("orders.test").await.text(), "/x");
    assert_eq!(ask("BILLING.test:9001").await.text(), "billing");
    assert_eq!(billing.asked()[0].field("host"), Some("billing.test"));
    let unknown = ask("localhost").await;
    unknown.assert_own_failure(404, "destination_not_found");
    assert!(unknown.text().contains("send the Host of one"), "{}", unknown.text());
}

#[tokio::test]
async fn a_loopback_listener_answers_to_its_own_names_only() {
    let (tokens, api) = (TokenServer::start().await, echo().await);
    let config = format!("{}{}", credential(&tokens), upstream("api", "http://api.test"))
        + &format!("connect = \"{}\"\nallow_plaintext = true\n", api.address());
    let proxy = TestProxy::start(&format!("{}{ADMIN}{config}", reverse(&["api"])));
    let address = proxy.address("base");
    for host in ["127.0.0.1", "localhost:80", "app.localhost", "[::1]:9", "api.test", "API.test."] {
        assert_eq!(get(address, host, "/").await.status, 200, "{host}");
    }
    for host in ["evil.test", "127.0.0.1.evil.test", "api.test.evil.test", "10.0.0.1"] {
        get(address, host, "/").await.assert_own_failure(403, "http_request_denied");
    }
    assert_eq!(api.requests(), 6);
    let listed = TestProxy::start(&format!("{}hosts = [\"gateway.test\"]\n{config}", reverse(&["api"])));
    assert_eq!(get(listed.address("base"), "gateway.test:8", "/").await.status, 200);
    get(listed.address("base"), "localhost", "/").await.assert_own_failure(403, "http_request_denied");
    let any = TestProxy::start(&format!("{}hosts = \"any\"\n{config}", reverse(&["api"])));
    assert_eq!(get(any.address("base"), "whatever.test", "/").await.status, 200);
}

#[tokio::test]
async fn an_absolute_target_is_taken_and_its_authority_is_the_host() {
    let (tokens, api) = (TokenServer::start().await, echo().await);
    let proxy = TestProxy::start(&format!(
        "{}{}{}path_prefix = \"/one\"\n",
        reverse(&["api"]),
        credential(&tokens),
        upstream("api", &api.origin())
    ));
    let address = proxy.address("base");
    let answer = get(address, "localhost", "http://localhost/one/x?y=1").await;
    assert_eq!((answer.status, answer.text()), (200, "/x?y=1"));
    assert_eq!(get(address, "localhost", "http://LOCALHOST./one?y=1").await.text(), "/?y=1");
    get(address, "evil.test", "http://evil.test/one/").await.assert_own_failure(403, "http_request_denied");
    get(address, "localhost", "http://evil.test/one/").await.assert_own_failure(400, "http_request_error");
}

#[tokio::test]
async fn connect_belongs_to_a_forward_listener() {
    let (tokens, api) = (TokenServer::start().await, echo().await);
    let proxy =
        TestProxy::start(&format!("{}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin())));
    let request = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", api.address());
    let answer = send(proxy.address("base"), request).await;
    answer.assert_own_failure(400, "http_request_error");
    assert!(answer.text().contains("forward listener"), "{}", answer.text());
    assert_eq!(api.connections(), 0);
}

#[tokio::test]
async fn allow_rules_are_held_against_the_path_that_is_forwarded() {
    let (tokens, api) = (TokenServer::start().await, echo().await);
    let proxy = TestProxy::start(&format!(
        "{}{}{}path_prefix = \"/p\"\nallow = [{{ methods = [\"GET\"], paths = [\"/v1/*\"] }}, {{ paths = [\"/open\"] }}]\n",
        reverse(&["api"]),
        credential(&tokens),
        upstream("api", &api.origin())
    ));
    let ask = async |method: &str, target: &str| {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        send(proxy.address("base"), request).await
    };
    for (method, target) in [("GET", "/p/v1/a"), ("GET", "/p/v1/a/b?c=../d"), ("POST", "/p/open"), ("GET", "/p/open?x")]
    {
        assert_eq!(ask(method, target).await.status, 200, "{method} {target}");
    }
    for (method, target) in [
        ("POST", "/p/v1/a"),
        ("GET", "/p/v2/a"),
        ("GET", "/p/v1"),
        ("GET", "/p/V1/a"),
        ("GET", "/p//v1/a"),
        ("GET", "/p/open/"),
        ("get", "/p/v1/a"),
        ("GET", "/p"),
    ] {
        ask(method, target).await.assert_own_failure(403, "http_request_denied");
    }
    for target in ["/p/v1/../admin", "/p/v1/%2e%2E/admin", "/p/v1/..%2fadmin", "/p/v1/..%5Cadmin", "/p/v1/..;x/admin"] {
        ask("GET", target).await.assert_own_failure(400, "http_request_error");
    }
    assert_eq!(api.requests(), 4);
    for target in ["/p/v1/a%2fb", "/p/v1/a%5Cb", "/p/v1/./a"] {
        assert_eq!(ask("GET", target).await.status, 200, "{target}: every reading of it is covered");
    }
}

#[tokio::test]
async fn options_of_the_server_is_asked_of_the_upstream() {
    let (tokens, api) = (TokenServer::start().await, echo().await);
    let proxy =
        TestProxy::start(&format!("{}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin())));
    let answer = send(proxy.address("base"), "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((answer.status, answer.text()), (200, "*"));
    assert_eq!(api.asked()[0].line, "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn the_callers_own_authorization_is_replaced_kept_or_refused_as_configured() {
    let (tokens, api) = (TokenServer::start().await, echo().await);
    let config = |rest: &str| {
        format!("{}{ADMIN}{}{}{rest}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin()))
    };
    let request =
        "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer theirs\r\nAuthorization: Basic eA==\r\n\r\n";
    for (rest, status, sent, counted) in [
        ("", 200, &["Bearer token-1"][..], Some("replace")),
        ("caller_authorization = \"keep\"\n", 200, &["Bearer theirs", "Basic eA=="], Some("keep")),
        ("caller_authorization = \"reject\"\n", 400, &[], Some("reject")),
    ] {
        let proxy = TestProxy::start(&config(rest));
        let before = api.requests();
        assert_eq!(send(proxy.address("base"), request).await.status, status, "{rest}");
        let asked = api.asked();
        assert_eq!(asked.get(before).map_or(vec![], |asked| asked.all("authorization")), sent, "{rest}");
        if let Some(action) = counted {
            let series = format!("attache_caller_authorization_total{{upstream=\"api\",action=\"{action}\"}}");
            assert_eq!(proxy.metric(&series).await, 1.0);
        }
    }
    let without = TestProxy::start(&config("").replace("credential = \"key\"\n", ""));
    assert_eq!(send(without.address("base"), request).await.status, 200);
    assert_eq!(api.asked().last().unwrap().all("authorization"), ["Bearer theirs", "Basic eA=="]);
}

#[tokio::test]
async fn a_unix_socket_is_a_listener_like_any_other() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (tokens, api) = (TokenServer::start().await, echo().await);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("base.sock");
    let config = format!(
        "[listeners.base]\naddress = \"unix:{}\"\nmode = \"reverse\"\nupstream = \"api\"\n{}{}",
        path.display(),
        credential(&tokens),
        upstream("api", &api.origin())
    );
    // What a killed process left behind is in no one's way.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let proxy = TestProxy::start(&config);
    for _ in 0..3 {
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: whatever.test\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n/x"), "{answer}");
    }
    assert_eq!(api.asked()[2].field("authorization"), Some("Bearer token-1"));
    let second = attache::config::Config::parse("test.toml", &config).unwrap();
    assert!(attache::app::App::start_with(second, 1).is_err(), "a socket that answers is in use");
    proxy.shutdown().await;
    assert!(!path.exists(), "the socket goes with the program");
}
