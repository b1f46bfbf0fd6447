//! The status page: what it is made of, what comes to it, and that a real browser shows it.

use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{World, get, real_time, send, skipped};

/// A browser that can be driven without a screen.
fn browser() -> Option<&'static str> {
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()));
    if found.is_none() {
        skipped("no chromium is installed");
    }
    found
}

#[tokio::test]
async fn the_page_asks_nobody_else_and_nobody_may_frame_it() {
    let world = World::new(|_, _| crate::support::Reply::ok("fine")).await;
    let admin = world.proxy.address("admin");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
    let scripts = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let scripts = scripts
        .filter(|name| name.rsplit_once('.').is_some_and(|(_, kind)| kind == "js"))
        .map(|name| (format!("/page/{name}"), "text/javascript"));
    let files = [("/".to_owned(), "text/html"), ("/page/page.css".to_owned(), "text/css")].into_iter().chain(scripts);
    for (path, kind) in files {
        let path = path.as_str();
        let answer = get(admin, "localhost", path).await;
        assert_eq!(answer.status, 200);
        assert!(answer.field("content-type").unwrap().starts_with(kind));
        let policy = answer.field("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = answer.text();
        assert!(!text.contains("http://") || path == "/" || path == "/page/elements.js", "no address of another place");
        assert!(!text.contains("innerHTML") && !text.contains("<script>") && !text.contains(" style="), "{path}");
    }
    assert_eq!(get(admin, "evil.test", "/").await.status, 403, "a rebound name");
}

#[tokio::test]
async fn news_come_once_a_second_and_hold_no_secret() {
    let world = World::new(|_, _| crate::support::Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
    let mut stream = tokio::net::TcpStream::connect(world.proxy.address("admin")).await.unwrap();
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    while String::from_utf8_lossy(&read).matches("data: {").count() < 2 {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..length]);
    }
    let text = String::from_utf8(read).unwrap();
    assert!(text.contains("text/event-stream") && text.contains("\"state\":\"ready\""), "{text}");
    assert!(text.contains("\"requests\":{\"denied\":0,\"failed\":0,\"injected\":1,"), "{text}");
    assert!(!text.contains("token-1") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_person_refreshes_explains_and_reloads_in_a_real_browser() {
    let Some(browser) = browser() else { return };
    let python = crate::clients::python();
    if !crate::clients::there_is(&python, &["-c", "import websockets.asyncio.client"]) {
        return;
    }
    let world = World::new(|_, _| crate::support::Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
    let admin = format!("http://{}/", world.proxy.address("admin"));
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/page.py");
    let command = tokio::process::Command::new(python).arg(script).args([browser, &admin]).kill_on_drop(true).output();
    let using = async {
        // Requests come in while the page is open.
        loop {
            assert_eq!(world.get("/looked-at").await.status, 200);
            let nobody = "GET http://nobody.test/x HTTP/1.1\r\nHost: nobody.test\r\n\r\n";
            assert_eq!(send(world.proxy.address("proxy"), nobody).await.status, 403);
            real_time("the browser looks", std::time::Duration::from_millis(200)).await;
        }
    };
    let output = tokio::select! {
        output = tokio::time::timeout(std::time::Duration::from_secs(90), command) => output.unwrap().unwrap(),
        () = using => unreachable!(),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let seen: serde_json::Value = serde_json::from_str(said.trim())
        .unwrap_or_else(|_| panic!("{said} {}", String::from_utf8_lossy(&output.stderr)));
    for what in [
        "live",
        "refreshed",
        "explained",
        "reload_answered",
        "recent",
        "filtered",
        "sorted",
        "detail",
        "timeline",
        "chart",
        "pointed",
        "hosts",
        "attention",
        "desktop_fits",
        "phone_fits",
    ] {
        assert_eq!(seen[what], true, "{what}: {seen}");
    }
    assert_eq!((&seen["complaints"], &seen["unlabelled"]), (&serde_json::json!([]), &0.into()), "{seen}");
    let text = seen["text"].as_str().unwrap();
    assert!(text.contains("ready") && text.contains("injected") && !text.contains("Not a number"), "{text}");
    assert!(!text.contains("token-1") && !text.contains("s3cret"), "{text}");
    let urls = seen["urls"].as_array().unwrap();
    assert!(urls.len() >= 4 && urls.iter().all(|url| url.as_str().unwrap().starts_with(&admin)), "{urls:?}");
}

#[tokio::test]
async fn with_a_token_the_page_asks_for_it_and_shows_nothing_before() {
    use crate::support::{ADMIN, FORWARD, Reply, Scripted, TestProxy, TokenServer, credential, upstream};
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{ADMIN}token = \"of-the-admin\"\n{}required = true\n{}",
        credential(&tokens),
        upstream("api", &api.origin())
    ));
    let admin = proxy.address("admin");
    for (path, status) in [
        ("/", 200),
        ("/page/main.js", 200),
        ("/page/page.css", 200),
        ("/api/status", 403),
        ("/api/requests", 403),
        ("/api/history", 403),
        ("/api/events", 403),
    ] {
        assert_eq!(get(admin, "localhost", path).await.status, status, "{path}");
    }
    let python = crate::clients::python();
    let Some(browser) = browser() else { return };
    if !crate::clients::there_is(&python, &["-c", "import websockets.asyncio.client"]) {
        return;
    }
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/page.py");
    let mut command = tokio::process::Command::new(python);
    let command =
        command.arg(script).args([browser, &format!("http://{admin}/"), "of-the-admin"]).kill_on_drop(true).output();
    let asking = async {
        loop {
            let request = format!("GET {}/ HTTP/1.1\r\nHost: {}\r\n\r\n", api.origin(), api.address());
            assert_eq!(send(proxy.address("proxy"), request).await.status, 200);
            real_time("the browser looks", std::time::Duration::from_millis(200)).await;
        }
    };
    let output = tokio::select! {
        output = tokio::time::timeout(std::time::Duration::from_secs(90), command) => output.unwrap().unwrap(),
        () = asking => unreachable!(),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let seen: serde_json::Value = serde_json::from_str(said.trim())
        .unwrap_or_else(|_| panic!("{said} {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!((&seen["asked"], &seen["shown_before"]), (&true.into(), &0.into()), "{seen}");
    assert_eq!(seen["wrong_token_told"], true, "{seen}");
    for what in ["live", "refreshed", "explained", "reload_answered", "recent"] {
        assert_eq!(seen[what], true, "{what}: {seen}");
    }
}
