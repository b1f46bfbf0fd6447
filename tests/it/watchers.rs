//! Those who look at the admin listener cost neither each other nor tokens much.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{ADMIN, Reply, Scripted, TestProxy, TokenServer, get, real_time, reverse, until, upstream};

/// Enough upstreams and credentials that a report is long.
async fn large() -> (TestProxy, TokenServer, Scripted) {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let names: Vec<String> = (0..60).map(|number| format!("u{number}")).collect();
    let mut toml = reverse(&names.iter().map(String::as_str).collect::<Vec<_>>()) + ADMIN;
    for name in &names {
        toml += &upstream(name, &api.origin()).replace("\"key\"", &format!("\"{name}\""));
        toml +=
            &format!("path_prefix = \"/{name}\"\n[credentials.{name}]\ntoken_endpoint = \"{}\"\n", tokens.endpoint());
        toml += &format!("client_id = \"{name}\"\nclient_secret = \"s3cret\"\n");
    }
    (TestProxy::start(&toml), tokens, api)
}

/// Asks for the events and reads the beginning of the answer.
async fn watch(proxy: &TestProxy) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(proxy.address("admin")).await.unwrap();
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut head = vec![0; 15];
    stream.read_exact(&mut head).await.unwrap();
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn two_hundred_and_fifty_watchers_hold_up_neither_probes_nor_token_requests() {
    let (proxy, tokens, _api) = large().await;
    let mut watchers = Vec::new();
    let mut served = 0;
    for _ in 0..250 {
        let (stream, head) = watch(&proxy).await;
        served += usize::from(head.contains(" 200 "));
        assert!(head.contains(" 200 ") || head.contains(" 503 "), "{head}");
        watchers.push(tokio::spawn(async move {
            let (mut stream, mut buffer) = (stream, vec![0; 65_536]);
            while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
        }));
    }
    assert_eq!(served, 16);
    let (mut probes, mut requests) = (Vec::new(), Vec::new());
    for number in 0..60 {
        let began = Instant::now();
        assert_eq!(get(proxy.address("admin"), "localhost", "/livez").await.status, 200);
        probes.push(began.elapsed());
        // Each with a token that nobody has asked for before.
        let began = Instant::now();
        assert_eq!(get(proxy.address("base"), "localhost", &format!("/u{number}/")).await.status, 200);
        requests.push(began.elapsed());
        real_time("the watchers' reports come meanwhile", Duration::from_millis(20)).await;
    }
    assert_eq!(tokens.requests(), 60);
    for (what, mut times) in [("/livez", probes), ("token requests", requests)] {
        times.sort();
        assert!(times[57] < Duration::from_millis(500), "{what}: {times:?}");
    }
}

#[tokio::test]
async fn one_watcher_more_is_told_so_and_has_a_place_when_another_goes() {
    let (proxy, _tokens, _api) = large().await;
    let mut watchers = Vec::new();
    for _ in 0..16 {
        let (stream, head) = watch(&proxy).await;
        assert!(head.contains(" 200 "), "{head}");
        watchers.push(stream);
    }
    let refused = get(proxy.address("admin"), "localhost", "/api/events").await;
    assert_eq!((refused.status, refused.field("content-type")), (503, Some("application/problem+json")));
    assert!(refused.text().contains("as many are looking as may"), "{}", refused.text());
    watchers.pop();
    until("there is a place", || async { watch(&proxy).await.1.contains(" 200 ") }).await;
}

#[tokio::test]
async fn idle_connections_of_the_admin_listener_make_room() {
    let (proxy, _tokens, _api) = large().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(proxy.address("admin")).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(6), get(proxy.address("admin"), "localhost", "/livez")).await;
    assert_eq!(answer.expect("before `header_timeout`").status, 200);
}
