//! Credentials that are secrets themselves: static tokens, passwords, API keys.

use crate::support::{Asked, Folder, Reply, Scripted, TestProxy, TokenServer, World, get, send, until};

/// A world whose credential is this, in a folder where its secret may be.
async fn world(
    credential: &str,
    upstream: &str,
    script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
) -> World {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(script).await);
    let proxy = TestProxy::start(&World::toml_of(credential, &api.origin(), upstream));
    World { tokens, api, proxy }
}

/// `kind = "bearer"` with the token in a file of this folder.
fn bearer_file(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    format!("kind = \"bearer\"\ntoken = {{ file = {:?} }}", path.display().to_string())
}

fn rotate(folder: &tempfile::TempDir, token: &str) {
    // As tools do it that care: the file is whole at every moment.
    let new = folder.path().join("new");
    std::fs::write(&new, token).unwrap();
    std::fs::rename(&new, folder.path().join("token")).unwrap();
}

/// Takes this bearer token alone.
fn takes(token: &'static str) -> impl Fn(&Asked, usize) -> Reply + Send + Sync {
    move |asked, _| match asked.field("authorization").and_then(|field| field.strip_prefix("Bearer ")) {
        Some(sent) if sent == token => Reply::ok("fine"),
        _ => Reply::new(401, "www-authenticate: Bearer error=\"invalid_token\"\r\nx-detail: kept\r\n", "refused"),
    }
}

async fn status(world: &World) -> serde_json::Value {
    get(world.proxy.address("admin"), "127.0.0.1", "/api/status").await.json()["credentials"][0].clone()
}

#[tokio::test]
async fn each_kind_reaches_the_upstream_over_a_proxy_and_a_base_url() {
    let bearer = ("kind = \"bearer\"\ntoken = \"abc.def==\"", "authorization", "Bearer abc.def==");
    let basic = (
        "kind = \"basic\"\nusername = \"Aladdin\"\npassword = \"open sesame\"",
        "authorization",
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
    );
    let header = (
        "kind = \"header\"\nheader = \"X-Api-Key\"\nvalue = \"key, with \\\"marks\\\"\"",
        "x-api-key",
        "key, with \"marks\"",
    );
    for (credential, field, value) in [bearer, basic, header] {
        let world = world(credential, "", |_, _| Reply::ok("fine")).await;
        let theirs = "X-Api-Key: theirs\r\nX_Api_Key: theirs\r\nAuthorization: theirs\r\nConnection: x-api-key\r\n";
        let target = format!("{}/x", world.api.origin());
        for (listener, target) in [("api", "/x"), ("proxy", target.as_str())] {
            let host = world.api.address();
            let host = if listener == "api" { "localhost".to_owned() } else { host.to_string() };
            let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{theirs}\r\n");
            assert_eq!(send(world.proxy.address(listener), request).await.status, 200);
        }
        for asked in world.api.asked() {
            assert_eq!(asked.field(field), Some(value), "{asked:?}");
            if field == "x-api-key" {
                assert_eq!((asked.field("x_api_key"), asked.field("authorization")), (None, None), "{asked:?}");
            }
        }
        assert_eq!((world.api.requests(), world.tokens.requests()), (2, 0));
    }
}

#[tokio::test]
async fn an_api_key_beside_an_authorization_of_the_callers_goes_out_where_that_is_kept() {
    let key = "kind = \"header\"\nheader = \"X-Api-Key\"\nvalue = \"ours\"";
    let world = world(key, "caller_authorization = \"keep\"", |_, _| Reply::ok("fine")).await;
    world.send("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer theirs\r\n\r\n").await;
    let asked = &world.api.asked()[0];
    assert_eq!((asked.field("x-api-key"), asked.field("authorization")), (Some("ours"), Some("Bearer theirs")));
}

#[tokio::test]
async fn a_refused_secret_that_has_been_rotated_is_replaced_without_a_failed_request() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&bearer_file(&folder), "", takes("second")).await;
    rotate(&folder, "second");
    let body = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    let answer = world.send(body).await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    // At once, and not when the file is looked at next; by chance that look may have come in between.
    if world.authorizations() != ["Bearer second"] {
        assert_eq!(world.authorizations(), ["Bearer first", "Bearer second"]);
        World::assert_unauthorized(&world.unauthorized().await, &[("retried_ok", 1)]);
    }
    assert_eq!(world.api.asked().last().unwrap().body, b"hello");
    let status = status(&world).await;
    assert_eq!((&status["state"], &status["generation"]), (&"ready".into(), &2.into()));
    assert!(status["expires_in"].is_null() && status["last_error"].is_null(), "{status}");
}

#[tokio::test]
async fn a_refused_secret_that_is_still_the_same_brings_the_original_401_back() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&bearer_file(&folder), "", takes("other")).await;
    for _ in 0..3 {
        let answer = world.get("/").await;
        assert_eq!((answer.status, answer.text(), answer.field("x-detail")), (401, "refused", Some("kept")));
        assert_eq!(answer.field("proxy-status"), None, "it is the upstream's, not ours");
    }
    assert_eq!(world.authorizations(), ["Bearer first"; 3]);
    World::assert_unauthorized(&world.unauthorized().await, &[("disabled", 3)]);
}

#[tokio::test]
async fn a_basic_challenge_is_about_a_password_and_a_bearer_challenge_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let credential = bearer_file(&folder).replace("\"bearer\"\ntoken", "\"basic\"\nusername = \"me\"\npassword");
    let world = world(&credential, "", |asked, _| {
        let scheme = if asked.target() == "/basic" { "Basic realm=\"x\"" } else { "Bearer" };
        Reply::new(401, &format!("www-authenticate: {scheme}\r\n"), "")
    })
    .await;
    world.get("/basic").await;
    world.get("/bearer").await;
    World::assert_unauthorized(&world.unauthorized().await, &[("disabled", 1), ("other_scheme", 1)]);
}

#[tokio::test]
async fn a_rotated_secret_is_in_use_without_a_401() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&bearer_file(&folder), "", |_, _| Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
    rotate(&folder, "second");
    until("the new secret is in use", async || {
        assert_eq!(world.get("/").await.status, 200);
        world.authorizations().last().unwrap() == "Bearer second"
    })
    .await;
    assert_eq!(status(&world).await["generation"], 2);
    std::fs::remove_file(folder.path().join("token")).unwrap();
    until("the missing file is told", async || !status(&world).await["last_error"].is_null()).await;
    assert_eq!((world.get("/").await.status, status(&world).await["state"].clone()), (200, "ready".into()));
    rotate(&folder, "third");
    until("the file that is back is in use", async || {
        assert_eq!(world.get("/").await.status, 200);
        world.authorizations().last().unwrap() == "Bearer third"
    })
    .await;
    assert!(status(&world).await["last_error"].is_null());
}

#[tokio::test]
async fn a_secret_that_was_never_read_is_a_failure_until_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let text = World::toml_of(&format!("{}\nrequired = true", bearer_file(&folder)), "http://127.0.0.1:1", "");
    let config = attache::config::Config::parse("test.toml", &text).unwrap();
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let app = attache::app::App::start_with(config, 1).unwrap();
    let address = |name: &str| {
        let found = app.addresses().into_iter().find(|(listener, _)| listener == name).map(|(_, address)| address);
        let Some(attache::app::ListenAddress::Tcp(address)) = found else { panic!("{name} is not there") };
        address
    };
    let answer = get(address("api"), "localhost", "/").await;
    answer.assert_own_failure(502, "proxy_configuration_error");
    assert!(answer.json()["detail"].as_str().unwrap().contains("cannot read "), "{}", answer.text());
    let admin = address("admin");
    // It may be read again at this very moment.
    until("its failure is told", async || {
        let failed = get(admin, "127.0.0.1", "/readyz").await;
        assert_eq!(failed.status, 503);
        failed.json()["credentials"][0]["state"] == "failed"
    })
    .await;
    rotate(&folder, "second");
    until("it is ready", async || get(admin, "127.0.0.1", "/readyz").await.status == 200).await;
    let metrics = get(admin, "127.0.0.1", "/metrics").await;
    assert!(!metrics.text().contains("attache_token_expires_in_seconds{"), "nothing of it expires");
}

#[tokio::test]
async fn the_admin_can_have_a_secret_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&bearer_file(&folder), "", |_, _| Reply::ok("fine")).await;
    let refresh = "POST /api/credentials/api/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n";
    rotate(&folder, "second");
    let answer = send(world.proxy.address("admin"), refresh).await;
    assert_eq!((answer.status, &answer.json()["generation"]), (200, &2.into()));
    rotate(&folder, "no token");
    assert_eq!(send(world.proxy.address("admin"), refresh).await.status, 502);
    assert_eq!((world.get("/").await.status, world.authorizations()), (200, vec!["Bearer second".to_owned()]));
}

#[tokio::test]
async fn commands_say_that_nothing_is_asked_for() {
    let text = World::toml_of("kind = \"bearer\"\ntoken = { env = \"TOKEN\" }", "http://127.0.0.1:1", "");
    let more = "[credentials.key]\nkind = \"header\"\nheader = \"X-Key\"\nvalue = { env = \"TOKEN\" }\n";
    let text = text + more;
    let folder = Folder::with(&text).env("TOKEN", "abc");
    let token = folder.run(&["token", "api"]).await;
    assert_eq!((token.code, token.stdout.as_str()), (Some(0), "abc\n"));
    assert!(token.stderr.contains("has no token request"), "{token:?}");
    let token = folder.run(&["token", "api", "--json"]).await.json();
    let expected =
        serde_json::json!({ "access_token": "abc", "token_type": "Bearer", "expires_in": null, "scope": null });
    assert_eq!(token, expected);
    let key = folder.run(&["token", "key"]).await;
    assert_eq!((key.code, key.stdout.as_str()), (Some(1), ""));
    assert!(key.stderr.contains("credential \"key\" has no token request: it is kind = \"header\""), "{key:?}");
    let key = folder.run(&["token", "key", "--json"]).await;
    assert_eq!((key.code, &key.json()["kind"]), (Some(1), &"configuration".into()));
    let explained = folder.run(&["explain", "GET", "http://127.0.0.1:1/", "--json"]).await.json();
    assert_eq!(explained["reason"], "upstream \"api\" covers it; credential \"api\" goes on it");
    folder.write("proxy.toml", &text.replace("http://127.0.0.1:1", "https://*.example.com"));
    let check = folder.run(&["check", "--live"]).await;
    assert_eq!(check.code, Some(0), "{check:?}");
    assert!(check.stdout.lines().any(|line| line.starts_with("api") && line.contains("fixed")), "{check:?}");
    let check = folder.run(&["check", "--live", "--json"]).await.json();
    assert_eq!(
        (&check["credentials"][0]["client_auth"], &check["credentials"][0]["ok"]),
        (&"fixed".into(), &true.into())
    );
}
