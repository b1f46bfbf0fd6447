//! How tokens are obtained, shared and replaced, and what becomes of the callers' own Authorization: over real sockets.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::support::{Answer, Asked, Reply, Scripted, TestProxy, TokenServer, World, get, real_time, send, until};

const JSON: &str = "content-type: application/json\r\n";

fn fine(_: &Asked, _: usize) -> Reply {
    Reply::ok("fine")
}

/// The decoded form fields of a token request, in order.
fn form(asked: &Asked) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&asked.body).into_owned().collect()
}

fn values(asked: &Asked, name: &str) -> Vec<String> {
    form(asked).into_iter().filter(|(field, _)| field == name).map(|(_, value)| value).collect()
}

async fn admin(world: &World, path: &str) -> Answer {
    get(world.proxy.address("admin"), "127.0.0.1", path).await
}

/// `[credentials.NAME]` and `[upstreams.NAME]` behind a forward listener.
fn pair(name: &str, endpoint: &str, origin: &str, credential: &str) -> String {
    format!(
        "[credentials.{name}]\ntoken_endpoint = \"{endpoint}\"\nclient_id = \"me\"\nclient_secret = \"s3cret-of-mine\"\n{credential}\n\
         [upstreams.{name}]\norigin = \"{origin}\"\ncredential = \"{name}\"\n"
    )
}

async fn through(proxy: &TestProxy, api: &Scripted) -> Answer {
    let host = api.address().to_string();
    get(proxy.address("proxy"), &host, &format!("http://{host}/")).await
}

#[tokio::test]
async fn credentials_with_equal_token_requests_share_one_token() {
    let tokens = TokenServer::start().await;
    let (first, second, third) =
        (Scripted::start(fine).await, Scripted::start(fine).await, Scripted::start(fine).await);
    let endpoint = tokens.endpoint();
    let proxy = TestProxy::start(&format!(
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n{}{}{}",
        pair("first", &endpoint, &first.origin(), "scope = [\"a\", \"b\"]"),
        pair("second", &endpoint, &second.origin(), "scope = \"b a\""),
        pair("third", &endpoint, &third.origin(), "scope = \"a\""),
    ));
    for api in [&first, &second, &third] {
        assert_eq!(through(&proxy, api).await.status, 200);
    }
    assert_eq!(tokens.requests(), 2);
    let sent = |api: &Scripted| api.asked()[0].field("authorization").unwrap().to_owned();
    assert_eq!(sent(&first), sent(&second), "the same scopes in another order");
    assert_ne!(sent(&first), sent(&third), "another scope is another token");
}

#[tokio::test]
async fn client_secret_basic_form_encodes_odd_characters() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(fine).await;
    let toml = World::toml(&tokens.endpoint(), &api.origin(), "", "")
        .replace("client_id = \"me\"", "client_id = \"odd:id/+ &%\"")
        .replace("\"s3cret-of-mine\"", "\"p@ss:w/ord+ =%&~\"");
    let proxy = TestProxy::start(&toml);
    assert_eq!(get(proxy.address("api"), "localhost", "/").await.status, 200);
    let asked = &tokens.server.asked()[0];
    let basic = asked.field("authorization").unwrap().strip_prefix("Basic ").unwrap();
    let pair = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
    assert_eq!(pair, "odd%3Aid%2F%2B+%26%25:p%40ss%3Aw%2Ford%2B+%3D%25%26%7E");
    assert_eq!(form(asked), [("grant_type".into(), "client_credentials".into())], "one method for each request");
    assert_eq!(asked.line, "POST /token HTTP/1.1");
    assert_eq!(asked.field("accept"), Some("application/json"));
    assert_eq!(asked.field("content-type"), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn client_secret_post_and_none_put_into_the_form_what_they_are_named_after() {
    let world = World::with(TokenServer::start().await, "client_auth = \"client_secret_post\"", "", fine).await;
    assert_eq!(world.get("/").await.status, 200);
    let asked = &world.tokens.server.asked()[0];
    assert_eq!(
        (values(asked, "client_id"), values(asked, "client_secret")),
        (vec!["me".into()], vec!["s3cret-of-mine".into()])
    );
    assert_eq!(asked.field("authorization"), None);

    let (tokens, api) = (TokenServer::start().await, Scripted::start(fine).await);
    let toml = World::toml(&tokens.endpoint(), &api.origin(), "client_auth = \"none\"", "")
        .replace("client_secret = \"s3cret-of-mine\"\n", "");
    let proxy = TestProxy::start(&toml);
    assert_eq!(get(proxy.address("api"), "localhost", "/").await.status, 200);
    let asked = &tokens.server.asked()[0];
    assert_eq!((values(asked, "client_id"), values(asked, "client_secret")), (vec!["me".to_owned()], vec![]));
    assert_eq!(asked.field("authorization"), None);
}

#[tokio::test]
async fn everything_that_a_token_request_may_hold_arrives() {
    let credential = r#"
scope = ["orders.read", "orders.write"]
audience = "https://orders.example.com"
resource = ["https://a.example.com/x", "urn:b"]
parameters = { tenant = "t&1", label = ["x", "y"] }
headers = { X-Api-Key = "k" }
"#;
    let world = World::with(TokenServer::start().await, credential, "", fine).await;
    assert_eq!(world.get("/").await.status, 200);
    let asked = &world.tokens.server.asked()[0];
    for (name, expected) in [
        ("grant_type", &["client_credentials"][..]),
        ("scope", &["orders.read orders.write"]),
        ("audience", &["https://orders.example.com"]),
        ("resource", &["https://a.example.com/x", "urn:b"]),
        ("tenant", &["t&1"]),
        ("label", &["x", "y"]),
    ] {
        assert_eq!(values(asked, name), expected, "{name}");
    }
    assert_eq!(asked.field("x-api-key"), Some("k"));
}

/// What `/api/status` says of the credential after one request.
async fn status_after(answer: impl Fn() -> String + Send + Sync + 'static) -> serde_json::Value {
    let tokens = TokenServer::scripted(move |_, _| Reply::new(200, JSON, &answer())).await;
    let world = World::with(tokens, "default_lifetime = \"100s\"", "", fine).await;
    assert_eq!(world.get("/").await.status, 200);
    admin(&world, "/api/status").await.json()["credentials"][0].clone()
}

#[tokio::test]
async fn a_lifetime_is_a_number_a_text_a_jwts_own_or_the_default() {
    let granted = |rest: &'static str| move || format!(r#"{{"access_token":"opaque","token_type":"bearer"{rest}}}"#);
    let jwt = || {
        let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 1000;
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
        format!(r#"{{"access_token":"e30.{claims}.c2ln","token_type":"Bearer"}}"#)
    };
    for (status, lifetime) in [
        (status_after(granted(r#","expires_in":500"#)).await, 500),
        (status_after(granted(r#","expires_in":"500""#)).await, 500),
        (status_after(granted("")).await, 100),
        (status_after(jwt).await, 1000),
    ] {
        let left = status["expires_in"].as_u64().unwrap();
        assert!((lifetime - 40..=lifetime).contains(&left), "{status} where {lifetime} s are granted");
        assert_eq!((status["state"].as_str(), status["generation"].as_u64()), (Some("ready"), Some(1)));
    }
}

#[tokio::test]
async fn a_token_without_any_life_serves_the_requests_that_wait_for_it() {
    let tokens = TokenServer::scripted(|_, number| {
        Reply::ok(&format!(r#"{{"access_token":"token-{}","token_type":"Bearer","expires_in":0}}"#, number + 1))
    });
    let world = World::with(tokens.await, "", "", fine).await;
    assert_eq!((world.get("/").await.status, world.get("/").await.status), (200, 200));
    assert_eq!(world.authorizations(), ["Bearer token-1", "Bearer token-2"]);
}

/// The answer to a request for which the token endpoint says this, and how often it was asked.
async fn refused_with(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (Answer, usize) {
    let world = World::with(TokenServer::scripted(move |_, _| reply()).await, "", "", fine).await;
    let answer = world.get("/").await;
    assert_eq!(world.api.requests(), 0, "nothing goes out without its token");
    (answer, world.tokens.requests())
}

#[tokio::test]
async fn a_refusal_of_the_authorization_server_is_502_even_inside_a_200() {
    for status in [400, 401, 200] {
        let (answer, requests) = refused_with(move || {
            Reply::new(status, JSON, r#"{"error":"invalid_scope","error_description":"no such scope"}"#)
        })
        .await;
        answer.assert_own_failure(502, "proxy_configuration_error");
        assert_eq!(answer.json()["oauth_error"], "invalid_scope");
        assert!(answer.text().contains("no such scope"), "{}", answer.text());
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn nonsense_from_the_token_endpoint_is_502_after_one_quick_retry() {
    let token = |token: &str| format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":60}}"#);
    let html = || Reply::new(200, "content-type: text/html\r\n", "<html>sentinel-page</html>");
    let (oversized, injected) = (token(&"a".repeat(70_000)), token("a\\r\\nx: y"));
    let mac = r#"{"access_token":"abc","token_type":"mac"}"#;
    let redirect = || Reply::new(307, "location: http://127.0.0.1:1/elsewhere\r\n", "");
    for (answer, requests) in [
        refused_with(html).await,
        refused_with(move || Reply::ok(&oversized)).await,
        refused_with(move || Reply::ok(&injected)).await,
        refused_with(|| Reply::ok(mac)).await,
        refused_with(redirect).await,
    ] {
        answer.assert_own_failure(502, "proxy_configuration_error");
        assert!(!answer.text().contains("sentinel-page"), "{}", answer.text());
        assert_eq!(requests, 2, "{}", answer.text());
    }
}

/// RFC 9112 sections 5.1 and 5.2.
#[tokio::test]
async fn a_token_endpoints_fields_may_have_white_space_before_the_colon_and_be_folded() {
    let tokens = TokenServer::scripted(|_, _| {
        Reply::new(200, "X-XSS-Protection : 1\r\nX: a\r\n b\r\n", &TokenServer::granted("token-1", 60))
    });
    let world = World::with(tokens.await, "", "", fine).await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authorizations(), ["Bearer token-1"]);
}

#[tokio::test]
async fn a_token_endpoint_that_cannot_just_now_is_503_with_retry_after() {
    let (answer, requests) = refused_with(|| Reply::new(503, "retry-after: 17\r\n", "")).await;
    assert_eq!((answer.status, answer.field("retry-after"), requests), (503, Some("17"), 1));
    let (answer, requests) = refused_with(|| Reply::new(429, "", "")).await;
    assert_eq!((answer.status, answer.field("retry-after"), requests), (503, Some("1"), 2));
    let (answer, _) = refused_with(|| Reply::HangUp).await;
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn a_remembered_failure_is_answered_without_asking_again() {
    let tokens = TokenServer::scripted(|_, _| Reply::new(400, JSON, r#"{"error":"invalid_client"}"#)).await;
    let world = World::with(tokens, "", "", fine).await;
    for _ in 0..20 {
        assert_eq!(world.get("/").await.status, 502);
    }
    assert_eq!(world.tokens.requests(), 1);
    let outcome = r#"attache_token_requests_total{credential="api",outcome="permanent"}"#;
    assert_eq!(world.proxy.metric(outcome).await, 1.0);
}

#[tokio::test]
async fn a_spent_budget_is_503_with_the_time_until_the_next_token_request() {
    let refuse_all = |_: &Asked, _: usize| Reply::new(401, "", "");
    let world = World::with(TokenServer::start().await, "budget = \"1/h\"", "", refuse_all).await;
    assert_eq!(world.get("/").await.status, 401, "no other token is available, so the caller sees the refusal");
    let answer = world.get("/").await;
    answer.assert_own_failure(503, "proxy_internal_error");
    assert!(answer.text().contains("the token budget of 1/h is spent"), "{}", answer.text());
    let after: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&after), "{after}");
    assert_eq!(world.tokens.requests(), 1);
    assert_eq!(world.proxy.metric("attache_token_requests_withheld_total{credential=\"api\"}").await, 1.0);
}

#[tokio::test]
async fn the_status_tells_of_missing_scope_skewed_clocks_and_the_last_refresh() {
    let tokens = TokenServer::scripted(|_, _| {
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(300));
        let granted = r#"{"access_token":"one","token_type":"Bearer","expires_in":3600,"scope":"orders.read"}"#;
        Reply::new(200, &format!("{JSON}date: {date}\r\n"), granted)
    });
    let world = World::with(tokens.await, "scope = \"orders.read orders.write\"", "", fine).await;
    assert_eq!(world.get("/").await.status, 200);
    let status = admin(&world, "/api/status").await.json()["credentials"][0].clone();
    assert_eq!(status["missing_scope"], "orders.write", "{status}");
    assert!((298..=300).contains(&status["clock_skew"].as_i64().unwrap()), "{status}");
    assert!((3598..=3600).contains(&status["expires_in"].as_u64().unwrap()), "nothing of it extends a life: {status}");
    assert!(status["last_refresh_took_ms"].as_u64().unwrap() < 60_000, "{status}");
    assert!(status["fetched_at"].as_str().unwrap().ends_with('Z') && status["last_refresh_at"].is_string(), "{status}");
    assert_eq!(world.proxy.metric("attache_token_scope_narrowed_total{credential=\"api\"}").await, 1.0);
    assert!(world.proxy.metric("attache_token_clock_skew_seconds{credential=\"api\"}").await > 297.0);
}

#[tokio::test]
async fn on_token_error_pass_sends_without_a_token_and_counts() {
    let tokens = TokenServer::scripted(|_, _| Reply::new(400, JSON, r#"{"error":"invalid_client"}"#)).await;
    let world = World::with(tokens, "", "on_token_error = \"pass\"", fine).await;
    assert_eq!(world.get("/").await.status, 200);
    let theirs = world.send("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer mine\r\n\r\n").await;
    assert_eq!(theirs.status, 200);
    assert_eq!(world.authorizations(), ["none", "none"], "a replaced Authorization stays away");
    let counted = async |outcome: &str| {
        let labels = format!(r#"listener="api",upstream="api",outcome="{outcome}""#);
        world.proxy.metric(&format!("attache_requests_total{{{labels}}}")).await
    };
    assert_eq!((counted("passed_without_token").await, counted("passed").await), (2.0, 0.0));
}

#[tokio::test]
async fn the_callers_own_authorization_is_replaced_kept_or_rejected_and_counted() {
    for (setting, action, status, sent) in [
        ("", "replace", 200, &["Bearer token-1"][..]),
        ("caller_authorization = \"replace\"", "replace", 200, &["Bearer token-1"]),
        ("caller_authorization = \"keep\"", "keep", 200, &["Basic bWluZQ=="]),
        ("caller_authorization = \"reject\"", "reject", 400, &[]),
    ] {
        let world = World::configured(setting, fine).await;
        let answer = world.send("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic bWluZQ==\r\n\r\n").await;
        assert_eq!(answer.status, status, "{setting}");
        assert_eq!(world.authorizations(), sent, "{setting}");
        let series =
            |action: &str| format!("attache_caller_authorization_total{{upstream=\"api\",action=\"{action}\"}}");
        for counted in ["replace", "keep", "reject"] {
            let expected = if counted == action { 1.0 } else { 0.0 };
            assert_eq!(world.proxy.metric(&series(counted)).await, expected, "{setting}: {counted}");
        }
        if status == 400 {
            answer.assert_own_failure(400, "http_request_error");
        }
    }
}

#[tokio::test]
async fn two_authorization_fields_of_the_caller_become_one() {
    let world = World::new(fine).await;
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: a b\r\nauthorization: c d\r\nConnection: authorization\r\n\r\n";
    assert_eq!(world.send(request).await.status, 200);
    assert_eq!(world.authorizations(), ["Bearer token-1"], "and no Connection names ours away");
}

/// A credential whose secret is in a file; the token server knows the secrets and names its tokens after them.
async fn with_secret_file(refuses: &'static str) -> (World, tempfile::TempDir) {
    let tokens = TokenServer::scripted(move |asked, number| {
        let secret = values(asked, "client_secret").remove(0);
        if secret == refuses {
            return Reply::new(401, JSON, r#"{"error":"invalid_client"}"#);
        }
        Reply::ok(&TokenServer::granted(&format!("of-{secret}-{number}"), 3600))
    })
    .await;
    let api = Scripted::start(fine).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "first\n").unwrap();
    let toml = World::toml(&tokens.endpoint(), &api.origin(), "client_auth = \"client_secret_post\"", "")
        .replace("\"s3cret-of-mine\"", &format!("{{ file = {:?} }}", path.display().to_string()));
    let proxy = TestProxy::start(&toml);
    (World { tokens, api, proxy }, folder)
}

#[tokio::test]
async fn a_rotated_secret_file_is_taken_up_in_the_background_without_a_failed_request() {
    let (world, folder) = with_secret_file("").await;
    assert_eq!(world.get("/").await.status, 200);
    std::fs::write(folder.path().join("secret"), "second\n").unwrap();
    until("the token of the new secret is in use", async || {
        assert_eq!(world.get("/").await.status, 200);
        world.authorizations().last().unwrap() == "Bearer of-second-1"
    })
    .await;
    assert_eq!(world.tokens.requests(), 2, "asked for once");
    assert_eq!(admin(&world, "/api/status").await.json()["credentials"][0]["state"], "ready");
}

#[tokio::test]
async fn a_changed_secret_that_does_not_work_leaves_the_old_token_in_use_and_is_not_hammered() {
    let (world, folder) = with_secret_file("wrong").await;
    assert_eq!(world.get("/").await.status, 200);
    std::fs::write(folder.path().join("secret"), "wrong\n").unwrap();
    until("the new secret has been tried", async || world.tokens.requests() == 2).await;
    // Two more looks at the file, every 2 s: its failure is remembered for half a minute.
    real_time("the file is looked at twice", Duration::from_millis(4500)).await;
    assert_eq!(world.tokens.requests(), 2);
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authorizations(), ["Bearer of-first-0", "Bearer of-first-0"]);
    std::fs::write(folder.path().join("secret"), "third\n").unwrap();
    until("the secret that works is in use", async || {
        assert_eq!(world.get("/").await.status, 200);
        world.authorizations().last().unwrap().starts_with("Bearer of-third-")
    })
    .await;
}

#[tokio::test]
async fn a_secret_file_that_comes_back_as_it_was_is_used_at_once() {
    let (world, folder) = with_secret_file("").await;
    let path = folder.path().join("secret");
    std::fs::remove_file(&path).unwrap();
    until("the missing file is noticed", async || world.get("/").await.status == 502).await;
    assert_eq!(world.tokens.requests(), 0);
    std::fs::write(&path, "first\n").unwrap();
    // Its back-off alone would take 24 s at the least.
    let back = Instant::now();
    until("the secret is in use", async || world.get("/").await.status == 200).await;
    assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
    assert_eq!(world.tokens.requests(), 1);
}

#[tokio::test]
async fn ready_waits_for_every_required_credential() {
    let tokens = TokenServer::scripted(|_, number| match number {
        0 => Reply::new(503, "retry-after: 1\r\n", ""),
        _ => Reply::ok(&TokenServer::granted("token", 3600)),
    })
    .await;
    let world = World::with(tokens, "required = true", "", fine).await;
    until("the first token request has failed", async || {
        let answer = admin(&world, "/readyz").await;
        assert_eq!((answer.status, answer.json()["ready"].as_bool()), (503, Some(false)));
        let credential = &answer.json()["credentials"][0];
        assert_eq!((credential["name"].as_str(), credential["required"].as_bool()), (Some("api"), Some(true)));
        credential["state"] == "failed"
    })
    .await;
    assert_eq!(admin(&world, "/livez").await.status, 200);
    // Nobody sends a request: it recovers by itself.
    until("ready", async || admin(&world, "/readyz").await.status == 200).await;
    assert_eq!(admin(&world, "/readyz").await.json()["ready"], true);
    assert!(admin(&world, "/api").await.text().contains("/healthz"));
    for (path, status) in [("/api/explain", 400), ("/api/explain?url=a&url=b", 400), ("/nothing", 404)] {
        let answer = admin(&world, path).await;
        assert_eq!((answer.status, answer.field("content-type")), (status, Some("application/problem+json")));
        assert!(answer.json()["detail"].as_str().unwrap().len() > 10, "{path}");
    }
    let answer = admin(&world, "/api/credentials/api/refresh").await;
    assert_eq!((answer.status, answer.field("allow")), (405, Some("POST")));
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    assert_eq!(world.api.requests(), 0);
}

#[tokio::test]
async fn a_credential_that_is_not_required_keeps_nobody_waiting() {
    let world = World::new(fine).await;
    let answer = admin(&world, "/readyz").await;
    assert_eq!((answer.status, answer.json()["credentials"][0]["state"].as_str()), (200, Some("empty")));
    assert_eq!(world.tokens.requests(), 0);
}

#[tokio::test]
async fn a_refresh_can_be_asked_for_by_those_who_may() {
    let tokens = TokenServer::scripted(|_, number| match number {
        0 | 1 => Reply::ok(&TokenServer::granted(&format!("token-{}", number + 1), 3600)),
        _ => Reply::new(400, JSON, r#"{"error":"invalid_client"}"#),
    })
    .await;
    let world = World::with(tokens, "", "", fine).await;
    let address = world.proxy.address("admin");
    let post = async |path: &str, host: &str, content_type: &str| {
        send(address, format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{content_type}Content-Length: 0\r\n\r\n")).await
    };
    let (path, json) = ("/api/credentials/api/refresh", "Content-Type: application/json\r\n");
    world.get("/").await;

    assert_eq!(post(path, "127.0.0.1", "").await.status, 415);
    assert_eq!(post(path, "127.0.0.1", "Content-Type: text/plain\r\n").await.status, 415);
    assert_eq!(post(path, "attacker.example", json).await.status, 403);
    assert_eq!(
        get(address, "attacker.example", "/api/status").await.status,
        403,
        "a rebound name reads nothing either"
    );
    assert_eq!(post("/api/credentials/none/refresh", "127.0.0.1", json).await.status, 404);
    assert_eq!(get(address, "127.0.0.1", path).await.status, 405);
    assert_eq!(world.tokens.requests(), 1);

    let answer = post(path, &format!("localhost:{}", address.port()), json).await;
    assert_eq!((answer.status, answer.json()["generation"].as_u64()), (200, Some(2)));
    world.get("/").await;
    assert_eq!(world.authorizations(), ["Bearer token-1", "Bearer token-2"]);

    let failed = post(path, "[::1]", json).await;
    assert_eq!((failed.status, failed.field("content-type")), (502, Some("application/problem+json")));
    assert!(failed.text().contains("invalid_client"), "{}", failed.text());
    assert_eq!(world.get("/").await.status, 200, "the good token stays in use");
}
