//! A small API that accepts one authorization server's tokens and nothing else (RFC 6750).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::authorization_server::Verifier;
use super::server::Server;
use super::signing::Claims;

/// A running API: `GET /orders` (scope `orders.read`), `POST /orders` (scope `orders.write`; answers how many bytes it
/// got), `GET /whoami`. Dropping it stops it.
#[derive(Debug)]
pub struct Api {
    server: Server,
    counts: Arc<Counts>,
}

impl Api {
    /// Starts the API on `address` (port 0 takes a free one), on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: SocketAddr, verifier: Verifier) -> io::Result<Self> {
        let counts = Arc::new(Counts::default());
        let gate = Gate { verifier, counts: Arc::clone(&counts) };
        let router = Router::new()
            .route("/orders", get(orders).post(order))
            .route("/whoami", get(whoami))
            .layer(from_fn_with_state(gate, admit));
        Ok(Self { server: Server::start(TcpListener::bind(address).await?, router)?, counts })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How many requests it has seen.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.counts.seen.load(Ordering::Relaxed)
    }

    /// How many of them it answered with 401.
    #[must_use]
    pub fn unauthorized(&self) -> u64 {
        self.counts.unauthorized.load(Ordering::Relaxed)
    }

    /// `false`: connections are closed without an answer, until `true`.
    pub fn set_up(&self, up: bool) {
        self.server.set_up(up);
    }

    /// Stops it; the port is free again soon after.
    pub fn stop(self) {}
}

#[derive(Debug, Default)]
struct Counts {
    seen: AtomicU64,
    unauthorized: AtomicU64,
}

#[derive(Clone)]
struct Gate {
    verifier: Verifier,
    counts: Arc<Counts>,
}

/// Lets requests with a good token in, with its claims.
async fn admit(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    gate.counts.seen.fetch_add(1, Ordering::Relaxed);
    let response = match claims(&gate.verifier, request.headers()) {
        Ok(claims) => {
            request.extensions_mut().insert(claims);
            next.run(request).await
        }
        Err(response) => *response,
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        gate.counts.unauthorized.fetch_add(1, Ordering::Relaxed);
    }
    response
}

fn claims(verifier: &Verifier, headers: &HeaderMap) -> Result<Claims, Box<Response>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let refuse = |status, challenge: &str, why: &str| Err(Box::new(refusal(status, challenge, why)));
    match (values.next(), values.next()) {
        // RFC 6750 section 3.1: who sent no authentication is told no error code.
        (None, _) => refuse(StatusCode::UNAUTHORIZED, "Bearer realm=\"orders\"", "this API wants an access token"),
        (Some(_), Some(_)) => {
            let challenge = "Bearer realm=\"orders\", error=\"invalid_request\"";
            refuse(StatusCode::BAD_REQUEST, challenge, "more than one Authorization field")
        }
        (Some(value), None) => {
            let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).unwrap_or_default();
            if !scheme.eq_ignore_ascii_case("bearer") {
                let why = "this API wants a Bearer token";
                return refuse(StatusCode::UNAUTHORIZED, "Bearer realm=\"orders\"", why);
            }
            verifier.verify(token).or_else(|fault| {
                let challenge =
                    format!("Bearer realm=\"orders\", error=\"invalid_token\", error_description=\"{fault}\"");
                refuse(StatusCode::UNAUTHORIZED, &challenge, &fault.to_string())
            })
        }
    }
}

/// RFC 6750 section 3.1: 403 with the scope that would do.
fn insufficient_scope(scope: &str) -> Response {
    let challenge = format!("Bearer realm=\"orders\", error=\"insufficient_scope\", scope=\"{scope}\"");
    refusal(StatusCode::FORBIDDEN, &challenge, "the token's scope does not reach this far")
}

fn allows(claims: &Claims, scope: &str) -> bool {
    claims.scope.split(' ').any(|granted| granted == scope)
}

fn refusal(status: StatusCode, challenge: &str, why: &str) -> Response {
    (status, [(header::WWW_AUTHENTICATE, challenge)], Json(json!({ "error": why }))).into_response()
}

async fn orders(Extension(claims): Extension<Claims>) -> Response {
    if !allows(&claims, "orders.read") {
        return insufficient_scope("orders.read");
    }
    Json(json!([{"id": 1, "item": "a diplomatic bag"}, {"id": 2, "item": "sealing wax"}])).into_response()
}

/// Counts the bytes as they come, so that a body of any size passes.
async fn order(Extension(claims): Extension<Claims>, mut body: Body) -> Response {
    if !allows(&claims, "orders.write") {
        return insufficient_scope("orders.write");
    }
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => received += frame.data_ref().map_or(0, Bytes::len),
            Err(_broken) => return StatusCode::BAD_REQUEST.into_response(),
        }
    }
    (StatusCode::CREATED, Json(json!({ "received": received }))).into_response()
}

async fn whoami(Extension(claims): Extension<Claims>) -> Json<Value> {
    Json(json!({"client_id": claims.client_id, "scope": claims.scope, "token": claims.jti}))
}

#[cfg(test)]
mod tests;
