//! Mistakes that a caller sees, or the log of `run`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Running, TestCa, TlsFront};

use super::scene::{Mistakes, folder};
use super::servers::{granted, nobody, refusal, server};

/// Sends this, and shows the answer's status and sentences.
async fn sent(mistakes: &mut Mistakes, name: &str, to: SocketAddr, request: &str) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(format!("{request}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let status = head.lines().next().unwrap_or_default();
    let sentence = |member: &str| problem[member].as_str().unwrap_or_default().to_owned();
    let shown = format!("{request}\n\n{status}\ntitle:  {}\ndetail: {}\n", sentence("title"), sentence("detail"));
    mistakes.said(name, &shown.replace('\r', ""));
}

/// What `run` has said so far on the path of requests, without times and fields.
fn told(running: &Running) -> String {
    let mut shown = String::new();
    for line in running.stderr().lines() {
        let Some((before, said)) = line.split_once(" attache::proxy: ") else { continue };
        let level = before.split_whitespace().last().unwrap_or_default();
        let ends = [" listener=", " upstream=", " host="].iter().filter_map(|field| said.find(field));
        shown += &format!("{level} {}\n", &said[..ends.min().unwrap_or(said.len())]);
    }
    shown
}

#[tokio::test]
async fn what_a_caller_does_wrong_is_answered_with_what_to_do() {
    let mut mistakes = Mistakes::of("requests");
    let refuses = server(|_| refusal(401, "invalid_client", "Client authentication failed")).await;
    let api = server(|_| granted()).await;
    let away = nobody();
    let toml = format!(
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[listeners.base]\naddress = \"127.0.0.1:0\"\n\
         mode = \"reverse\"\nupstream = \"away\"\n[credentials.orders]\ntoken_endpoint = \"{}/token\"\n\
         client_id = \"orders-batch\"\nclient_secret = {{ env = \"SECRET\" }}\n[upstreams.orders]\norigin = \"{}\"\n\
         credential = \"orders\"\n[upstreams.away]\norigin = \"http://{away}\"\n\
         allow = [{{ methods = [\"GET\"], paths = [\"/v1/*\"] }}]\n",
        refuses.origin(),
        api.origin()
    );
    for port in [refuses.address().port(), api.address().port(), away.port()] {
        mistakes.mask(port.to_string(), "PORT");
    }
    let place = folder(&toml);
    let running = place.start(&["run"]);
    let (proxy, base) = (running.address("proxy").await, running.address("base").await);
    mistakes.mask(proxy.port().to_string(), "PROXY");
    mistakes.mask(base.port().to_string(), "BASE");
    let host = api.address();
    for (name, to, request) in [
        ("proxy_taken_for_a_server", proxy, format!("GET /v1/orders HTTP/1.1\r\nHost: {proxy}")),
        (
            "host_without_upstream",
            proxy,
            "GET http://other.example.com/ HTTP/1.1\r\nHost: other.example.com".to_owned(),
        ),
        (
            "tunnel_without_upstream",
            proxy,
            "CONNECT other.example.com:443 HTTP/1.1\r\nHost: other.example.com:443".to_owned(),
        ),
        ("two_hosts", proxy, format!("GET http://{host}/ HTTP/1.1\r\nHost: other.example.com")),
        ("token_refused", proxy, format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}")),
        ("api_that_is_away", proxy, format!("GET http://{away}/v1/x HTTP/1.1\r\nHost: {away}")),
        ("path_not_allowed", proxy, format!("GET http://{away}/v2/x HTTP/1.1\r\nHost: {away}")),
        ("method_not_allowed", proxy, format!("POST http://{away}/v1/x HTTP/1.1\r\nHost: {away}\r\nContent-Length: 0")),
        ("quote_in_a_query", proxy, format!("GET http://{host}/v1?q={{\"a\":1}} HTTP/1.1\r\nHost: {host}")),
        ("bracket_in_a_path", proxy, format!("GET http://{host}/v1/<b> HTTP/1.1\r\nHost: {host}")),
        ("backtick_in_a_path", base, "GET /v1/`b HTTP/1.1\r\nHost: localhost".to_owned()),
        ("blank_in_a_path", base, "GET /v1/a b HTTP/1.1\r\nHost: localhost".to_owned()),
        ("base_url_by_another_name", base, "GET /v1/x HTTP/1.1\r\nHost: evil.example.com".to_owned()),
    ] {
        sent(&mut mistakes, name, to, &request).await;
    }
    mistakes.finish();
}

#[tokio::test]
async fn what_no_answer_can_tell_is_told_once_in_the_log() {
    let mut mistakes = Mistakes::of("log");
    let (api, ca) = (server(|_| granted()).await, TestCa::new());
    let front = TlsFront::start(ca.server(&["localhost"], &["http/1.1"]), api.address()).await;
    let origin = format!("localhost:{}", front.address().port());
    mistakes.mask(front.address().port().to_string(), "PORT");
    mistakes.mask(api.address().port().to_string(), "PORT");
    let toml = format!(
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[credentials.orders]\n\
         token_endpoint = \"{}/token\"\nclient_id = \"orders-batch\"\nclient_secret = {{ env = \"SECRET\" }}\n\
         [upstreams.orders]\norigin = \"https://{origin}\"\ncredential = \"orders\"\n{}",
        api.origin(),
        ca.trusted()
    );
    let place = folder(&toml);
    let running = place.start(&["run"]);
    let proxy = running.address("proxy").await;
    mistakes.mask(proxy.port().to_string(), "PROXY");
    for _times in 0..2 {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream.write_all(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").as_bytes()).await.unwrap();
        assert!(crate::support::read_head(&mut stream).await.starts_with("HTTP/1.1 200"));
        assert!(ca.try_connect("localhost", stream).await.is_ok(), "the tunnel passes unread");
    }
    running.says("carries no token").await;
    mistakes.said("https_without_a_ca", &told(&running));

    let intercepting = folder(&format!("{toml}[intercept]\nca_certificate = \"ca.pem\"\nca_key = \"ca.key\"\n"));
    let made = intercepting.run(&["ca", "init", "--directory", "."]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let running = intercepting.start(&["run"]);
    let proxy = running.address("proxy").await;
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").as_bytes()).await.unwrap();
    assert!(crate::support::read_head(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert!(ca.try_connect("localhost", stream).await.is_err(), "another authority is trusted");
    running.says("ended the TLS handshake").await;
    mistakes.said("caller_that_does_not_trust_the_ca", &told(&running));

    // A proxy's URL with https:// in it.
    let stream = TcpStream::connect(proxy).await.unwrap();
    assert!(ca.try_connect("localhost", stream).await.is_err(), "the listener speaks no TLS");
    running.says("spoke TLS").await;
    let said = told(&running);
    mistakes.said("tls_to_a_listener_in_clear", said.lines().last().unwrap_or_default());

    for _times in 0..2 {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream.write_all(b"GET /v1?q={\"sentinel\":1} HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(crate::support::read_head(&mut stream).await.starts_with("HTTP/1.1 400"));
    }
    running.says("that cannot be read").await;
    let said = told(&running);
    mistakes.said("raw_character_in_a_target", said.lines().last().unwrap_or_default());
    assert!(!running.stderr().contains("sentinel"), "{}", running.stderr());
    mistakes.finish();
}
