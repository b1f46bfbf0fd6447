//! One upstream with one credential behind a reverse listener: what most conversations about tokens need.

use std::collections::BTreeMap;

use super::{Answer, Asked, Caller, Reply, Scripted, TestProxy, TokenServer, get, send};

/// A token server, an upstream, and attache between them and the test.
pub struct World {
    pub tokens: TokenServer,
    pub api: Scripted,
    pub proxy: TestProxy,
}

impl World {
    /// Tokens that live for an hour; the upstream answers by this script.
    pub async fn new(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::configured("", script).await
    }

    /// As [`World::new`], with more lines for `[upstreams.api]`, behind which other tables may follow.
    pub async fn configured(upstream: &str, script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(TokenServer::start().await, "", upstream, script).await
    }

    /// With this token server, and more lines for `[credentials.api]` and `[upstreams.api]`.
    pub async fn with(
        tokens: TokenServer,
        credential: &str,
        upstream: &str,
        script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let api = Scripted::start(script).await;
        let proxy = TestProxy::start(&Self::toml(&tokens.endpoint(), &api.origin(), credential, upstream));
        Self { tokens, api, proxy }
    }

    /// The configuration: a reverse listener `api`, a forward listener `proxy`, the admin listener.
    pub fn toml(endpoint: &str, origin: &str, credential: &str, upstream: &str) -> String {
        let client = "client_id = \"me\"\nclient_secret = \"s3cret-of-mine\"";
        Self::toml_of(&format!("token_endpoint = \"{endpoint}\"\n{client}\n{credential}"), origin, upstream)
    }

    /// The same with this for the whole of `[credentials.api]`.
    pub fn toml_of(credential: &str, origin: &str, upstream: &str) -> String {
        format!(
            r#"
[listeners.api]
address = "127.0.0.1:0"
mode = "reverse"
upstream = "api"
[listeners.proxy]
address = "127.0.0.1:0"
mode = "forward"
[admin]
address = "127.0.0.1:0"
[credentials.api]
{credential}
[upstreams.api]
origin = "{origin}"
credential = "api"
{upstream}
"#
        )
    }

    /// `GET path` through the reverse listener.
    pub async fn get(&self, path: &str) -> Answer {
        get(self.proxy.address("api"), "localhost", path).await
    }

    /// Raw bytes through the reverse listener, on a connection of their own.
    pub async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        send(self.proxy.address("api"), request).await
    }

    /// A connection to the reverse listener.
    pub async fn caller(&self) -> Caller {
        Caller::connect(self.proxy.address("api")).await
    }

    /// `attache_unauthorized_total` by outcome.
    pub async fn unauthorized(&self) -> BTreeMap<String, u64> {
        let answer = get(self.proxy.address("admin"), "127.0.0.1", "/metrics").await;
        let series = |line: &str| {
            let rest = line.strip_prefix("attache_unauthorized_total{upstream=\"api\",outcome=\"")?;
            let (outcome, count) = rest.split_once("\"} ")?;
            Some((outcome.to_owned(), count.parse().unwrap()))
        };
        answer.text().lines().filter_map(series).collect()
    }

    /// Exactly these outcomes have been counted.
    #[track_caller]
    pub fn assert_unauthorized(counted: &BTreeMap<String, u64>, expected: &[(&str, u64)]) {
        let expected: BTreeMap<String, u64> =
            expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(*counted, expected);
    }

    /// The `Authorization` of every request that reached the upstream.
    pub fn authorizations(&self) -> Vec<String> {
        let of = |asked: &Asked| asked.field("authorization").unwrap_or("none").to_owned();
        self.api.asked().iter().map(of).collect()
    }
}
