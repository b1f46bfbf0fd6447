//! `origin_from`: the token response says which host of a wildcard is the upstream.

use crate::support::{Answer, Reply, Scripted, TestProxy, TokenServer, get};

/// An upstream `http://*.api.test`, dialled at a scripted server, whose token response says this of `instance_url`.
async fn told(said: &'static str) -> (Scripted, TestProxy) {
    let tokens = TokenServer::scripted(move |_, _| {
        Reply::ok(&format!(r#"{{"access_token":"token-one","token_type":"Bearer","instance_url":"{said}"}}"#))
    })
    .await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = TestProxy::start(&format!(
        r#"
[listeners.api]
address = "127.0.0.1:0"
mode = "reverse"
upstream = "api"
[credentials.api]
token_endpoint = "{}"
client_id = "me"
client_secret = "s3cret-of-mine"
[upstreams.api]
origin = "http://*.api.test"
connect = "{}"
credential = "api"
origin_from = "instance_url"
allow_plaintext = true
"#,
        tokens.endpoint(),
        api.address()
    ));
    // The token is obtained while the server is there.
    get(proxy.address("api"), "localhost", "/x?y=1").await;
    (api, proxy)
}

async fn ask(proxy: &TestProxy, host: &str) -> Answer {
    get(proxy.address("api"), host, "/x?y=1").await
}

#[tokio::test]
async fn requests_go_to_the_host_that_the_token_came_with() {
    let (api, proxy) = told("http://eu7.api.test/services").await;
    assert_eq!(ask(&proxy, "localhost").await.status, 200);
    assert_eq!(ask(&proxy, "other.api.test").await.status, 200);
    for asked in api.asked() {
        assert_eq!(
            (asked.field("host"), asked.field("authorization")),
            (Some("eu7.api.test"), Some("Bearer token-one"))
        );
    }
    assert_eq!(api.asked()[1].target(), "/x?y=1");
}

#[tokio::test]
async fn a_host_outside_the_pattern_gets_nothing() {
    for said in [
        "http://evil.example",
        "https://eu7.api.test",
        "http://eu7.api.test:8080",
        "http://eu7.api.test@evil.example",
        "",
    ] {
        let (api, proxy) = told(said).await;
        let answer = ask(&proxy, "localhost").await;
        answer.assert_own_failure(502, "proxy_configuration_error");
        assert!(answer.text().contains("instance_url"), "{}", answer.text());
        assert_eq!(api.requests(), 0, "{said}");
    }
}
