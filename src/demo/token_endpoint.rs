//! The endpoints of the demo's authorization server: token (RFC 6749 section 3.2), revocation (RFC 7009), metadata
//! (RFC 8414) and keys (RFC 7517).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::client::{Client, Form, authenticate};
use super::refusal::{Refusal, no_store};
use super::signing::{Claims, now, random_name};
use super::state::Shared;

/// All endpoints over one state.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/token", post(token))
        .route("/revoke", post(revoke))
        .route("/jwks", get(jwks))
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .with_state(shared)
}

async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let scripted = shared.token_requested();
    tokio::time::sleep(scripted.delay).await;
    if let Some(failure) = scripted.failure {
        return (failure.status, failure.headers, failure.body).into_response();
    }
    match issue(&shared, &headers, &body) {
        Ok(answer) => (no_store(), Json(answer)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn issue(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
    let form = Form::read(headers, body)?;
    let client = authenticate(&shared.clients, headers, &form)?;
    match form.get("grant_type") {
        Some("client_credentials") => {}
        Some(_) => return Err(Refusal::bad("unsupported_grant_type", "only client_credentials is spoken here")),
        None => return Err(Refusal::bad("invalid_request", "grant_type is missing")),
    }
    if form.get("audience").is_some_and(|audience| audience != shared.audience) {
        return Err(Refusal::bad("invalid_target", "no API of that name is known here"));
    }
    let scope = granted_scope(client, form.get("scope"))?;
    let unavailable = Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        code: "server_error",
        description: "no token can be made",
    };
    let Ok(jti) = random_name() else { return Err(unavailable) };
    let (lifetime, issued_at) = (shared.lifetime().as_secs(), now());
    let claims = Claims {
        iss: shared.issuer.clone(),
        sub: client.id.clone(),
        client_id: client.id.clone(),
        aud: shared.audience.clone(),
        scope: scope.clone(),
        iat: issued_at,
        exp: issued_at + lifetime,
        jti,
    };
    let Ok(access_token) = shared.key.sign(&claims) else { return Err(unavailable) };
    shared.token_issued(&claims);
    Ok(json!({"access_token": access_token, "token_type": "Bearer", "expires_in": lifetime, "scope": scope}))
}

/// RFC 6749 section 3.3: what was asked for, if all of it is allowed; without a wish, everything that is.
fn granted_scope(client: &Client, asked: Option<&str>) -> Result<String, Refusal> {
    let Some(asked) = asked else { return Ok(client.scopes.join(" ")) };
    let mut scopes: Vec<&str> = asked.split_whitespace().collect();
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.iter().any(|scope| !client.scopes.iter().any(|allowed| allowed == scope)) {
        return Err(Refusal::bad("invalid_scope", "this client may not have that scope"));
    }
    Ok(scopes.join(" "))
}

/// RFC 7009 section 2.2: 200 for a token that is revoked now, and for one that never was valid.
async fn revoke(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let revoked = Form::read(&headers, &body).and_then(|form| {
        let client = authenticate(&shared.clients, &headers, &form)?;
        let token = form.get("token").ok_or_else(|| Refusal::bad("invalid_request", "token is missing"))?;
        if let Some(claims) = shared.key.open(token).filter(|claims| claims.client_id == client.id) {
            shared.revoke(&claims.jti);
        }
        Ok(())
    });
    match revoked {
        Ok(()) => (StatusCode::OK, no_store()).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn jwks(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.key.jwks())
}

async fn metadata(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let issuer = &shared.issuer;
    let methods = ["client_secret_basic", "client_secret_post"];
    Json(json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/token"),
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint": format!("{issuer}/revoke"),
        "revocation_endpoint_auth_methods_supported": methods,
        "jwks_uri": format!("{issuer}/jwks"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "scopes_supported": shared.scopes(),
    }))
}
