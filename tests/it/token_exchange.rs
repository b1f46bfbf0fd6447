//! Token exchange (RFC 8693): each caller's own token becomes one for the upstream.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::Semaphore;

use crate::support::{Asked, Reply, TokenServer, World, send, until};

const EXCHANGE: &str = "grant = \"token_exchange\"\naudience = \"https://orders\"";

/// Exchanges `name` for `for-name-N`.
async fn tokens() -> TokenServer {
    TokenServer::scripted(|asked, number| {
        let form = std::str::from_utf8(&asked.body).unwrap();
        let subject = form.split('&').find_map(|field| field.strip_prefix("subject_token=")).unwrap();
        assert!(form.contains("subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"), "{form}");
        if subject == "expired" {
            return Reply::new(400, "", r#"{"error":"invalid_grant"}"#);
        }
        Reply::ok(&format!(
            r#"{{"access_token":"for-{subject}-{}","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3600}}"#,
            number + 1
        ))
    })
    .await
}

fn request(token: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n")
}

async fn world() -> World {
    World::with(tokens().await, EXCHANGE, "", |_, _| Reply::ok("fine")).await
}

#[tokio::test]
async fn two_callers_never_share_a_token_and_one_callers_is_kept() {
    let world = world().await;
    for token in ["Bearer ann", "bearer bob", "Bearer ann", "Bearer bob"] {
        assert_eq!(world.send(request(token)).await.status, 200);
    }
    let expected = ["Bearer for-ann-1", "Bearer for-bob-2", "Bearer for-ann-1", "Bearer for-bob-2"];
    assert_eq!(world.authorizations(), expected);
    assert_eq!(world.tokens.requests(), 2);
}

#[tokio::test]
async fn it_works_through_the_forward_listener_too() {
    let world = world().await;
    let origin = world.api.origin();
    let host = origin.trim_start_matches("http://");
    let request = format!("GET {origin}/ HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer ann\r\n\r\n");
    assert_eq!(send(world.proxy.address("proxy"), request).await.status, 200);
    assert_eq!(world.authorizations(), ["Bearer for-ann-1"]);
}

#[tokio::test]
async fn a_caller_without_a_token_is_told_what_to_send() {
    let world = world().await;
    let two = "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n";
    let requests = [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        request("Basic YTpi"),
        request("Bearer"),
        request("Bearer a b"),
        two.to_owned(),
    ];
    for request in requests {
        let answer = world.send(&request).await;
        answer.assert_own_failure(403, "http_request_denied");
        assert!(answer.text().contains("Authorization: Bearer"), "{}", answer.text());
    }
    assert_eq!((world.tokens.requests(), world.api.requests()), (0, 0));
}

#[tokio::test]
async fn one_callers_bad_token_is_no_other_callers_failure() {
    let world = world().await;
    for _ in 0..2 {
        world.send(request("Bearer expired")).await.assert_own_failure(502, "proxy_configuration_error");
    }
    assert_eq!(world.send(request("Bearer ann")).await.status, 200);
    assert_eq!(world.tokens.requests(), 2, "a failure is remembered for the one who has it");
}

#[tokio::test]
async fn a_refused_token_is_exchanged_again_for_its_own_caller_once() {
    let script = |asked: &Asked, _| match asked.field("authorization") {
        Some("Bearer for-ann-2" | "Bearer for-bob-3") => Reply::ok("fine"),
        _ => Reply::new(401, "", ""),
    };
    let world = World::with(tokens().await, EXCHANGE, "", script).await;
    assert_eq!(world.send(request("Bearer ann")).await.status, 200);
    assert_eq!(world.send(request("Bearer bob")).await.status, 200, "bound for each caller alone");
    for _ in 0..5 {
        assert_eq!(world.send(request("Bearer eve")).await.status, 401);
    }
    assert_eq!(world.tokens.requests(), 2 + 1 + 2, "a caller whose tokens are always refused costs no more than two");
}

#[tokio::test]
async fn the_callers_token_never_leaves_for_the_upstream() {
    let world = World::with(tokens().await, EXCHANGE, "on_token_error = \"pass\"", |_, _| Reply::ok("fine")).await;
    world.send(request("Bearer expired")).await;
    assert_eq!(world.authorizations(), ["none"]);
}

#[tokio::test]
async fn one_budget_is_for_all_callers_of_a_credential() {
    let world =
        World::with(tokens().await, &format!("{EXCHANGE}\nbudget = \"5/m\""), "", |_, _| Reply::ok("fine")).await;
    let mut statuses = Vec::new();
    for number in 0..40 {
        let answer = world.send(request(&format!("Bearer made-up-{number}"))).await;
        if answer.status != 200 {
            answer.assert_own_failure(503, "proxy_internal_error");
            assert!(answer.text().contains("the token budget of 5/m is spent"), "{}", answer.text());
        }
        statuses.push(answer.status);
    }
    assert_eq!(world.tokens.requests(), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5);
    assert_eq!(world.send(request("Bearer made-up-0")).await.status, 200, "what there is is used");
}

#[tokio::test]
async fn strangers_do_not_drive_the_authorization_server_with_many_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let tokens =
        TokenServer::scripted(move |_, _| Reply::ok(&TokenServer::granted("t", 3600)).when_open(&opened)).await;
    let world = World::with(tokens, EXCHANGE, "", |_, _| Reply::ok("fine")).await;
    let address = world.proxy.address("api");
    let mut asking: tokio::task::JoinSet<_> =
        (0..100).map(|number| send(address, request(&format!("Bearer made-up-{number}")))).collect();
    until("as many as may be", async || world.tokens.requests() == 32).await;
    until("all are there", async || world.proxy.metric("attache_caller_connections").await >= 100.0).await;
    assert_eq!(world.tokens.requests(), 32);
    // They are not refused for it: they wait their turn.
    gate.close();
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(world.tokens.requests(), 100);
}

/// A caller's token that ends so many seconds from now.
fn jwt(left: u64) -> String {
    let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + left;
    format!("Bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{end}}}")))
}

#[tokio::test]
async fn what_a_callers_token_was_exchanged_for_is_not_used_longer_than_that_token() {
    let tokens = TokenServer::scripted(|_, number| match number {
        0 => Reply::ok(&TokenServer::granted("for-ann", 3600)),
        _ => Reply::new(400, "", r#"{"error":"invalid_grant"}"#),
    })
    .await;
    let world = World::with(tokens, EXCHANGE, "", |_, _| Reply::ok("fine")).await;
    let ann = request(&jwt(4));
    assert_eq!(world.send(&ann).await.status, 200);
    assert_eq!(world.send(&ann).await.status, 200);
    assert_eq!(world.tokens.requests(), 1);
    until("it is over", async || world.send(&ann).await.status == 502).await;
    assert_eq!(world.tokens.requests(), 2, "the server has been asked what it thinks of it now, once");
}
