//! More callers than there are places: who waits, who goes, and how they are told.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::{ADMIN, Caller, Reply, Scripted, TestProxy, get, real_time, reverse, until};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn base(api: &Scripted, connections: usize, listener: &str) -> TestProxy {
    let toml = format!(
        "{}{listener}{ADMIN}[upstreams.api]\norigin = \"{}\"\n[limits]\nconnections = {connections}\n",
        reverse(&["api"]),
        api.origin()
    );
    TestProxy::start(&toml)
}

/// A connection that has had an answer and is idle now.
async fn idle(proxy: &TestProxy) -> Caller {
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write(REQUEST).await;
    assert_eq!(caller.answer().await.status, 200);
    caller
}

/// Longer than the clocks of workers are coarse.
async fn a_moment() {
    real_time("the coarse clock goes on", Duration::from_millis(600)).await;
}

#[tokio::test]
async fn the_connection_that_has_been_idle_longest_makes_room_whichever_worker_has_it() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = base(&api, 5, "");
    let mut callers = Vec::new();
    for _ in 0..5 {
        callers.push(idle(&proxy).await);
    }
    // The first one asks again: then the second has been idle longest, and the third after it.
    a_moment().await;
    for place in [2, 0, 3, 4] {
        callers[place].write(REQUEST).await;
        assert_eq!(callers[place].answer().await.status, 200);
        a_moment().await;
    }
    for goes in [1, 2] {
        callers.push(idle(&proxy).await);
        let closed = tokio::time::timeout(Duration::from_secs(5), callers[goes].is_closed()).await;
        assert_eq!(closed, Ok(true), "number {goes}");
    }
    for place in [0, 3, 4, 5, 6] {
        callers[place].write(REQUEST).await;
        assert_eq!(callers[place].answer().await.status, 200, "number {place} stays");
    }
}

#[tokio::test]
async fn nobody_with_a_request_in_progress_has_to_go_and_at_the_limit_accepting_pauses() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let api = Scripted::start(move |_, _| Reply::ok("fine").when_open(&held)).await;
    let proxy = base(&api, 2, "");
    let address = proxy.address("base");
    let mut busy = Vec::new();
    for number in 0..2 {
        let mut caller = Caller::connect(address).await;
        caller.write(REQUEST).await;
        busy.push(caller);
        until("it has arrived", || async { api.requests() > number }).await;
    }
    let mut third = Caller::connect(address).await;
    third.write(REQUEST).await;
    let waiting = tokio::time::timeout(Duration::from_millis(500), third.answer()).await;
    assert!(waiting.is_err() && api.requests() == 2, "it is not refused, it waits");
    // One of the two becomes idle, and makes room for the one that waits.
    gate.add_permits(1);
    until("there is room", || async { api.requests() == 3 }).await;
    gate.add_permits(2);
    assert_eq!(third.answer().await.status, 200);
    for mut caller in busy {
        assert_eq!(caller.answer().await.status, 200, "no request is lost");
    }
}

#[tokio::test]
async fn callers_that_connect_and_say_nothing_are_idle_too() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = base(&api, 4, "");
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(TcpStream::connect(proxy.address("base")).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(6), get(proxy.address("base"), "localhost", "/")).await;
    assert_eq!(answer.expect("before `header_timeout`").status, 200);
}

#[tokio::test]
async fn a_tls_handshake_that_does_not_begin_makes_room() {
    let (ca, folder) = (crate::support::TestCa::new(), tempfile::tempdir().unwrap());
    let (certificate, key) = ca.issue(&["localhost"]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("own.pem"), certificate.pem()).unwrap();
    std::fs::write(path("own.key"), key.serialize_pem()).unwrap();
    let tls = format!("tls = {{ certificate = \"{}\", key = \"{}\" }}\n", path("own.pem"), path("own.key"));
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = base(&api, 1, &tls);
    let mut silent = Caller::connect(proxy.address("base")).await;
    until("it has its place", || async { proxy.metric("attache_caller_connections").await == 1.0 }).await;
    let _next = TcpStream::connect(proxy.address("base")).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(6), silent.is_closed()).await;
    assert_eq!(closed, Ok(true), "before `header_timeout`");
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_to_go_in_order() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = base(&api, 1, "");
    let stream = TcpStream::connect(proxy.address("base")).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let request = http::Request::get("http://localhost/").body(()).unwrap();
    let (answer, _) = send.send_request(request, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "fine");
    drop(body);
    assert_eq!(get(proxy.address("base"), "localhost", "/").await.status, 200);
    let ended = tokio::time::timeout(Duration::from_secs(5), connection).await.expect("it has ended");
    assert!(ended.unwrap().is_ok(), "GOAWAY without an error");
}

#[tokio::test]
async fn an_http2_caller_that_does_not_hear_the_goodbye_is_left() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = base(&api, 1, "");
    let mut deaf = TcpStream::connect(proxy.address("base")).await.unwrap();
    deaf.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // Its own settings: it is served.
    deaf.read_exact(&mut [0; 9]).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(6), get(proxy.address("base"), "localhost", "/")).await;
    assert_eq!(answer.expect("long before `keep_alive`").status, 200);
}
