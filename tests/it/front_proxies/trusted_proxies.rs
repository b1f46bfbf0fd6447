//! `listeners.L.trusted_proxies`: an address in `X-Forwarded-For` or `Forwarded`.

use super::{Front, v1};
use crate::support::{Answer, Caller, TestProxy, send};

const OURS: &str = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n";

async fn ask(front: &Front, path: &str, fields: &str) -> Answer {
    send(front.proxy.address("base"), format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")).await
}

#[tokio::test]
async fn the_last_address_that_is_not_a_proxys_is_the_callers_whatever_stands_before_it() {
    let front = Front::start(OURS, "").await;
    for (path, fields, address) in [
        ("/one", "X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("/chain", "X-Forwarded-For: 192.0.2.7, 10.1.1.1\r\nX-Forwarded-For: 10.2.2.2\r\n", "192.0.2.7"),
        ("/forged", "X-Forwarded-For: 127.0.0.1, 10.1.1.1, 198.51.100.1, 192.0.2.7\r\n", "192.0.2.7"),
        ("/rfc", "Forwarded: for=198.51.100.1, for=\"[2001:db8::7]:80\";proto=https, for=10.1.1.1\r\n", "2001:db8::7"),
        ("/agree", "Forwarded: for=192.0.2.7\r\nX-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n", "192.0.2.7"),
    ] {
        assert_eq!(ask(&front, path, fields).await.status, 200, "{path}");
        assert_eq!(front.peer(path).await, address, "{path}");
    }
    for (path, fields) in [("/none", ""), ("/unknown", "X-Forwarded-For: 192.0.2.7, unknown\r\n")] {
        assert_eq!(ask(&front, path, fields).await.status, 200);
        assert!(front.peer(path).await.starts_with("127.0.0.1:"), "{path}");
    }
    // What comes goes on as it came.
    let asked = front.api.asked();
    let chain = asked.iter().find(|asked| asked.target() == "/chain").unwrap();
    assert_eq!(chain.all("x-forwarded-for"), ["192.0.2.7, 10.1.1.1", "10.2.2.2"]);
}

#[tokio::test]
async fn from_elsewhere_no_field_is_read() {
    let front = Front::start("trusted_proxies = [\"10.0.0.0/8\"]\n", "").await;
    let fields = "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=\"broken\r\n";
    assert_eq!(ask(&front, "/", fields).await.status, 200);
    assert!(front.peer("/").await.starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn two_fields_that_do_not_agree_are_refused_unless_one_of_them_is_named() {
    let both = "Forwarded: for=198.51.100.1\r\nX-Forwarded-For: 192.0.2.7\r\n";
    let front = Front::start(OURS, "").await;
    let refused = ask(&front, "/", both).await;
    refused.assert_own_failure(400, "http_request_error");
    assert!(refused.text().contains("trusted_proxies = { networks = "), "{}", refused.text());
    let broken = ask(&front, "/", "Forwarded: for=\"198.51.100.1, for=192.0.2.7\r\n").await;
    broken.assert_own_failure(400, "http_request_error");
    assert_eq!(front.api.requests(), 0);
    for (field, address) in [("Forwarded", "198.51.100.1"), ("X-Forwarded-For", "192.0.2.7")] {
        let keys = format!("trusted_proxies = {{ networks = [\"127.0.0.1\"], field = \"{field}\" }}\n");
        let front = Front::start(&keys, "").await;
        assert_eq!(ask(&front, "/", both).await.status, 200);
        assert_eq!(front.peer("/").await, address, "{field}");
    }
}

#[tokio::test]
async fn callers_behind_one_proxy_have_limits_of_their_own() {
    let limits = "[limits]\nrequests_per_second_per_caller = 1\nconnections_per_address = 1\n";
    let front = Front::start(OURS, limits).await;
    // One connection of the proxy's beside another: they are not one caller's.
    let address = front.proxy.address("base");
    let (mut one, mut other) = (Caller::connect(address).await, Caller::connect(address).await);
    let request = |ip: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {ip}\r\n\r\n");
    let mut refused = 0;
    for number in 0..10 {
        one.write(request("192.0.2.7")).await;
        refused += usize::from(one.answer().await.status == 429);
        other.write(request(&format!("192.0.2.{}", 100 + number))).await;
        assert_eq!(other.answer().await.status, 200, "each asks once");
    }
    assert!(refused > 0, "ten at once are more than one in a second");
}

#[tokio::test]
async fn what_is_written_inside_of_a_tunnel_is_the_callers_own_word() {
    let toml = format!("[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n{OURS}");
    let front = Front::with(&toml, TestProxy::start).await;
    let host = front.api.address();
    let mut tunnel = Caller::connect(front.proxy.address("proxy")).await;
    tunnel
        .write(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n\r\n"))
        .await;
    assert_eq!(tunnel.answer_head().await.status, 200);
    tunnel.write(format!("GET /inside HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n")).await;
    assert_eq!(tunnel.answer().await.status, 200);
    drop(tunnel);
    assert_eq!((front.peer("/inside").await, front.peer("").await), ("192.0.2.7".into(), "192.0.2.7".into()));
}

/// A balancer of connections in front of a proxy of requests: the header says where that is.
#[tokio::test]
async fn a_proxy_behind_a_balancer_is_known_by_the_address_that_the_header_tells() {
    let front = Front::start("proxy_protocol = [\"127.0.0.1\"]\ntrusted_proxies = [\"10.0.0.0/8\"]\n", "").await;
    for (path, told, address) in
        [("/proxy", "10.1.1.1:5123", "192.0.2.7"), ("/stranger", "198.51.100.1:5123", "198.51.100.1:5123")]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n");
        assert_eq!(send(front.proxy.address("base"), v1(told) + &request).await.status, 200);
        assert_eq!(front.peer(path).await, address);
    }
}
