//! One host with many APIs, one gateway with many clients: `upstreams.X.paths` and `.callers`, on every way in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    ADMIN, Answer, Caller, LocalCa, Reply, Scripted, TestCa, TestProxy, TlsFront, TokenServer, get, send,
};

/// `https://api.test` with several upstreams, each with a credential of its own whose tokens have its name.
struct Shared {
    api: Scripted,
    proxy: TestProxy,
    local: LocalCa,
    _kept: (TestCa, TlsFront, Vec<TokenServer>),
}

impl Shared {
    /// `upstreams`: name and keys. `listeners`: keys of all listeners.
    async fn new(listeners: &str, intercept: bool, upstreams: &[(&str, &str)], more: &str) -> Self {
        let (ca, local) = (TestCa::new(), LocalCa::new());
        let api = Scripted::start(|_, _| Reply::ok("hello")).await;
        let front = TlsFront::start(ca.server(&["api.test"], &["http/1.1"]), api.address()).await;
        let (mut tables, mut tokens) = (String::new(), Vec::new());
        for (name, keys) in upstreams {
            let token = format!("token-of-{name}");
            let server = TokenServer::scripted(move |_, _| Reply::ok(&TokenServer::granted(&token, 3600))).await;
            tables += &format!(
                "[credentials.{name}]\ntoken_endpoint = \"{}\"\nclient_id = \"{name}\"\nclient_secret = \"s3cret\"\n\
                 [upstreams.{name}]\norigin = \"https://api.test\"\nconnect = \"{}\"\ncredential = \"{name}\"\n{keys}\n{}",
                server.endpoint(),
                front.address(),
                ca.trusted()
            );
            tokens.push(server);
        }
        let listener = |name: &str, mode: &str| {
            format!("[listeners.{name}]\naddress = \"127.0.0.1:0\"\nmode = \"{mode}\"\n{listeners}\n")
        };
        let names: Vec<&str> = upstreams.iter().map(|(name, _)| *name).collect();
        let config = [
            listener("proxy", "forward"),
            listener("socks", "socks5"),
            listener("base", "reverse") + &format!("upstreams = {names:?}\n"),
            ADMIN.to_owned(),
            if intercept { local.intercept() } else { String::new() },
            tables,
            more.to_owned(),
        ];
        let proxy = TestProxy::start(&config.concat());
        Self { api, proxy, local, _kept: (ca, front, tokens) }
    }

    async fn forward(&self, path: &str, proof: &str) -> Answer {
        let request = format!("GET http://api.test{path} HTTP/1.1\r\nHost: api.test\r\n{proof}\r\n");
        send(self.proxy.address("proxy"), request).await
    }

    async fn base(&self, path: &str, proof: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{proof}\r\n");
        send(self.proxy.address("base"), request).await
    }

    /// Inside of an opened tunnel; `proof` goes with its CONNECT.
    async fn inside(&self, path: &str) -> String {
        let tls = self.local.tls(self.proxy.address("proxy"), "api.test:443", "api.test", &["http/1.1"]).await.unwrap();
        tls.ask(&format!("GET {path} HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n")).await
    }

    /// Plain HTTP through SOCKS.
    async fn socks(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.proxy.address("socks")).await.unwrap();
        stream.write_all(b"\x05\x01\x00\x05\x01\x00\x03\x08api.test\x00\x50").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[3], 0, "{answer:?}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The path and whose token the newest request had.
    fn newest(&self) -> (String, String) {
        let asked = self.api.asked().pop().unwrap();
        let token = asked.field("authorization").unwrap_or("none").trim_start_matches("Bearer token-of-").to_owned();
        (asked.target().to_owned(), token)
    }

    async fn explain(&self, query: &str) -> serde_json::Value {
        get(self.proxy.address("admin"), "127.0.0.1", &format!("/api/explain?{query}")).await.json()
    }
}

fn proof(field: &str, name: &str) -> String {
    format!("{field}: Basic {}\r\n", STANDARD.encode(format!("{name}:s3cret-of-{name}")))
}

const APIS: [(&str, &str); 3] = [
    ("orders", "paths = [\"/orders/*\", \"/v2/orders\"]"),
    ("billing", "paths = [\"/billing/*\", \"/orders/*/invoice\"]"),
    ("packages", "paths = [\"/packages/*\"]"),
];

#[tokio::test]
async fn several_apis_of_one_host_have_a_token_each_on_every_way_in() {
    let shared = Shared::new("", true, &APIS, "").await;
    for (path, name) in [
        ("/orders/7?x=/billing/", "orders"),
        ("/billing/7", "billing"),
        ("/orders/7/invoice", "billing"),
        ("/v2/orders", "orders"),
    ] {
        let expected = (path.to_owned(), name.to_owned());
        assert_eq!(shared.forward(path, "").await.status, 200);
        assert_eq!(shared.newest(), expected, "through a proxy");
        assert_eq!(shared.base(path, "").await.status, 200);
        assert_eq!(shared.newest(), expected, "by a base URL");
        assert!(shared.inside(path).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(shared.newest(), expected, "inside of a tunnel");
        assert!(shared.socks(path).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(shared.newest(), expected, "through SOCKS");
    }
    let before = shared.api.requests();
    for path in ["/", "/orders", "/other/7", "/v2/orders/7"] {
        for answer in [shared.forward(path, "").await, shared.base(path, "").await] {
            answer.assert_own_failure(403, "http_request_denied");
            assert!(answer.text().contains("`paths` of upstreams"), "{}", answer.text());
        }
        assert!(shared.inside(path).await.starts_with("HTTP/1.1 403 "));
        assert!(shared.socks(path).await.starts_with("HTTP/1.1 403 "));
    }
    assert_eq!(shared.api.requests(), before);
}

#[tokio::test]
async fn a_path_whose_readings_lead_to_different_credentials_is_refused() {
    let shared = Shared::new("", true, &APIS, "").await;
    for path in
        ["/orders/..%2fbilling/7", "/orders/%252e%252e/billing/7", "/orders/..;/billing/7", "/orders/..%00/billing"]
    {
        for answer in [shared.forward(path, "").await, shared.base(path, "").await] {
            answer.assert_own_failure(400, "http_request_error");
        }
        assert!(shared.inside(path).await.starts_with("HTTP/1.1 400 "), "{path}");
    }
    assert_eq!(shared.api.requests(), 0);
    for path in ["/packages/@scope%2fname", "/packages/a%252fb//c", "/orders/caf%C3%A9;v=1/x"] {
        assert_eq!(shared.forward(path, "").await.status, 200, "{path}");
        assert_eq!(shared.newest().0, path, "it leaves as it came");
    }
}

#[tokio::test]
async fn allow_rules_refuse_only_what_they_judge_in_two_ways() {
    let allow = "allow = [{ methods = [\"GET\"], paths = [\"/pub/*\", \"/v1/*/items\"] }]";
    let shared = Shared::new("", false, &[("api", allow)], "").await;
    for path in [
        "/pub/%252e%252e/x",
        "/pub/%252E%252E%252Fx",
        "/pub/..%00/x",
        "/pub/%2e%2e%00/x",
        "/pub/%c0%ae%c0%ae/x",
        "/pub/..%c0%afx",
        "/pub/..%255cx",
        "/pub/..%3b/x",
        "/pub/..%09/x",
        "/pub/..%20/x",
        "/pub/.%00./x",
        "/pub/..%1f/x",
        "/pub/..%7f/x",
        "/pub/..%ff/x",
        "/pub/..%3f/x",
        "/pub/..%253b/x",
        "/pub/%25252e%25252e/x",
        "/pub/%u002e%u002e/x",
        "/v1//items",
        "/v1/a%2fb/items",
    ] {
        shared.forward(path, "").await.assert_own_failure(400, "http_request_error");
    }
    for path in ["/pub/@scope%2fname", "/pub/a//b", "/pub/a/../b", "/v1/a%20b/items", "/pub/100%25"] {
        assert_eq!(shared.forward(path, "").await.status, 200, "{path}");
    }
    shared.forward("/private", "").await.assert_own_failure(403, "http_request_denied");
    let everything = Shared::new("", false, &[("api", "allow = [{ paths = [\"/*\"] }]")], "").await;
    for path in ["/@scope%2fname", "/projects/group%2Fproject", "/a/..%2f..%2fb"] {
        assert_eq!(everything.forward(path, "").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn prefixes_that_a_path_could_mean_in_two_ways_are_refused() {
    let upstreams = [("one", "path_prefix = \"/one\""), ("two", "path_prefix = \"/one/two\"")];
    let config = |(name, keys): (&str, &str)| format!("[upstreams.{name}]\norigin = \"http://127.0.0.1:1\"\n{keys}\n");
    let proxy = TestProxy::start(&format!(
        "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstreams = [\"one\", \"two\"]\n{}",
        upstreams.map(config).concat()
    ));
    for path in ["/one/x/..%2ftwo/y", "/one//two/x"] {
        get(proxy.address("base"), "localhost", path).await.assert_own_failure(400, "http_request_error");
    }
    get(proxy.address("base"), "localhost", "/one%2ftwo/x").await.assert_own_failure(404, "destination_not_found");
    // Nobody listens at the upstream, which is as far as these come.
    assert_eq!(get(proxy.address("base"), "localhost", "/one/a%2fb/../c").await.status, 502);
}

const CALLERS: &str = "[callers.a]\npassword = \"s3cret-of-a\"\n[callers.b]\npassword = \"s3cret-of-b\"\n[callers.c]\npassword = \"s3cret-of-c\"\n";

#[tokio::test]
async fn each_service_has_its_own_client_through_one_gateway() {
    let upstreams = [
        ("first", "callers = [\"a\"]"),
        ("second", "callers = [\"b\"]"),
        ("reports", "callers = [\"b\"]\npaths = [\"/reports/*\"]"),
    ];
    let listeners = "callers = [\"a\", \"b\", \"c\"]";
    let shared = Shared::new(listeners, true, &upstreams, CALLERS).await;
    for (caller, path, expected) in
        [("a", "/x", "first"), ("b", "/x", "second"), ("b", "/reports/7", "reports"), ("a", "/reports/7", "first")]
    {
        assert_eq!(shared.forward(path, &proof("Proxy-Authorization", caller)).await.status, 200);
        assert_eq!(shared.newest().1, expected, "{caller} through a proxy");
        assert_eq!(shared.base(path, &proof("Authorization", caller)).await.status, 200);
        assert_eq!(shared.newest().1, expected, "{caller} by a base URL");
        // Plain HTTP inside of a tunnel, which its caller opens as itself.
        let mut tunnel = Caller::connect(shared.proxy.address("proxy")).await;
        let connect = format!(
            "CONNECT api.test:80 HTTP/1.1\r\nHost: api.test:80\r\n{}\r\n",
            proof("Proxy-Authorization", caller)
        );
        tunnel.write(connect).await;
        assert_eq!(tunnel.answer_head().await.status, 200);
        tunnel.write(format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n\r\n")).await;
        assert_eq!(tunnel.answer().await.status, 200);
        assert_eq!(shared.newest().1, expected, "{caller} inside of a tunnel");
    }
    let stranger = shared.forward("/x", &proof("Proxy-Authorization", "c")).await;
    stranger.assert_own_failure(403, "http_request_denied");
    assert!(stranger.text().contains("for other callers"), "{}", stranger.text());
    let connect =
        format!("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n{}\r\n", proof("Proxy-Authorization", "c"));
    assert_eq!(send(shared.proxy.address("proxy"), connect).await.status, 403);
}

#[tokio::test]
async fn a_tunnel_that_is_not_opened_is_refused_where_it_could_mean_several() {
    let connect = "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n";
    let with_path = |name| (name, "paths = [\"/x/*\"]");
    for upstreams in [vec![("one", ""), with_path("two")], vec![with_path("one")]] {
        let shared = Shared::new("", false, &upstreams, "").await;
        let answer = send(shared.proxy.address("proxy"), connect).await;
        answer.assert_own_failure(403, "http_request_denied");
        assert!(answer.text().contains("which a tunnel cannot keep apart"), "{}", answer.text());
    }
}

#[tokio::test]
async fn explain_says_which_one_it_is_and_why() {
    let upstreams =
        [("orders", "paths = [\"/orders/*\"]"), ("invoices", "paths = [\"/orders/*/invoice\"]\ncallers = [\"b\"]")];
    let shared = Shared::new("callers = [\"a\", \"b\"]", false, &upstreams, CALLERS).await;
    let at = |path: &str, rest: &str| format!("url=http://api.test{path}&listener=proxy{rest}");
    let told = shared.explain(&at("/orders/7/invoice", "&caller=b")).await;
    assert_eq!((told["upstream"].as_str(), told["outcome"].as_str()), (Some("invoices"), Some("inject")));
    let reason = told["reason"].as_str().unwrap();
    assert!(
        reason.contains("by \"/orders/*/invoice\", the most literal of the `paths` that do, for caller \"b\""),
        "{reason}"
    );
    let told = shared.explain(&at("/orders/7/invoice", "&caller=a")).await;
    assert_eq!(told["upstream"].as_str(), Some("orders"));
    let told = shared.explain(&at("/other", "&caller=a")).await;
    assert_eq!(told["outcome"].as_str(), Some("deny"));
    assert!(told["reason"].as_str().unwrap().contains("is not among the `paths`"), "{told}");
    let told = shared.explain(&at("/orders/7", "&caller=x")).await;
    assert!(told["outcome"] == "deny" && told["reason"].as_str().unwrap().contains("has no \"x\""), "{told}");
    let told = shared.explain(&at("/orders/..%2fx", "&caller=a")).await;
    assert!(told["reason"].as_str().unwrap().starts_with("400: "), "{told}");
}
