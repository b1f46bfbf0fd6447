//! Metrics that alerts stand on: credentials that have no token, configurations that were refused, certificates that end.

use std::time::{Duration, SystemTime};

use crate::support::{
    ADMIN, FORWARD, Folder, LocalCa, Reply, TestCa, TestProxy, TokenServer, World, credential, get, until,
};

const UP: &str = "attache_credential_up{credential=\"api\"}";

#[tokio::test]
async fn every_outcome_of_a_token_request_is_there_before_the_first() {
    let world = World::new(|_, _| Reply::ok("fine")).await;
    let text = get(world.proxy.address("admin"), "localhost", "/metrics").await.text().to_owned();
    for outcome in ["success", "permanent", "transient", "invalid_response", "configuration", "cancelled", "timeout"] {
        let series = format!("attache_token_requests_total{{credential=\"api\",outcome=\"{outcome}\"}} 0\n");
        assert!(text.contains(&series), "{series}\n{text}");
    }
    assert_eq!(text.matches("attache_token_requests_total{").count(), 7);
}

#[tokio::test]
async fn a_credential_is_down_while_it_has_no_token_and_the_last_try_failed() {
    let refused = Reply::new(401, "content-type: application/json\r\n", r#"{"error":"invalid_client"}"#);
    let Reply::Raw(refused) = refused else { unreachable!() };
    let tokens = TokenServer::scripted(move |_, number| match number {
        0 => Reply::Raw(refused.clone()),
        1 => Reply::ok(&TokenServer::granted("a", 3600)),
        _ => Reply::Raw(refused.clone()),
    })
    .await;
    let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
    assert_eq!(world.proxy.metric(UP).await, 1.0, "nobody has asked yet");
    assert_eq!(world.get("/").await.status, 502);
    assert_eq!(world.proxy.metric(UP).await, 0.0);
    assert_eq!(world.get("/").await.status, 502, "its back-off runs");
    assert_eq!(world.proxy.metric(UP).await, 0.0);
    let refresh = async || {
        let path = "/api/credentials/api/refresh";
        let fields = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2";
        let request = format!("POST {path} HTTP/1.1\r\n{fields}\r\n\r\n{{}}");
        crate::support::send(world.proxy.address("admin"), request).await.status
    };
    assert_eq!((refresh().await, world.proxy.metric(UP).await), (200, 1.0));
    assert_eq!((refresh().await, world.proxy.metric(UP).await), (502, 1.0), "the token that there is still good");
}

#[tokio::test]
async fn a_credential_that_is_a_secret_itself_is_up() {
    let fixed = "[credentials.api]\nkind = \"bearer\"\ntoken = \"abc\"\n";
    let proxy = TestProxy::start(&format!("{FORWARD}{ADMIN}{fixed}"));
    assert_eq!(proxy.metric(UP).await, 1.0);
    assert_eq!(proxy.metric("attache_token_requests_total").await, 0.0);
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test]
async fn the_last_reload_is_told_until_one_succeeds_and_a_file_that_waits_is_no_failure() {
    const SUCCESSFUL: &str = "attache_config_last_reload_successful";
    const AT: &str = "attache_config_last_reload_timestamp_seconds";
    const WAITING: &str = "attache_config_file_waiting";
    let tokens = TokenServer::start().await;
    let good = format!("{FORWARD}{ADMIN}{}", credential(&tokens));
    let folder = Folder::with(&good);
    let proxy = TestProxy::of_file(&folder.path().join("proxy.toml"));
    let began = proxy.metric(AT).await;
    assert!(began > now() - 60.0 && began <= now(), "{began}");
    assert_eq!((proxy.metric(SUCCESSFUL).await, proxy.metric(WAITING).await), (1.0, 0.0));

    folder.write("proxy.toml", &format!("{good}nonsense = 1\n"));
    until("the bad file was refused", async || proxy.metric(SUCCESSFUL).await == 0.0).await;
    assert!(!proxy.reload().await.ok);
    assert_eq!((proxy.metric(SUCCESSFUL).await, proxy.metric(AT).await), (0.0, began), "the old one stays in force");

    // Another credential waits, and what was refused before is not mended by it.
    let waits = good.replace("client_id = \"me\"", "client_id = \"you\"");
    folder.write("proxy.toml", &waits);
    until("the file waits", async || proxy.metric(WAITING).await == 1.0).await;
    assert_eq!((proxy.metric(SUCCESSFUL).await, proxy.metric(AT).await), (0.0, began));

    crate::support::real_time("another second begins", Duration::from_millis(1100)).await;
    assert!(proxy.reload().await.ok);
    assert_eq!((proxy.metric(SUCCESSFUL).await, proxy.metric(WAITING).await), (1.0, 0.0));
    assert!(proxy.metric(AT).await > began);

    // By itself it is no failure.
    folder.write("proxy.toml", &good);
    until("the file waits again", async || proxy.metric(WAITING).await == 1.0).await;
    assert_eq!(proxy.metric(SUCCESSFUL).await, 1.0);
}

fn written(ca: &TestCa, folder: &Folder, name: &str, days: u64) -> f64 {
    let end = SystemTime::now() + Duration::from_secs(days * 86_400);
    let (certificate, key) = ca.issue_until(&[name], end);
    folder.write(&format!("{name}.pem"), &format!("{}{}", certificate.pem(), key.serialize_pem()));
    // Certificates have whole seconds.
    end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64().floor()
}

#[tokio::test]
async fn each_certificate_says_when_it_ends_and_a_renewed_one_when_that_ends() {
    let (ca, local, folder) = (TestCa::new(), LocalCa::new(), Folder::new());
    let names = ["listener", "upstream", "credential"];
    let ends: Vec<f64> = (1..).zip(names).map(|(days, name)| written(&ca, &folder, name, days)).collect();
    let file = |name: &str| folder.path().join(format!("{name}.pem")).display().to_string();
    let [listener, shown, proof] = names.map(file);
    let toml = format!(
        "{FORWARD}tls = {{ certificate = \"{listener}\", key = \"{listener}\" }}\n{ADMIN}{}\
         [credentials.mine]\ntoken_endpoint = \"https://127.0.0.1:1/token\"\nclient_id = \"me\"\n\
         client_auth = \"tls_client_auth\"\nclient_certificate = \"{proof}\"\nclient_key = \"{proof}\"\n\
         [upstreams.api]\norigin = \"https://api.test\"\ntls = {{ client_certificate = \"{shown}\", client_key = \"{shown}\" }}\n",
        local.intercept()
    );
    folder.write("proxy.toml", &toml);
    let proxy = TestProxy::of_file(&folder.path().join("proxy.toml"));
    let series = |which: &str, kind: &str, name: &str| {
        format!("attache_certificate_{which}_timestamp_seconds{{kind=\"{kind}\",name=\"{name}\"}}")
    };
    let all = [("listener", "proxy"), ("upstream", "api"), ("credential", "mine")];
    for ((kind, name), end) in all.into_iter().zip(&ends) {
        assert_eq!(proxy.metric(&series("not_after", kind, name)).await, *end, "{kind}");
        assert!(proxy.metric(&series("not_before", kind, name)).await < now(), "{kind}");
    }
    assert!(proxy.metric(&series("not_after", "intercept", "-")).await > now());
    // Renewed in place: without a reload.
    for ((kind, name), file) in all.into_iter().zip(names) {
        let end = written(&ca, &folder, file, 30);
        let series = series("not_after", kind, name);
        until(&series, async || proxy.metric(&series).await == end).await;
    }
    assert!(proxy.reload().await.ok);
    assert!(proxy.metric(&series("not_after", "listener", "proxy")).await > now() + 29.0 * 86_400.0);
}
