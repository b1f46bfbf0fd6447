//! `DPoP` (RFC 9449): unmodified programs use tokens that are bound to a key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use crate::support::{Asked, Reply, TokenServer, World};

const BOUND: &str = "dpop = true";

/// A proof whose signature holds: its header and its claims.
fn proof(asked: &Asked) -> (Value, Value) {
    assert_eq!(asked.all("dpop").len(), 1, "{asked:?}");
    let jwt = asked.field("dpop").unwrap();
    let header = jsonwebtoken::decode_header(jwt).unwrap();
    let key: Jwk = header.jwk.unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(jwt, &DecodingKey::from_jwk(&key).unwrap(), &validation).unwrap().claims;
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap()).unwrap();
    (header, claims)
}

fn granted(token: &str) -> Reply {
    Reply::ok(&format!(r#"{{"access_token":"{token}","token_type":"DPoP","expires_in":3600}}"#))
}

async fn tokens() -> TokenServer {
    TokenServer::scripted(|_, number| granted(&format!("bound-{}", number + 1))).await
}

fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()))
}

#[tokio::test]
async fn every_request_carries_a_proof_of_its_own() {
    let world = World::with(tokens().await, BOUND, "", |_, _| Reply::ok("fine")).await;
    let theirs = "GET /a%20b?secret=1 HTTP/1.1\r\nHost: localhost\r\nDPoP: theirs\r\nConnection: dpop\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(world.send(theirs).await.status, 200);
    }
    let asked = world.api.asked();
    let (header, claims) = proof(&asked[0]);
    assert_eq!(header["typ"], "dpop+jwt");
    assert!(header["jwk"].get("d").is_none());
    assert_eq!(asked[0].field("authorization"), Some("DPoP bound-1"));
    assert_eq!((&claims["htm"], &claims["htu"]), (&"GET".into(), &format!("{}/a%20b", world.api.origin()).into()));
    assert_eq!(claims["ath"], hash("bound-1"));
    let (_, again) = proof(&asked[1]);
    assert_ne!(claims["jti"], again["jti"], "no proof is used twice");
    assert_eq!(world.tokens.requests(), 1);
}

#[tokio::test]
async fn the_token_request_is_proven_with_the_same_key() {
    let keys = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&keys);
    let tokens = TokenServer::scripted(move |asked, _| {
        let (header, claims) = proof(asked);
        seen.lock().unwrap().push(header["jwk"].clone());
        assert_eq!((claims["htm"].as_str(), claims.get("ath")), (Some("POST"), None));
        granted("bound")
    });
    let world = World::with(tokens.await, BOUND, "", |_, _| Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(proof(&world.api.asked()[0]).0["jwk"], keys.lock().unwrap()[0]);
}

/// Wants this nonce, and takes nothing else.
fn wanting(nonce: &'static str) -> impl Fn(&Asked, usize) -> Reply {
    move |asked, _| {
        if proof(asked).1["nonce"] == nonce {
            return Reply::ok(std::str::from_utf8(&asked.body).unwrap());
        }
        let fields = format!("WWW-Authenticate: DPoP error=\"use_dpop_nonce\"\r\nDPoP-Nonce: {nonce}\r\n");
        Reply::new(401, &fields, "a nonce, please")
    }
}

/// The same, and refuses the first token.
fn refusing_the_first(nonce: &'static str) -> impl Fn(&Asked, usize) -> Reply {
    let wanting = wanting(nonce);
    move |asked, number| {
        if asked.field("authorization") == Some("DPoP bound-1") && proof(asked).1["nonce"] == nonce {
            return Reply::new(401, "WWW-Authenticate: DPoP error=\"invalid_token\"\r\n", "");
        }
        wanting(asked, number)
    }
}

#[tokio::test]
async fn a_nonce_that_the_upstream_wants_costs_neither_a_token_nor_the_callers_request() {
    let world = World::with(tokens().await, BOUND, "", wanting("n-1")).await;
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody";
    let answer = world.send(post).await;
    assert_eq!((answer.status, answer.text()), (200, "body"));
    assert_eq!((world.api.requests(), world.tokens.requests()), (2, 1));
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.api.requests(), 3, "the nonce is kept");
    assert!(world.unauthorized().await.is_empty(), "it was no refusal of the token");
}

#[tokio::test]
async fn a_refused_token_is_renewed_after_a_nonce_was_wanted() {
    let world = World::with(tokens().await, BOUND, "", refusing_the_first("n-1")).await;
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody";
    let answer = world.send(post).await;
    assert_eq!((answer.status, answer.text()), (200, "body"));
    assert_eq!(proof(world.api.asked().last().unwrap()).1["ath"], hash("bound-2"));
    World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);
}

#[tokio::test]
async fn an_upstream_that_is_never_pleased_gets_two_tries_and_no_token() {
    let script = |_: &Asked, number: usize| {
        let fields = format!("WWW-Authenticate: DPoP error=\"use_dpop_nonce\"\r\nDPoP-Nonce: n-{number}\r\n");
        Reply::new(401, &fields, "")
    };
    let world = World::with(tokens().await, BOUND, "", script).await;
    assert_eq!(world.get("/").await.status, 401);
    assert_eq!((world.api.requests(), world.tokens.requests()), (2, 1));
}

#[tokio::test]
async fn a_nonce_given_with_any_answer_is_in_the_next_proof() {
    let script = |_: &Asked, number: usize| Reply::new(200, &format!("DPoP-Nonce: n-{number}\r\n"), "");
    let world = World::with(tokens().await, BOUND, "", script).await;
    for _ in 0..3 {
        world.get("/").await;
    }
    let nonces: Vec<Value> = world.api.asked().iter().map(|asked| proof(asked).1["nonce"].clone()).collect();
    assert_eq!(nonces, [Value::Null, "n-0".into(), "n-1".into()]);
}

#[tokio::test]
async fn a_token_that_is_not_bound_is_refused() {
    let plain = TokenServer::scripted(|_, _| Reply::ok(&TokenServer::granted("plain", 60)));
    let world = World::with(plain.await, BOUND, "", |_, _| Reply::ok("fine")).await;
    let answer = world.get("/").await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("not bound to attache's key"), "{}", answer.text());
    assert_eq!(world.api.requests(), 0);
}

#[tokio::test]
async fn a_request_that_goes_out_again_has_another_proof() {
    // The second request meets a connection that ends without a word.
    let script = |asked: &Asked, number: usize| match number {
        1 => Reply::HangUp,
        _ => Reply::ok(asked.target()),
    };
    let world = World::with(tokens().await, BOUND, "", script).await;
    let mut caller = world.caller().await;
    for path in ["/first", "/second"] {
        caller.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(caller.answer().await.text(), path);
    }
    let asked = world.api.asked();
    assert_eq!((asked.len(), asked[1].target(), asked[2].target()), (3, "/second", "/second"));
    assert_ne!(proof(&asked[1]).1["jti"], proof(&asked[2]).1["jti"], "no proof is used twice");
}

#[tokio::test]
async fn trailers_go_along_each_time() {
    let world = World::with(tokens().await, BOUND, "", refusing_the_first("n-1")).await;
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
        4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n";
    assert_eq!(world.send(post).await.text(), "body");
    let trailers: Vec<_> = world.api.asked().into_iter().map(|asked| asked.trailers).collect();
    // For want of a nonce, for the token, and then right.
    let each = vec![("x-sum".to_owned(), "7".to_owned())];
    assert_eq!(trailers, [each.clone(), each.clone(), each]);
}
