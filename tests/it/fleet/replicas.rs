//! Replicas: processes of the real binary, each in a folder of its own.

use std::net::SocketAddr;

use futures_util::future::join_all;

use super::around::Around;
use super::store::StoreServer;
use crate::support::{ADMIN, Answer, Folder, Running, get, send, until};

/// `openssl rand -hex 32`, once.
pub const KEY: &str = "6b1f0c5e2d9a4873b6f1e0d2c3a4958677fe10badc0ffee5a9b8c7d6e5f40312";

/// What stands in a replica's file. Made of parts, for each test changes another one.
#[derive(Clone)]
pub struct Toml {
    /// All of `[cache]`; empty for none.
    pub cache: String,
    pub endpoint: String,
    pub origin: String,
    /// More lines of `[credentials.api]`.
    pub credential: String,
}

impl Toml {
    /// With this server at its port.
    pub fn new(around: &Around, server: &StoreServer) -> Self {
        Self {
            cache: cache(&url(server)),
            endpoint: around.tokens.endpoint(),
            origin: around.api.origin(),
            credential: String::new(),
        }
    }

    /// With another `[cache]`.
    pub fn cache(self, cache: &str) -> Self {
        Self { cache: cache.to_owned(), ..self }
    }

    /// With more lines of `[credentials.api]`.
    pub fn credential(self, credential: &str) -> Self {
        Self { credential: credential.to_owned(), ..self }
    }

    pub fn text(&self) -> String {
        let Self { cache, endpoint, origin, credential } = self;
        format!(
            "[listeners.api]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\n{ADMIN}{cache}\
             [credentials.api]\ntoken_endpoint = \"{endpoint}\"\nclient_id = \"me\"\nclient_secret = \"s3cret\"\n{credential}\n\
             [upstreams.api]\norigin = \"{origin}\"\ncredential = \"api\"\n"
        )
    }
}

/// `redis://127.0.0.1:PORT`.
pub fn url(server: &StoreServer) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

/// `[cache]` with the usual key.
pub fn cache(url: &str) -> String {
    format!("[cache]\nshared = \"{url}\"\nkey = \"{KEY}\"\n")
}

/// A process that serves.
pub struct Replica {
    pub folder: Folder,
    pub running: Running,
    pub api: SocketAddr,
    admin: SocketAddr,
}

impl Replica {
    pub async fn start(toml: &Toml) -> Self {
        let folder = Folder::with(&toml.text());
        let running = folder.start(&["run", "--log", "info,attache::cache=debug,attache::token=debug"]);
        Self::started(folder, running).await
    }

    /// One that is on its way.
    pub async fn started(folder: Folder, running: Running) -> Self {
        let (api, admin) = (running.address("api").await, running.address("admin").await);
        Self { folder, running, api, admin }
    }

    /// A request of a caller, which does not fail: the number of the token that the API has taken.
    pub async fn ask(&self) -> usize {
        let answer = get(self.api, "localhost", "/").await;
        assert_eq!(answer.status, 200, "{}\n{}", String::from_utf8_lossy(&answer.body), self.running.stderr());
        answer.text().parse().unwrap()
    }

    /// Has a token obtained by the admin API.
    pub async fn refresh(&self) -> Answer {
        let head =
            "POST /api/credentials/api/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";
        send(self.admin, format!("{head}Content-Length: 0\r\n\r\n")).await
    }

    /// Another file, and its effect.
    pub async fn reload(&self, toml: &Toml) {
        let reloads = || self.running.stderr().matches("configuration reloaded").count();
        let before = reloads();
        self.folder.write("proxy.toml", &toml.text());
        self.running.signal("HUP");
        until("it is reloaded", || async { reloads() > before }).await;
    }

    /// A page of the admin listener.
    pub async fn page(&self, path: &str) -> Answer {
        get(self.admin, "127.0.0.1", path).await
    }
}

/// So many, started at once.
pub async fn start(toml: &Toml, count: usize) -> Vec<Replica> {
    join_all((0..count).map(|_| Replica::start(toml))).await
}

/// One request on each, at once: the numbers of the tokens.
pub async fn ask_all(replicas: &[Replica]) -> Vec<usize> {
    join_all(replicas.iter().map(Replica::ask)).await
}

/// Until all of them have the same token.
pub async fn until_one_fleet(replicas: &[Replica]) {
    until("all replicas have the same token", || async {
        let tokens = ask_all(replicas).await;
        tokens.iter().all(|token| *token == tokens[0])
    })
    .await;
}

/// Until so many are connected to the server.
pub async fn until_connected(server: &StoreServer, count: usize) {
    until("the replicas are connected", || async {
        server.cli(&["CLIENT", "LIST"]).lines().filter(|line| line.contains("name=attache")).count() == count
    })
    .await;
}
