//! Idle connections that keep their sockets alone: callers notice nothing of it.
//!
//! Here they are parked as soon as they are idle, so that each request is one behind parking. How long that takes otherwise,
//! and what does not park, is tested beside the code.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::support::{
    ADMIN, Caller, FORWARD, LocalCa, Reply, Scripted, TestCa, TestProxy, TokenServer, credential, reverse, upstream,
};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn base(api: &Scripted, listener: &str, rest: &str) -> String {
    format!("{}{listener}{ADMIN}[upstreams.api]\norigin = \"{}\"\n{rest}", reverse(&["api"]), api.origin())
}

/// Answers with what it was asked for.
async fn echo() -> Scripted {
    Scripted::start(|asked, _| Reply::ok(&format!("{} {}", asked.target(), String::from_utf8_lossy(&asked.body)))).await
}

#[tokio::test]
async fn requests_are_answered_in_order_wherever_their_bytes_are_cut() {
    let api = echo().await;
    let proxy = TestProxy::parking_at_once(&base(&api, "", ""));
    let all = "POST /1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc\
               POST /2 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n\
               GET /3 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut caller = Caller::connect(proxy.address("base")).await;
    for cut in 0..=all.len() {
        caller.write(&all[..cut]).await;
        // Whatever is whole by now is answered, and the rest comes while the connection is parked or about to be.
        let whole = ["abc", "0\r\n\r\n", "3 HTTP/1.1\r\nHost: localhost\r\n\r\n"]
            .into_iter()
            .filter(|end| all[..cut].contains(end))
            .count();
        let mut answers = Vec::new();
        for _ in 0..whole {
            answers.push(caller.answer().await.text().to_owned());
        }
        caller.write(&all[cut..]).await;
        for _ in whole..3 {
            answers.push(caller.answer().await.text().to_owned());
        }
        assert_eq!(answers, ["/1 abc", "/2 de", "/3 "], "cut at {cut}");
    }
}

#[tokio::test]
async fn a_caller_may_wait_for_100_or_write_what_cannot_be_read() {
    let api = echo().await;
    let proxy = TestProxy::parking_at_once(&base(&api, "title_case = true\n", ""));
    let mut caller = Caller::connect(proxy.address("base")).await;
    for _ in 0..3 {
        caller.write("POST /e HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
        assert!(caller.read_exact(25).await.starts_with(b"HTTP/1.1 100 Continue"));
        caller.write("hi").await;
        let answer = caller.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "/e hi"));
        assert!(answer.fields.iter().all(|(name, _)| name.starts_with(|first: char| first.is_ascii_uppercase())));
    }
    caller.write("GET /bad path HTTP/1.1\r\n\r\n").await;
    caller.answer().await.assert_own_failure(400, "http_request_error");
    assert!(caller.is_closed().await);
}

#[tokio::test]
async fn a_reload_counts_for_the_next_request_of_a_parked_connection() {
    let (before, after) =
        (Scripted::start(|_, _| Reply::ok("before")).await, Scripted::start(|_, _| Reply::ok("after")).await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, base(&before, "", "")).unwrap();
    let proxy = TestProxy::of_file_parking_at_once(&path);
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write(REQUEST).await;
    assert_eq!(caller.answer().await.text(), "before");
    std::fs::write(&path, base(&after, "", "")).unwrap();
    proxy.reload().await;
    caller.write(REQUEST).await;
    assert_eq!(caller.answer().await.text(), "after");
}

#[tokio::test]
async fn draining_answers_what_a_parked_connection_still_asks_and_closes_the_others() {
    let api = echo().await;
    let proxy = TestProxy::parking_at_once(&base(&api, "", ""));
    let mut callers = Vec::new();
    for _ in 0..20 {
        let mut caller = Caller::connect(proxy.address("base")).await;
        caller.write(REQUEST).await;
        assert_eq!(caller.answer().await.status, 200);
        callers.push(caller);
    }
    let talk = async {
        for caller in &mut callers[..10] {
            caller.write(REQUEST).await;
        }
        for caller in &mut callers[..10] {
            assert_eq!(caller.answer().await.status, 200);
        }
        for caller in &mut callers {
            assert!(caller.is_closed().await);
        }
    };
    // Both at once: the requests are on their way when the draining begins.
    tokio::join!(biased; talk, proxy.shutdown());
}

#[tokio::test]
async fn over_tls_too() {
    let (ca, folder, api) = (TestCa::new(), tempfile::tempdir().unwrap(), echo().await);
    let (certificate, key) = ca.issue(&["localhost"]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("own.pem"), certificate.pem()).unwrap();
    std::fs::write(path("own.key"), key.serialize_pem()).unwrap();
    let tls = format!("tls = {{ certificate = \"{}\", key = \"{}\" }}\n", path("own.pem"), path("own.key"));
    let proxy = TestProxy::parking_at_once(&base(&api, &tls, ""));
    let stream = TcpStream::connect(proxy.address("base")).await.unwrap();
    let mut stream = ca.connect("localhost", stream).await;
    for number in 0..20 {
        let request = format!("POST /{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n");
        // In one record a request and the head of another, whose body comes in the next.
        stream.write_all(format!("{request}hi{request}").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"ho").await.unwrap();
        stream.flush().await.unwrap();
        let mut answers = String::new();
        while answers.matches(&format!("/{number} h")).count() < 2 {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "{answers}");
            answers += std::str::from_utf8(&bytes[..read]).unwrap();
        }
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0, "closed in order");
}

#[tokio::test]
async fn over_a_unix_socket_too() {
    let (folder, api) = (tempfile::tempdir().unwrap(), echo().await);
    let path = folder.path().join("attache.sock");
    let listener = base(&api, "", "").replacen("127.0.0.1:0", &format!("unix:{}", path.display()), 1);
    let _proxy = TestProxy::parking_at_once(&listener);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    for number in 0..20 {
        stream.write_all(format!("GET /{number} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with(&format!("/{number} ")) {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "{answer}");
            answer += std::str::from_utf8(&bytes[..read]).unwrap();
        }
    }
}

#[tokio::test]
async fn inside_of_an_opened_tunnel_too() {
    let (api, tokens, local) = (echo().await, TokenServer::start().await, LocalCa::new());
    let config = [FORWARD, &local.intercept(), &credential(&tokens), &upstream("api", &api.origin())].concat();
    let proxy = TestProxy::parking_at_once(&config);
    let mut caller = Caller::connect(proxy.address("proxy")).await;
    let host = api.address();
    caller.write(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert_eq!(caller.answer_head().await.status, 200);
    for number in 0..10 {
        caller.write(format!("GET /{number} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(caller.answer().await.text(), format!("/{number} "));
    }
    assert!(api.asked().iter().all(|asked| asked.field("authorization").is_some()));
}

/// Descriptors that this process may have.
fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _best_effort = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    let now = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    now.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

#[tokio::test]
async fn ten_thousand_are_parked_and_a_hundred_at_a_time_are_answered() {
    const SPEAK: usize = 100;
    // Both ends are this process's.
    let many = (descriptors().saturating_sub(2_000) / 2).min(10_000) / SPEAK * SPEAK;
    if many < 10_000 {
        eprintln!("with {many} connections only: the limit on descriptors allows no more");
    }
    let answered = Arc::new(AtomicUsize::new(0));
    let api = echo().await;
    let proxy = TestProxy::parking_at_once(&base(&api, "", "[limits]\nconnections = 20000\nheader_timeout = \"5m\"\n"));
    let address = proxy.address("base");
    let mut callers = Vec::with_capacity(many);
    for _ in 0..many {
        callers.push(Caller::connect(address).await);
    }
    // Each twice: the first time as one that has said nothing, the second time as a parked one.
    for _ in 0..2 {
        for hundred in callers.chunks_mut(SPEAK) {
            for (number, caller) in hundred.iter_mut().enumerate() {
                caller.write(format!("GET /{number} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            }
            for (number, caller) in hundred.iter_mut().enumerate() {
                assert_eq!(caller.answer().await.text(), format!("/{number} "));
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    assert_eq!(answered.load(Ordering::Relaxed), 2 * many);
}
