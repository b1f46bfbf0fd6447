//! haproxy and curl as they are.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::Front;
use crate::support::{Caller, skipped, until};

struct Haproxy {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Haproxy {
    /// In front of a server, with these words for it and these lines for its section. `None` if it is not installed.
    async fn start(server: SocketAddr, words: &str, lines: &str) -> Option<(Self, SocketAddr)> {
        let folder = tempfile::tempdir().unwrap();
        // A port that is free a moment before; another test may take it, which is then tried again.
        for _ in 0..5 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let config = format!(
                "defaults\n  timeout connect 10s\n  timeout client 30s\n  timeout server 30s\n\
                 listen front\n  bind {free}\n{lines}  server attache {server} {words}\n"
            );
            let path = folder.path().join("haproxy.cfg");
            std::fs::write(&path, config).unwrap();
            // Debian has it where only root looks.
            let search = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(&path).env("PATH", search).stdout(Stdio::null()).stderr(Stdio::null());
            let child = std::cell::RefCell::new(command.spawn().ok()?);
            let has_ended = || child.borrow_mut().try_wait().unwrap().is_some();
            let listens = async || tokio::net::TcpStream::connect(free).await.is_ok();
            until("haproxy listens or has ended", async || has_ended() || listens().await).await;
            if !has_ended() {
                return Some((Self { child: child.into_inner(), _folder: folder }, free));
            }
        }
        panic!("haproxy does not start");
    }
}

/// On Linux every address of 127.0.0.0/8 is this machine's.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_haproxy_says_of_its_callers_is_read() {
    let protocol = "proxy_protocol = [\"127.0.0.1\"]\n";
    let trusted = "trusted_proxies = [\"127.0.0.1\"]\n";
    for (name, keys, words, lines) in [
        ("version 1", protocol, "send-proxy", "  mode tcp\n"),
        ("version 2", protocol, "send-proxy-v2", "  mode tcp\n"),
        (
            "more fields",
            protocol,
            "send-proxy-v2 proxy-v2-options crc32c,unique-id",
            "  mode http\n  unique-id-format %ID\n",
        ),
        ("checks", protocol, "send-proxy-v2 check check-send-proxy inter 50ms", "  mode tcp\n"),
        ("checks without it", protocol, "send-proxy-v2 check inter 50ms", "  mode tcp\n"),
        ("forwardfor", trusted, "", "  mode http\n  option forwardfor\n"),
    ] {
        let front = Front::start(keys, "").await;
        let Some((_haproxy, address)) = Haproxy::start(front.proxy.address("base"), words, lines).await else {
            return skipped("haproxy is not installed");
        };
        // From an address that is not among the proxies'.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut caller = Caller::over(socket.connect(address).await.unwrap());
        let own = caller.stream.local_addr().unwrap();
        caller.write("GET /asked HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n").await;
        assert_eq!(caller.answer().await.status, 200, "{name}");
        let expected = if keys == trusted { own.ip().to_string() } else { own.to_string() };
        assert_eq!(front.peer("/asked").await, expected, "{name}");
        for reason in ["missing", "malformed", "timeout"] {
            let series = format!("attache_proxy_protocol_errors_total{{listener=\"base\",reason=\"{reason}\"}}");
            assert_eq!(front.proxy.metric(&series).await, 0.0, "{name}: {reason}");
        }
    }
}

#[tokio::test]
async fn curl_says_where_it_is() {
    let front = Front::start("proxy_protocol = [\"127.0.0.1\"]\n", "").await;
    let url = format!("http://{}/curl", front.proxy.address("base"));
    let mut command = Command::new("curl");
    command.args([
        "-sS",
        "--max-time",
        "20",
        "--noproxy",
        "*",
        "--haproxy-protocol",
        "-w",
        " %{local_ip}:%{local_port}",
        &url,
    ]);
    let Ok(output) = tokio::task::spawn_blocking(move || command.output()).await.unwrap() else {
        return skipped("curl is not installed");
    };
    let said = String::from_utf8(output.stdout).unwrap();
    let own = said.strip_prefix("fine ").unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(front.peer("/curl").await, own);
}
