//! h2load (nghttp2), unmodified, with a hundred streams on each of its connections: every request is answered, and nothing of
//! them is left.

use std::path::Path;

use tokio::process::Command;

use crate::clients::there_is;
use crate::support::{ADMIN, Asked, Reply, Scripted, TestProxy, TokenServer, credential, reverse, until, upstream};

const LARGE: usize = 100_000;

/// Takes nobody without a token, and nothing but whole uploads.
fn api(asked: &Asked, _: usize) -> Reply {
    let has_token = asked.field("authorization").is_some_and(|token| token.starts_with("Bearer token-"));
    match asked.target() {
        _ if !has_token => Reply::new(401, "WWW-Authenticate: Bearer\r\n", "no token"),
        "/large" => Reply::ok(&"x".repeat(LARGE)),
        "/upload" if asked.body.len() != LARGE => Reply::new(422, "", "that is not the whole of it"),
        _ => Reply::ok("fine"),
    }
}

struct Load {
    proxy: TestProxy,
    api: Scripted,
    _tokens: TokenServer,
}

impl Load {
    async fn new() -> Self {
        let (tokens, api) = (TokenServer::start().await, Scripted::start(api).await);
        let config = format!("{}{ADMIN}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin()));
        Self { proxy: TestProxy::start_with(&config, 2), api, _tokens: tokens }
    }

    /// So many requests over four connections.
    async fn asks(&self, requests: usize, path: &str, more: &[&str]) {
        let (number, url) = (requests.to_string(), format!("http://{}{path}", self.proxy.address("base")));
        let mut h2load = Command::new("h2load");
        h2load.args(["-n", &number, "-c", "4", "-m", "100", "-T", "60", "-N", "60"]).args(more).arg(&url);
        let output = h2load.kill_on_drop(true).output().await.unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let all = format!(
            "requests: {requests} total, {requests} started, {requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout"
        );
        assert!(told.contains(&all), "{told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.contains(&format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{told}");
        assert_eq!(self.api.requests(), requests, "each is asked for once");
    }

    async fn is_empty(&self) {
        until("no connection is left", || async { self.proxy.metric("attache_caller_connections").await == 0.0 }).await;
    }
}

#[tokio::test]
async fn thousands_of_small_requests() {
    if !there_is("h2load", &["--version"]) {
        return;
    }
    let load = Load::new().await;
    load.asks(4000, "/", &[]).await;
    load.is_empty().await;
}

#[tokio::test]
async fn hundreds_of_downloads() {
    if !there_is("h2load", &["--version"]) {
        return;
    }
    let load = Load::new().await;
    // A window of 64 KiB, for each answer and for all of a connection.
    load.asks(400, "/large", &["-w", "16", "-W", "16"]).await;
    load.is_empty().await;
}

#[tokio::test]
async fn hundreds_of_uploads() {
    if !there_is("h2load", &["--version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, vec![b'x'; LARGE]).unwrap();
    let load = Load::new().await;
    load.asks(400, "/upload", &["-d", path(&file)]).await;
    load.is_empty().await;
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}
