//! Fakes good enough to ship: an authorization server, and an API that accepts only its tokens. `attache demo` tells
//! its story with them, and the tests use the same ones, so the demo cannot rot.

mod api;
mod ask;
mod authorization_server;
mod client;
mod refusal;
mod server;
mod signing;
mod state;
mod token_endpoint;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

pub use api::Api;
pub use ask::{Reply, ask};
pub use authorization_server::{AuthorizationServer, Verifier};
pub use client::Client;
pub use signing::Claims;
pub use state::TokenFault;

/// The demo's client.
pub const CLIENT_ID: &str = "orders-batch";
/// Its secret, which is none. Colon and spaces are there to show that they are no trouble (RFC 6749 section 2.3.1).
pub const CLIENT_SECRET: &str = "demo only: not a secret";
/// What the client may do.
pub const SCOPES: [&str; 2] = ["orders.read", "orders.write"];
/// The API that the tokens are for.
pub const AUDIENCE: &str = "https://orders.example.com";

/// Ports on 127.0.0.1; 0 takes a free one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DemoPorts {
    /// The authorization server.
    pub authorization_server: u16,
    /// The API.
    pub api: u16,
    /// attache's forward listener.
    pub forward: u16,
    /// attache's reverse listener.
    pub reverse: u16,
    /// attache's admin listener.
    pub admin: u16,
}

/// Both servers, running. Dropping it stops them.
#[derive(Debug)]
pub struct Demo {
    /// Issues the tokens.
    pub authorization_server: AuthorizationServer,
    /// Wants them.
    pub api: Api,
    ports: DemoPorts,
}

impl Demo {
    /// The name of the forward listener in [`Demo::proxy_toml`].
    pub const FORWARD: &'static str = "proxy";
    /// The name of the reverse listener in [`Demo::proxy_toml`].
    pub const REVERSE: &'static str = "orders";

    /// Starts both on the current tokio runtime.
    ///
    /// # Errors
    /// When a port is taken.
    pub async fn start(ports: DemoPorts) -> io::Result<Self> {
        let client = Client::new(CLIENT_ID, CLIENT_SECRET, &SCOPES);
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let authorization_server =
            AuthorizationServer::start(at(ports.authorization_server), AUDIENCE, vec![client]).await?;
        let api = Api::start(at(ports.api), authorization_server.verifier()).await?;
        Ok(Self { authorization_server, api, ports })
    }

    /// The `proxy.toml` that puts attache between callers and the API.
    #[must_use]
    pub fn proxy_toml(&self) -> String {
        self.toml_at(self.ports)
    }

    /// The same for one of several proxies, whose reverse and admin listeners are on these ports.
    #[must_use]
    pub fn replica_toml(&self, reverse: u16, admin: u16) -> String {
        self.toml_at(DemoPorts { reverse, admin, ..DemoPorts::default() })
    }

    fn toml_at(&self, ports: DemoPorts) -> String {
        let DemoPorts { forward, reverse, admin, .. } = ports;
        let token_endpoint = self.authorization_server.token_endpoint();
        let [read, write] = SCOPES;
        let api = self.api.address();
        format!(
            r#"[listeners.{FORWARD}]
address = "127.0.0.1:{forward}"
mode = "forward"

[listeners.{REVERSE}]
address = "127.0.0.1:{reverse}"
mode = "reverse"
upstream = "orders"

[admin]
address = "127.0.0.1:{admin}"

[credentials.orders]
token_endpoint = "{token_endpoint}"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"
scope = ["{read}", "{write}"]

[upstreams.orders]
origin = "http://{api}"
credential = "orders"
"#,
            FORWARD = Self::FORWARD,
            REVERSE = Self::REVERSE,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_configuration_names_what_really_listens() {
        let demo = Demo::start(DemoPorts::default()).await.unwrap();
        let file: toml::Table = demo.proxy_toml().parse().unwrap();
        let origin = format!("http://{}", demo.api.address());
        assert_eq!(file["upstreams"]["orders"]["origin"].as_str(), Some(origin.as_str()));
        let endpoint = demo.authorization_server.token_endpoint();
        assert_eq!(file["credentials"]["orders"]["token_endpoint"].as_str(), Some(endpoint.as_str()));
        assert_eq!(file["credentials"]["orders"]["client_secret"].as_str(), Some(CLIENT_SECRET));
    }
}
