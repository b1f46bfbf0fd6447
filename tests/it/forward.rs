//! Ways 1 and 2: a forward proxy in absolute-form.

use crate::support::{
    ADMIN, FORWARD, Reply, Scripted, TestCa, TestProxy, TlsFront, TokenServer, credential, get, send, upstream,
};

/// An API at `https://api.test`, behind TLS with the test's own authority, and a proxy that knows it.
struct SecureApi {
    tokens: TokenServer,
    api: Scripted,
    front: TlsFront,
    proxy: TestProxy,
}

impl SecureApi {
    async fn start(origin: &str, rest: &str) -> Self {
        let tokens = TokenServer::start().await;
        let api = Scripted::start(|_, _| Reply::ok("fine")).await;
        let ca = TestCa::new();
        let front = TlsFront::start(ca.server(&["api.test", "*.wild.test"], &[]), api.address()).await;
        let proxy = TestProxy::start(&format!(
            "{FORWARD}{ADMIN}{}{}connect = \"{}\"\n{}{rest}",
            credential(&tokens),
            upstream("api", origin),
            front.address(),
            ca.trusted(),
        ));
        Self { tokens, api, front, proxy }
    }

    async fn get(&self, target: &str) -> crate::support::Answer {
        let host = target.split('/').nth(2).unwrap().to_owned();
        get(self.proxy.address("proxy"), &host, target).await
    }
}

#[tokio::test]
async fn a_request_in_absolute_form_leaves_with_a_token() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = TestProxy::start(&format!("{FORWARD}{}{}", credential(&tokens), upstream("api", &api.origin())));
    let host = api.address().to_string();
    let answer = get(proxy.address("proxy"), &host, &format!("http://{host}/x?y=1")).await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    let asked = &api.asked()[0];
    assert_eq!(asked.line, "GET /x?y=1 HTTP/1.1");
    assert_eq!(asked.field("authorization"), Some("Bearer token-1"));
    assert_eq!(asked.field("host"), Some(host.as_str()));
}

#[tokio::test]
async fn an_http_url_goes_out_as_the_origins_https() {
    let it = SecureApi::start("https://api.test", "").await;
    let answer = it.get("http://api.test/x?y=1").await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    let asked = &it.api.asked()[0];
    assert_eq!(asked.line, "GET /x?y=1 HTTP/1.1");
    assert_eq!(asked.field("authorization"), Some("Bearer token-1"));
    assert_eq!(asked.field("host"), Some("api.test"), "connect changes what is dialled, not the name");
    assert_eq!(it.front.names(), ["api.test"]);
    assert_eq!(it.tokens.requests(), 1);
}

#[tokio::test]
async fn an_https_url_in_clear_is_the_same_request() {
    let it = SecureApi::start("https://api.test", "").await;
    let answer = it.get("https://api.test/x").await;
    assert_eq!(answer.status, 200);
    assert_eq!(it.api.asked()[0].field("authorization"), Some("Bearer token-1"));
    assert_eq!(it.front.names(), ["api.test"]);
}

#[tokio::test]
async fn the_http_name_of_an_origin_may_carry_its_port_or_none_and_no_other() {
    let it = SecureApi::start("https://api.test:8443", "").await;
    for target in [
        "http://api.test/",
        "http://API.test:8443/",
        "https://api.test:8443/",
        "http://api.test:80/",
        "http://api.test.:8443",
    ] {
        assert_eq!(it.get(target).await.status, 200, "{target}");
    }
    for asked in it.api.asked() {
        assert_eq!(asked.field("host"), Some("api.test:8443"));
        assert_eq!(asked.target(), "/");
    }
    for target in ["http://api.test:443/", "https://api.test/", "http://api.test:8080/", "http://other.test/"] {
        it.get(target).await.assert_own_failure(403, "http_request_denied");
    }
    assert_eq!(it.api.requests(), 5);
}

#[tokio::test]
async fn a_url_without_a_path_asks_for_the_root() {
    let it = SecureApi::start("https://api.test", "").await;
    let address = it.proxy.address("proxy");
    for (target, asked) in [("http://api.test", "/"), ("http://api.test?x=1", "/?x=1"), ("http://api.test/?", "/?")] {
        assert_eq!(get(address, "api.test", target).await.status, 200);
        assert_eq!(it.api.asked().last().unwrap().target(), asked, "{target}");
    }
}

#[tokio::test]
async fn where_http_is_refused_only_the_https_url_passes() {
    let it = SecureApi::start("https://api.test", "http = \"refuse\"\n").await;
    for target in ["http://api.test/", "http://api.test:443/"] {
        let answer = it.get(target).await;
        answer.assert_own_failure(403, "http_request_denied");
        assert!(answer.text().contains("https://api.test"), "{}", answer.text());
    }
    let denied = "attache_requests_total{listener=\"proxy\",upstream=\"api\",outcome=\"denied\"}";
    assert_eq!(it.proxy.metric(denied).await, 2.0);
    assert_eq!(it.get("https://api.test/").await.status, 200);
    assert_eq!(it.api.requests(), 1);
}

#[tokio::test]
async fn a_wildcard_covers_one_label_and_keeps_each_name() {
    let it = SecureApi::start("https://*.wild.test", "").await;
    for name in ["one.wild.test", "two.wild.test"] {
        assert_eq!(it.get(&format!("http://{name}/")).await.status, 200);
    }
    let hosts: Vec<_> = it.api.asked().iter().map(|asked| asked.field("host").unwrap().to_owned()).collect();
    assert_eq!(hosts, ["one.wild.test", "two.wild.test"]);
    assert_eq!(it.front.names(), hosts, "SNI is the name of each, and no connection is shared between names");
    for name in ["wild.test", "a.b.wild.test", "wild.test.evil.test"] {
        it.get(&format!("http://{name}/")).await.assert_own_failure(403, "http_request_denied");
    }
}

#[tokio::test]
async fn an_http_10_caller_is_served_and_its_connection_ends() {
    let it = SecureApi::start("https://api.test", "").await;
    let address = it.proxy.address("proxy");
    let answer = send(address, "GET http://api.test/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    assert_eq!(answer.field("connection"), Some("close"));
    let asked = &it.api.asked()[0];
    assert_eq!(asked.line, "GET /x HTTP/1.1");
    assert_eq!(asked.field("host"), Some("api.test"));
    assert!(asked.field("via").unwrap().starts_with("1.0 attache"), "{asked:?}");
}

#[tokio::test]
async fn an_http_10_caller_gets_a_chunked_answer_without_chunks() {
    let tokens = TokenServer::start().await;
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let api = Scripted::start(|_, _| Reply::Raw(chunked.to_vec())).await;
    let proxy = TestProxy::start(&format!("{FORWARD}{}{}", credential(&tokens), upstream("api", &api.origin())));
    let answer = send(proxy.address("proxy"), format!("GET {}/ HTTP/1.0\r\n\r\n", api.origin())).await;
    assert_eq!((answer.status, answer.text()), (200, "abcde"));
    assert_eq!(answer.field("transfer-encoding"), None);
}

#[tokio::test]
async fn a_path_alone_is_told_how_a_forward_proxy_is_used() {
    let it = SecureApi::start("https://api.test", "").await;
    let answer = get(it.proxy.address("proxy"), "api.test", "/x").await;
    answer.assert_own_failure(400, "http_request_error");
    assert!(answer.text().contains("HTTP_PROXY"), "{}", answer.text());
    assert_eq!(it.api.requests(), 0);
}

#[tokio::test]
async fn options_of_the_proxy_itself_is_answered_by_it() {
    let it = SecureApi::start("https://api.test", "").await;
    let address = it.proxy.address("proxy");
    let answer = send(address, "OPTIONS * HTTP/1.1\r\nHost: proxy.test\r\n\r\n").await;
    assert_eq!(answer.status, 204);
    assert!(answer.field("allow").unwrap().contains("CONNECT"));
    let answer = send(address, "GET * HTTP/1.1\r\nHost: proxy.test\r\n\r\n").await;
    answer.assert_own_failure(400, "http_request_error");
    assert_eq!(it.api.requests(), 0);
}

#[tokio::test]
async fn max_forwards_is_counted_down_and_answered_at_zero() {
    let it = SecureApi::start("https://api.test", "").await;
    let address = it.proxy.address("proxy");
    let options =
        |hops: &str| format!("OPTIONS http://api.test/x HTTP/1.1\r\nHost: api.test\r\nMax-Forwards: {hops}\r\n\r\n");
    assert_eq!(send(address, options("0")).await.status, 204);
    assert_eq!(it.api.requests(), 0);
    assert_eq!(send(address, options("3")).await.status, 200);
    assert_eq!(it.api.asked()[0].field("max-forwards"), Some("2"));
    send(address, options("many")).await.assert_own_failure(400, "http_request_error");
}

#[tokio::test]
async fn a_plain_origin_elsewhere_gets_the_token_only_where_that_is_allowed() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let allowed = format!(
        "{FORWARD}{}{}connect = \"{}\"\nallow_plaintext = true\n",
        credential(&tokens),
        upstream("api", "http://plain.test"),
        api.address()
    );
    let proxy = TestProxy::start(&allowed);
    assert_eq!(get(proxy.address("proxy"), "plain.test", "http://plain.test/").await.status, 200);
    assert_eq!(api.asked()[0].field("authorization"), Some("Bearer token-1"));
    // https://plain.test is another origin.
    let other = get(proxy.address("proxy"), "plain.test", "https://plain.test/").await;
    other.assert_own_failure(403, "http_request_denied");
    let refused = allowed.replace("allow_plaintext = true\n", "");
    assert!(attache::config::Config::parse("test.toml", &refused).is_err());
}

mod unmatched {
    use super::*;

    async fn with(policy: &str) -> (Scripted, TestProxy) {
        let other =
            Scripted::start(|_, _| Reply::new(200, "Proxy-Authenticate: Basic\r\nX-Theirs: 1\r\n", "other")).await;
        (other, TestProxy::start(&format!("{FORWARD}{ADMIN}[forward]\n{policy}")))
    }

    #[tokio::test]
    async fn is_denied_unless_the_configuration_says_otherwise() {
        let (other, proxy) = with("").await;
        let host = other.address().to_string();
        let answer = get(proxy.address("proxy"), &host, &format!("http://{host}/")).await;
        answer.assert_own_failure(403, "http_request_denied");
        assert!(answer.text().contains("unmatched"), "{}", answer.text());
        assert_eq!(other.connections(), 0);
        assert_eq!(
            proxy.metric("attache_requests_total{listener=\"proxy\",upstream=\"-\",outcome=\"denied\"}").await,
            1.0
        );
    }

    #[tokio::test]
    async fn passes_untouched_with_the_callers_own_authorization() {
        let (other, proxy) = with("unmatched = \"pass\"\nprivate_addresses = \"allow\"\n").await;
        let host = other.address().to_string();
        let request = format!(
            "POST http://{host}/a/../b%2Fc?x=%20&&y HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic bWU6bXk=\r\n\
             Cookie: a=1\r\nX_Under: 1\r\nX-Twice: 1\r\nX-Twice: 2\r\nContent-Length: 3\r\n\r\nabc"
        );
        let answer = send(proxy.address("proxy"), request).await;
        assert_eq!((answer.status, answer.text()), (200, "other"));
        assert_eq!(answer.field("x-theirs"), Some("1"));
        let asked = &other.asked()[0];
        assert_eq!(asked.line, "POST /a/../b%2Fc?x=%20&&y HTTP/1.1");
        assert_eq!(asked.field("authorization"), Some("Basic bWU6bXk="));
        assert_eq!(asked.field("x_under"), Some("1"));
        assert_eq!(asked.all("x-twice"), ["1", "2"]);
        assert_eq!(asked.body, b"abc");
        assert_eq!(
            proxy.metric("attache_requests_total{listener=\"proxy\",upstream=\"-\",outcome=\"passed\"}").await,
            1.0
        );
    }

    #[tokio::test]
    async fn is_reported_as_what_deny_would_have_refused() {
        let (other, proxy) = with("unmatched = \"report\"\nprivate_addresses = \"allow\"\n").await;
        let host = other.address().to_string();
        assert_eq!(get(proxy.address("proxy"), &host, &format!("http://{host}/")).await.status, 200);
        assert_eq!(proxy.metric("attache_would_deny_total{listener=\"proxy\"}").await, 1.0);
    }

    #[tokio::test]
    async fn does_not_reach_private_addresses_by_number_or_by_name() {
        let (other, proxy) = with("unmatched = \"pass\"\n").await;
        let port = other.address().port();
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            let host = format!("{host}:{port}");
            let answer = get(proxy.address("proxy"), &host, &format!("http://{host}/")).await;
            answer.assert_own_failure(403, "destination_ip_prohibited");
            assert!(answer.text().contains("private_addresses"), "{}", answer.text());
            assert!(!answer.text().contains("upstream \\\""), "{}", answer.text());
        }
        let metadata = get(proxy.address("proxy"), "169.254.169.254", "http://169.254.169.254/latest").await;
        metadata.assert_own_failure(403, "destination_ip_prohibited");
        assert_eq!(other.connections(), 0);
    }

    #[tokio::test]
    async fn reaches_the_private_networks_that_are_listed() {
        let (other, proxy) = with("unmatched = \"pass\"\nprivate_addresses = [\"127.0.0.0/8\"]\n").await;
        let host = other.address().to_string();
        assert_eq!(get(proxy.address("proxy"), &host, &format!("http://{host}/")).await.status, 200);
        let elsewhere = get(proxy.address("proxy"), "10.0.0.1", "http://10.0.0.1/").await;
        elsewhere.assert_own_failure(403, "destination_ip_prohibited");
    }
}
