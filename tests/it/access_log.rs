//! The access log: one line for each request, and nothing in it that could be a secret.

use crate::support::{Caller, FORWARD, Reply, Scripted, TestProxy, TokenServer, credential, send, until, upstream};

#[tokio::test]
async fn each_request_is_a_line_without_its_query_and_fields() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("hello")).await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let proxy = TestProxy::start(&format!(
        "{FORWARD}[telemetry]\naccess_log = \"{}\"\naccess_log_format = \"json\"\n{}{}",
        path.display(),
        credential(&tokens),
        upstream("api", &api.origin())
    ));
    let (address, host) = (proxy.address("proxy"), api.address());
    let request = |path: &str| {
        format!(
            "GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: mine\r\nCookie: sentinel-cookie\r\n\r\n"
        )
    };
    assert_eq!(send(address, request("/a?key=sentinel-query")).await.status, 200);
    let refused = send(address, "GET http://other.test/b?sentinel-query HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert_eq!(refused.status, 403);
    let mut tunnel = Caller::connect(address).await;
    tunnel.write(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert_eq!(tunnel.answer_head().await.status, 200);
    drop(tunnel);
    let lines = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    until("three lines", || async { lines().len() == 3 }).await;
    let of = |path: &str| lines().into_iter().find(|line| line["path"] == path).unwrap();
    let fine = of("/a");
    for (key, value) in [
        ("upstream", "api"),
        ("credential", "key"),
        ("outcome", "injected"),
        ("listener", "proxy"),
        ("method", "GET"),
        ("request_id", "mine"),
    ] {
        assert_eq!(fine[key], value, "{fine}");
    }
    assert_eq!((&fine["status"], &fine["bytes"]), (&200.into(), &5.into()));
    assert!(fine["duration_ms"].as_f64().unwrap() > 0.0 && fine["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let denied = of("/b");
    assert_eq!(
        (&denied["outcome"], &denied["status"], &denied["upstream"]),
        (&"denied".into(), &403.into(), &"-".into())
    );
    assert_eq!(denied["request_id"].as_str(), refused.field("x-request-id"), "as the caller was told");
    assert_eq!(of("")["outcome"], "tunneled");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("sentinel") && !text.contains("token-1") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn queries_are_written_only_if_asked_for_and_connecting_is_told_apart() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("hello")).await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let proxy = TestProxy::start_with(
        &format!(
            "{FORWARD}[telemetry]\naccess_log = \"{}\"\naccess_log_format = \"json\"\naccess_log_query = true\nserver_timing = true\nrequest_id = true\n{}{}",
            path.display(),
            credential(&tokens),
            upstream("api", &api.origin())
        ),
        1,
    );
    let host = api.address();
    let request = format!("GET http://{host}/a?x=1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = send(proxy.address("proxy"), request.clone()).await;
        let timing = answer.field("server-timing").unwrap();
        assert!(timing.starts_with("token;dur=") && timing.contains(", upstream;dur="), "{timing}");
        ids.push(answer.field("x-request-id").unwrap().to_owned());
    }
    let sent: Vec<String> = api.asked().iter().map(|asked| asked.field("x-request-id").unwrap().to_owned()).collect();
    assert_eq!(sent, ids, "the upstream is told the same");
    let lines = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    until("two lines", || async { lines().len() == 2 }).await;
    let [first, second] = &lines()[..] else { panic!("two lines") };
    assert_eq!(
        (&first["path"], &first["request_id"], &first["generation"]),
        (&"/a?x=1".into(), &ids[0].clone().into(), &1.into())
    );
    assert!(first["connect_ms"].as_f64().unwrap() > 0.0 && first["token_ms"].as_f64().unwrap() > 0.0, "{first}");
    assert!(second["connect_ms"].is_null(), "the connection was there: {second}");
    assert!(second["upstream_ms"].as_f64().unwrap() <= second["duration_ms"].as_f64().unwrap(), "{second}");
}

#[tokio::test]
async fn every_request_of_a_caller_names_it_and_none_of_a_stranger_does() {
    use base64::Engine as _;
    let api = Scripted::start(|_, _| Reply::ok("hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let base = |format: &str, path: &std::path::Path| {
        format!(
            "[listeners.base]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"api\"\ncallers = [\"one\"]\n\
             [callers.one]\npassword = \"s3cret\"\n[upstreams.api]\norigin = \"{}\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [telemetry]\naccess_log = \"{}\"\naccess_log_format = \"{format}\"\n",
            api.origin(),
            path.display()
        )
    };
    let ask = async |proxy: &TestProxy, pair: &str| {
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        let request = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {pair}\r\n\r\n", pair.len());
        send(proxy.address("base"), request).await.status
    };
    let json = TestProxy::start(&base("json", &path));
    let status = || crate::support::get(json.address("admin"), "127.0.0.1", "/api/requests");
    // A browser looks at the status page.
    assert_eq!(status().await.status, 200);
    assert_eq!((ask(&json, "one:s3cret").await, ask(&json, "one:wrong-one").await), (200, 401));
    let text = || std::fs::read_to_string(&path).unwrap();
    until("two lines", || async { text().lines().count() == 2 }).await;
    let callers = |lines: Vec<serde_json::Value>| -> Vec<(u64, Option<String>)> {
        let of =
            |line: &serde_json::Value| (line["status"].as_u64().unwrap(), line["caller"].as_str().map(str::to_owned));
        lines.iter().map(of).collect()
    };
    let named = [(200, Some("one".to_owned())), (401, None)];
    assert_eq!(callers(text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()), named);
    let recent = callers(status().await.json()["requests"].as_array().unwrap().clone());
    assert_eq!(recent, named, "on the page too");

    let plain = folder.path().join("plain.log");
    let text = TestProxy::start(&base("text", &plain));
    assert_eq!(ask(&text, "one:s3cret").await, 200);
    let line = || std::fs::read_to_string(&plain).unwrap();
    until("a line", || async { line().ends_with('\n') }).await;
    assert_eq!(line().split(' ').nth(3), Some("one"), "{}", line());
}

#[tokio::test]
async fn a_host_forges_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let proxy = TestProxy::start(&format!("{FORWARD}[telemetry]\naccess_log = \"{}\"\n", path.display()));
    let host = "good\" 200 0B 0.1ms injected orders orders deadbeef \"";
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(send(proxy.address("proxy"), request).await.status, 400);
    let line = || std::fs::read_to_string(&path).unwrap();
    until("a line", || async { line().ends_with('\n') }).await;
    let written = line();
    assert!(written.contains("\"GET good\\x22\\x20200\\x20"), "{written}");
    assert_eq!(written.split('"').nth(2).and_then(|behind| behind.split(' ').nth(1)), Some("400"), "{written}");
}
