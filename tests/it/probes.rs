//! Probes: alive, started once, ready now; in few words for machines, and line by line for people.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{ADMIN, Folder, Reply, TestProxy, TokenServer, credential, get, reverse, until, upstream};

fn toml(tokens: &TokenServer, admin: &str) -> String {
    let required = credential(tokens) + "required = true\n";
    reverse(&["api"]) + admin + &required + &upstream("api", "http://127.0.0.1:1")
}

#[tokio::test]
async fn a_start_has_happened_once_and_for_ever_and_readiness_comes_and_goes() {
    let good = Arc::new(AtomicBool::new(false));
    let is_good = Arc::clone(&good);
    let tokens = TokenServer::scripted(move |_, _| {
        if is_good.load(Ordering::SeqCst) {
            Reply::ok(&TokenServer::granted("token", 3600))
        } else {
            Reply::new(401, "Content-Type: application/json\r\n", r#"{"error":"invalid_client"}"#)
        }
    })
    .await;
    let proxy = TestProxy::start(&toml(&tokens, ADMIN));
    let ask = async |target: &str| {
        let answer = get(proxy.address("admin"), "127.0.0.1", target).await;
        (answer.status, answer.text().to_owned())
    };
    until("it was refused", async || ask("/readyz?verbose").await.1.contains("invalid_client")).await;
    assert_eq!(ask("/livez?verbose").await, (200, "[+]ping ok\nlivez check passed\n".into()));
    let (status, text) = ask("/startupz").await;
    assert!(status == 503 && text.starts_with("not started: a required credential has had no token yet"), "{text}");
    let (status, text) = ask("/startupz?verbose").await;
    assert!(status == 503 && text.ends_with("\nstartupz check failed\n"), "{text}");
    assert!(text.starts_with("[+]listeners ok\n[+]configuration ok\n[-]credential/key failed: "), "{text}");
    let (status, text) = ask("/readyz?verbose").await;
    assert!(status == 503 && text.starts_with("[+]ping ok\n[+]shutdown ok\n[-]credential/key failed: "), "{text}");

    good.store(true, Ordering::SeqCst);
    let refresh = "POST /api/credentials/key/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(crate::support::send(proxy.address("admin"), refresh).await.status, 200);
    assert_eq!(ask("/startupz").await, (200, "ok\n".into()));
    let passed = "[+]ping ok\n[+]shutdown ok\n[+]credential/key ok\nreadyz check passed\n";
    assert_eq!(ask("/readyz?verbose").await, (200, passed.into()));

    proxy.announce_end();
    until("it is not ready any more", async || ask("/readyz").await.0 == 503).await;
    let (status, text) = ask("/readyz?verbose").await;
    assert!(status == 503 && text.contains("[-]shutdown failed: attache is stopping"), "{text}");
    assert_eq!(ask("/startupz").await.0, 200, "that it has started stays true");
    assert_eq!(ask("/livez").await, (200, "ok\n".into()));
}

#[tokio::test]
async fn a_probe_needs_no_token_for_a_word_and_one_for_the_reasons() {
    let tokens = TokenServer::scripted(|_, _| Reply::new(500, "", "")).await;
    let proxy = TestProxy::start(&toml(&tokens, "[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"t0ken\"\n"));
    let admin = proxy.address("admin");
    for (target, status) in [("/livez?verbose", 200), ("/startupz", 503), ("/startupz?verbose", 403), ("/readyz", 403)]
    {
        assert_eq!(get(admin, "127.0.0.1", target).await.status, status, "{target}");
    }
    let folder = Folder::new();
    let admin = format!("http://{admin}");
    let health = ["health", "--startup", "--admin", &admin];
    let refused = folder.run(&health).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("ATTACHE_ADMIN_TOKEN"), "{refused:?}");
    let told = folder.env("ATTACHE_ADMIN_TOKEN", "t0ken").run(&health).await;
    assert!(told.code == Some(1) && told.stderr.contains("not started:\n  credential/key failed: "), "{told:?}");
}
