//! One that is slow, dead or silent beside a good one: what they share must not let the good one feel it.

#![expect(clippy::print_stderr, reason = "figures are worth reading")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    ADMIN, FORWARD, Folder, Reply, Scripted, TestProxy, TokenServer, World, get, http2_caller, http2_caller_with,
    namespace, real_time, reverse, send, until,
};

/// By how much the good one may be slower beside the bad one, on a busy machine.
const SLACK: Duration = Duration::from_millis(700);

/// An upstream whose every request needs a new connection.
async fn closing() -> Scripted {
    Scripted::start(|_, _| {
        Reply::Close(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfine".to_vec())
    })
    .await
}

/// `count` requests, one after another: how many were answered, and how long the slowest and the one in a hundred took.
async fn measured(what: &str, proxy: &TestProxy, listener: &str, request: &str, count: u32) -> Duration {
    let (mut took, mut fine) = (Vec::new(), 0);
    for _ in 0..count {
        let began = Instant::now();
        let answer = send(proxy.address(listener), request).await;
        took.push(began.elapsed());
        fine += u32::from(answer.status == 200);
        real_time("the bad one goes on meanwhile", Duration::from_millis(30)).await;
    }
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    eprintln!("{what}: {fine} of {count}, p99 {p99:?}, slowest {:?}", took[took.len() - 1]);
    assert_eq!(fine, count, "{what}");
    p99
}

/// Requests that go on until they are dropped; the statuses of those that were answered.
fn meanwhile(proxy: &TestProxy, listener: &str, requests: Vec<String>) -> tokio::task::JoinSet<u16> {
    let address = proxy.address(listener);
    requests.into_iter().map(|request| async move { send(address, request).await.status }).collect()
}

/// How many credentials wait for their first token now.
async fn refreshing(proxy: &TestProxy) -> usize {
    let status = get(proxy.address("admin"), "localhost", "/api/status").await.json();
    let states = status["credentials"].as_array().unwrap().iter().map(|credential| &credential["state"]);
    states.filter(|state| *state == "refreshing").count()
}

fn ask(url: &str) -> String {
    let host = url.trim_start_matches("http://").split('/').next().unwrap();
    format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn a_silent_name_holds_up_no_other_name() {
    if !namespace::is_inside("isolation::a_silent_name_holds_up_no_other_name") {
        return;
    }
    // `answered.*` has an address; everything else gets no answer at all.
    namespace::name_server(|name| name.contains("answered").then_some(Ipv4Addr::LOCALHOST));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let api = closing().await;
        let port = api.address().port();
        let toml = format!(
            "{FORWARD}{ADMIN}[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\n\
             [upstreams.good]\norigin = \"http://answered.test:{port}\"\n\
             [upstreams.wild]\norigin = \"http://*.answered.test:{port}\"\n\
             [upstreams.silent]\norigin = \"http://silent.test:{port}\"\ntimeouts = {{ connect = \"4s\" }}\n"
        );
        let proxy = TestProxy::start(&toml);
        let good = ask(&format!("http://answered.test:{port}/"));
        let wild = ask(&format!("http://a.answered.test:{port}/"));
        let alone = measured("alone", &proxy, "proxy", &good, 100).await;
        // Forty for one silent name, and forty for names that callers make up.
        let mut silent = meanwhile(&proxy, "proxy", vec![ask(&format!("http://silent.test:{port}/")); 40]);
        let made_up = (0..40).map(|number| ask(&format!("http://made-up-{number}.test:{port}/"))).collect();
        let made_up = meanwhile(&proxy, "proxy", made_up);
        until("they are there", async || proxy.metric("attache_caller_connections").await >= 80.0).await;
        let beside = measured("beside silent names", &proxy, "proxy", &good, 100).await;
        assert!(beside < alone + SLACK, "{beside:?} instead of {alone:?}");
        let chosen = measured("a wildcard's, beside them", &proxy, "proxy", &wild, 20).await;
        assert!(chosen < alone + SLACK, "{chosen:?} instead of {alone:?}");
        // Those themselves are told in time, and of what.
        while let Some(status) = silent.join_next().await {
            assert_eq!(status.unwrap(), 504);
        }
        let began = Instant::now();
        let answer = send(proxy.address("proxy"), ask(&format!("http://silent.test:{port}/"))).await;
        answer.assert_own_failure(504, "dns_timeout");
        assert!(began.elapsed() < Duration::from_secs(8));
        drop(made_up);
    });
}

#[test]
fn dead_authorization_servers_take_nobody_elses_tokens_down() {
    if !namespace::is_inside("isolation::dead_authorization_servers_take_nobody_elses_tokens_down") {
        return;
    }
    namespace::name_server(|name| (name == "login.localhost").then_some(Ipv4Addr::LOCALHOST));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        // Tokens that are used once: each request needs a token request, each of those a connection, and a lookup now and then.
        let tokens = TokenServer::scripted(|_, number| {
            let body = TokenServer::granted(&format!("token-{number}"), 0);
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            Reply::Close((head + &body).into_bytes())
        })
        .await;
        let api = closing().await;
        let mut toml = format!(
            "{}{ADMIN}[upstreams.good]\norigin = \"{}\"\ncredential = \"good\"\npath_prefix = \"/good\"\n\
             [credentials.good]\ntoken_endpoint = \"http://login.localhost:{}/token\"\nclient_id = \"me\"\nclient_secret = \"s3cret\"\n",
            reverse(&["good"]),
            api.origin(),
            tokens.server.address().port()
        );
        let good = "GET /good/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let alone = measured("alone", &TestProxy::start(&toml), "base", good, 100).await;
        for number in 0..12 {
            toml += &format!(
                "[credentials.dead-{number}]\ntoken_endpoint = \"https://login-{number}.test/token\"\nclient_id = \"me\"\n\
                 client_secret = \"s3cret\"\nrequired = true\n"
            );
        }
        // They are asked for from the start, and again and again.
        let proxy = TestProxy::start(&toml);
        until("they are asked", async || refreshing(&proxy).await == 12).await;
        let beside = measured("beside twelve dead servers", &proxy, "base", good, 100).await;
        assert!(beside < alone + SLACK, "{beside:?} instead of {alone:?}");
    });
}

#[test]
fn what_is_exempt_from_tls_by_its_name_stays_on_this_machine() {
    if !namespace::is_inside("isolation::what_is_exempt_from_tls_by_its_name_stays_on_this_machine") {
        return;
    }
    namespace::name_server(|name| match name {
        "here.localhost" => Some(Ipv4Addr::LOCALHOST),
        "there.localhost" => Some(namespace::ELSEWHERE),
        _ => None,
    });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (tokens, api) = (TokenServer::start().await, closing().await);
        // The same servers, at the other address too: whatever comes there has left this machine.
        let elsewhere = tokio::net::TcpListener::bind((namespace::ELSEWHERE, 0)).await.unwrap();
        let port = elsewhere.local_addr().unwrap().port();
        let heard = Arc::new(AtomicUsize::new(0));
        let listening = Arc::clone(&heard);
        tokio::spawn(async move {
            while elsewhere.accept().await.is_ok() {
                listening.fetch_add(1, Ordering::SeqCst);
            }
        });
        let credential = |name: &str, at: &str, port: u16| {
            format!(
                "[credentials.{name}]\ntoken_endpoint = \"http://{at}.localhost:{port}/token\"\nclient_id = \"me\"\nclient_secret = \"s3cret\"\n"
            )
        };
        let upstream = |name: &str, at: &str, port: u16, credential: &str, rest: &str| {
            format!(
                "[upstreams.{name}]\norigin = \"http://{at}.localhost:{port}\"\ncredential = \"{credential}\"\npath_prefix = \"/{name}\"\n{rest}"
            )
        };
        let here = (tokens.server.address().port(), api.address().port());
        let toml = [
            reverse(&["good", "api", "token", "trusted"]),
            credential("here", "here", here.0),
            credential("there", "there", port),
            upstream("good", "here", here.1, "here", ""),
            upstream("api", "there", port, "here", ""),
            upstream("token", "here", here.1, "there", ""),
            upstream("trusted", "there", port, "here", "allow_plaintext = true\ntimeouts = { response = \"1s\" }\n"),
        ]
        .concat();
        let proxy = TestProxy::start(&toml);
        let get = async |path: &str| {
            send(proxy.address("base"), format!("GET {path}/ HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
        };
        assert_eq!(get("/good").await.status, 200);
        get("/api").await.assert_own_failure(502, "proxy_configuration_error");
        get("/token").await.assert_own_failure(503, "proxy_internal_error");
        assert_eq!(heard.load(Ordering::SeqCst), 0, "nothing has left this machine");
        // Who says that the network is trusted is believed.
        let _whatever = get("/trusted").await;
        assert_eq!(heard.load(Ordering::SeqCst), 1);
    });
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_that_hangs_holds_up_no_other_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3cret").unwrap();
    // Each request needs a token request, and each of those reads its secret.
    let tokens = TokenServer::scripted(|_, number| Reply::ok(&TokenServer::granted(&format!("t-{number}"), 0))).await;
    let api = closing().await;
    let (endpoint, origin) = (tokens.endpoint(), api.origin());
    let mut toml = format!("{}{ADMIN}", reverse(&["good"]));
    let one = |name: &str, secret: &str| {
        format!(
            "[upstreams.{name}]\norigin = \"{origin}\"\ncredential = \"{name}\"\npath_prefix = \"/{name}\"\n\
             [credentials.{name}]\ntoken_endpoint = \"{endpoint}\"\nclient_id = \"{name}\"\nclient_secret = {secret}\n"
        )
    };
    toml += &one("good", &format!("{{ file = {file:?} }}"));
    let good = "GET /good/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let alone = measured("alone", &TestProxy::start(&toml), "base", good, 50).await;
    for number in 0..12 {
        toml += &one(&format!("slow-{number}"), "{ command = [\"sleep\", \"30\"] }");
        toml += "required = true\n";
    }
    let proxy = TestProxy::start(&toml);
    until("they are read", async || refreshing(&proxy).await == 12).await;
    let beside = measured("beside twelve secrets that hang", &proxy, "base", good, 50).await;
    assert!(beside < alone + SLACK, "{beside:?} instead of {alone:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_that_becomes_a_silent_pipe_keeps_no_other_from_being_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["a", "b"] {
        std::fs::write(path(name), "old").unwrap();
    }
    let tokens = TokenServer::start().await;
    let api = closing().await;
    let mut toml = reverse(&["a", "b"]);
    for name in ["a", "b"] {
        toml += &format!(
            "[upstreams.{name}]\norigin = \"{}\"\ncredential = \"{name}\"\npath_prefix = \"/{name}\"\n\
             [credentials.{name}]\ntoken_endpoint = \"{}\"\nclient_id = \"{name}\"\nclient_secret = {{ file = {:?} }}\n",
            api.origin(),
            tokens.endpoint(),
            path(name)
        );
    }
    let proxy = TestProxy::start(&toml);
    let get = async |name: &str| {
        send(proxy.address("base"), format!("GET /{name}/ HTTP/1.1\r\nHost: localhost\r\n\r\n")).await.status
    };
    assert_eq!((get("a").await, get("b").await), (200, 200));
    std::fs::remove_file(path("a")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(path("a")).status().unwrap().success());
    std::fs::write(path("b"), "new").unwrap();
    until("the other secret is taken over", async || {
        tokens.server.asked().iter().any(|asked| String::from_utf8_lossy(&asked.body).contains("client_secret=new"))
            || tokens.server.asked().iter().filter(|asked| asked.field("authorization").is_some()).count() > 2
    })
    .await;
    assert_eq!((get("a").await, get("b").await), (200, 200), "the token that it has is good");
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_in_a_pipe_that_nobody_writes_into_is_a_sentence_for_check_and_run() {
    let toml = World::toml("http://127.0.0.1:1/token", "http://127.0.0.1:1", "", "");
    let folder = Folder::with(&toml.replace("\"s3cret-of-mine\"", "{ file = \"pipe\" }"));
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    for command in ["check", "run"] {
        let began = Instant::now();
        let finished = folder.run(&[command]).await;
        assert!(
            finished.code != Some(0) && finished.stderr.contains("is it a pipe that nobody writes into"),
            "{finished:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn callers_that_take_nothing_of_their_answers_hold_up_no_other_caller() {
    let api =
        Scripted::start(|asked, _| Reply::ok(if asked.target() == "/good" { "fine" } else { LARGE.as_str() })).await;
    let toml = format!("{}[upstreams.api]\norigin = \"{}\"\n", reverse(&["api"]), api.origin());
    let proxy = TestProxy::start(&toml);
    let alone = measured("alone", &proxy, "base", GOOD, 100).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        // Not a byte of an answer can be sent: each holds a connection to the upstream.
        let mut hostile = http2_caller_with(proxy.address("base"), 0).await;
        for _ in 0..100 {
            hostile = hostile.ready().await.unwrap();
            let request = http::Request::get("http://localhost/large").body(()).unwrap();
            held.push(hostile.send_request(request, true).unwrap());
        }
    }
    until("they hold the upstream's connections", || async { api.connections() >= 300 }).await;
    let beside = measured("beside 300 streams that nobody reads", &proxy, "base", GOOD, 100).await;
    assert!(beside < alone + SLACK, "{beside:?} instead of {alone:?}");
}

/// More than any buffer on the way takes.
static LARGE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "large".repeat(200_000));

#[tokio::test]
async fn callers_that_flood_hold_up_no_other_caller() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let toml = format!("{}[upstreams.api]\norigin = \"{}\"\n", reverse(&["api"]), api.origin());
    let proxy = TestProxy::start(&toml);
    let alone = measured("alone", &proxy, "base", GOOD, 100).await;
    let address = proxy.address("base");
    let mut floods = tokio::task::JoinSet::new();
    for _ in 0..4 {
        floods.spawn(async move {
            // A ping, as often as it is taken.
            let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(200);
            let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
            let mut ended = 0_u32;
            loop {
                use tokio::io::AsyncWriteExt as _;
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                let _sent = stream.write_all(&preface).await;
                while stream.write_all(&ping).await.is_ok() {}
                ended += 1;
                assert!(ended < 1_000_000);
                real_time("it connects again and again", Duration::from_millis(5)).await;
            }
        });
    }
    let beside = measured("beside four floods of pings", &proxy, "base", GOOD, 100).await;
    assert!(beside < alone + SLACK, "{beside:?} instead of {alone:?}");
    assert_eq!(floods.len(), 4);
}

#[tokio::test]
async fn uploads_that_nobody_takes_hold_up_no_other_upload_of_the_same_connection() {
    let stalls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&stalls);
    let api = crate::support::Raw::start(move |mut stream, _| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let count = Arc::clone(&count);
        async move {
            loop {
                let head = crate::support::read_head(&mut stream).await;
                if head.starts_with("POST /stalled") {
                    // Its body is never read.
                    count.fetch_add(1, Ordering::SeqCst);
                    return std::future::pending().await;
                }
                if head.is_empty() {
                    return;
                }
                let _whole = tokio::io::copy(&mut (&mut stream).take(100_000), &mut tokio::io::sink()).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine").await.unwrap();
            }
        }
    })
    .await;
    let toml = format!("{}[upstreams.api]\norigin = \"{}\"\n", reverse(&["api"]), api.origin());
    let proxy = TestProxy::start(&toml);
    let mut send = http2_caller(proxy.address("base")).await;
    let mut p99 = Vec::new();
    let mut stalled = Vec::new();
    for (round, what) in ["alone", "beside 40 uploads that nobody takes"].into_iter().enumerate() {
        let mut took = Vec::new();
        for _ in 0..100 {
            let began = Instant::now();
            send = send.ready().await.unwrap();
            let request = http::Request::post("http://localhost/good").header("content-length", 100_000);
            let (answer, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
            body.send_data(vec![0; 100_000].into(), true).unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("held up").unwrap();
            assert_eq!(answer.status(), 200);
            took.push(began.elapsed());
        }
        took.sort_unstable();
        eprintln!("{what}: 100 of 100, p99 {:?}, slowest {:?}", took[98], took[99]);
        p99.push(took[98]);
        for _ in 0..40 {
            send = send.ready().await.unwrap();
            let request = http::Request::post("http://localhost/stalled").body(()).unwrap();
            let (answer, mut body) = send.send_request(request, false).unwrap();
            body.send_data(vec![0; 4 << 20].into(), false).unwrap();
            stalled.push((answer, body));
        }
        until("the upstream has them", async || stalls.load(Ordering::SeqCst) == 40 * (round + 1)).await;
    }
    assert!(p99[1] < p99[0] + SLACK, "{p99:?}");
}

#[tokio::test]
async fn uploads_that_an_http2_upstream_does_not_take_hold_up_no_other_upload_to_it() {
    let ca = crate::support::TestCa::new();
    let api =
        crate::support::Http2Server::start(ca.server(&["api.test"], &["h2"]), |request, mut respond| async move {
            let mut body = request.uri().path().starts_with("/good").then(|| request.into_body());
            let Some(body) = &mut body else { return std::future::pending().await };
            while let Some(data) = body.data().await {
                let Ok(data) = data else { return };
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
            stream.send_data("fine".into(), true).unwrap();
        })
        .await;
    let toml = format!(
        "{}[upstreams.api]\norigin = \"https://api.test\"\nconnect = \"{}\"\n{}",
        reverse(&["api"]),
        api.address(),
        ca.trusted()
    );
    let proxy = TestProxy::start_with(&toml, 1);
    let post = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
    };
    let alone = measured("alone", &proxy, "base", &post("/good", 50_000), 30).await;
    // More than the server gives the whole connection.
    let _stalled = meanwhile(&proxy, "base", vec![post("/stalled", 200_000); 4]);
    let stalled = async || api.asked().iter().filter(|head| head.uri.path() == "/stalled").count();
    until("the upstream has them", async || stalled().await == 4).await;
    let beside =
        measured("beside four uploads that it does not take", &proxy, "base", &post("/good", 50_000), 30).await;
    assert!(beside < alone + SLACK, "{beside:?} instead of {alone:?}");
}
