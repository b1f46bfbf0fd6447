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

/// A proxy with an access log of this format, in front of an API that wants a token; and the path of the log.
async fn logging(
    format: &str,
    folder: &tempfile::TempDir,
    more: &str,
) -> (TestProxy, Scripted, TokenServer, std::path::PathBuf) {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("hello")).await);
    let path = folder.path().join(format!("{format}.log"));
    let proxy = TestProxy::start(&format!(
        "{FORWARD}{more}[telemetry]\naccess_log = \"{}\"\naccess_log_format = \"{format}\"\n{}{}",
        path.display(),
        credential(&tokens),
        upstream("api", &api.origin())
    ));
    (proxy, api, tokens, path)
}

const AGENT: &str =
    "User-Agent: batch/1.0 (\"quoted\")\r\nReferer: https://me:sentinel-user@from.test/x?sentinel-query#sentinel\r\n";

#[tokio::test]
async fn of_the_fields_user_agent_and_referer_are_written_where_that_is_said() {
    for (format, expected) in
        [("text", [false, false]), ("json", [true, false]), ("otel", [true, false]), ("combined", [true, true])]
    {
        let folder = tempfile::tempdir().unwrap();
        let (proxy, api, _tokens, path) = logging(format, &folder, "").await;
        let host = api.address();
        let request = format!(
            "POST http://{host}/a HTTP/1.1\r\nHost: {host}\r\nUser-Agent: batch/1.0\r\nReferer: https://from.test/x\r\n\
             Accept: a/sentinel\r\nAuthorization: Bearer sentinel\r\nCookie: a=sentinel\r\nX-Api-Key: sentinel\r\nOrigin: https://sentinel.test\r\n\
             Content-Length: 8\r\n\r\nsentinel"
        );
        assert_eq!(send(proxy.address("proxy"), request).await.status, 200);
        let line = || std::fs::read_to_string(&path).unwrap();
        until("a line", || async { line().ends_with('\n') }).await;
        let line = line();
        assert_eq!(["batch/1.0", "from.test"].map(|value| line.contains(value)), expected, "{line}");
        assert!(!line.contains("sentinel"), "{line}");
    }
}

#[tokio::test]
async fn combined_is_what_other_servers_write() {
    let folder = tempfile::tempdir().unwrap();
    let (proxy, api, _tokens, path) = logging("combined", &folder, "").await;
    let (host, address) = (api.address(), proxy.address("proxy"));
    let request =
        format!("POST http://{host}/a?sentinel-query HTTP/1.1\r\nHost: {host}\r\n{AGENT}Content-Length: 3\r\n\r\nabc");
    assert_eq!(send(address, request).await.status, 200);
    let mut tunnel = Caller::connect(address).await;
    tunnel.write(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert_eq!(tunnel.answer_head().await.status, 200);
    drop(tunnel);
    let lines = || -> Vec<String> { std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect() };
    until("two lines", || async { lines().len() == 2 }).await;
    let lines = lines();
    let post = lines.iter().find(|line| line.contains("POST")).unwrap();
    assert!(post.starts_with("127.0.0.1 - - ["), "{post}");
    let behind = post.split_once("] ").unwrap().1;
    let expected =
        format!("\"POST http://{host}/a HTTP/1.1\" 200 5 \"https://from.test/x\" \"batch/1.0 (\\\"quoted\\\")\"");
    assert_eq!(behind, expected);
    assert!(
        lines.iter().any(|line| line.contains(&format!("\"CONNECT {host} HTTP/1.1\" 200 - \"-\" \"-\""))),
        "{lines:?}"
    );
}

#[tokio::test]
async fn otel_has_the_names_of_the_conventions_and_json_as_much() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    for format in ["otel", "json"] {
        let folder = tempfile::tempdir().unwrap();
        let (proxy, api, _tokens, path) = logging(format, &folder, "").await;
        let (host, address) = (api.address(), proxy.address("proxy"));
        let request = format!(
            "POST http://{host}/a?sentinel-query HTTP/1.1\r\nHost: {host}\r\n{AGENT}Content-Length: 3\r\n\
             traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n\r\nabc"
        );
        assert_eq!(send(address, request).await.status, 200);
        assert_eq!(send(address, "GET http://other.test/b HTTP/1.1\r\nHost: other.test\r\n\r\n").await.status, 403);
        let lines = || -> Vec<serde_json::Value> {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains("sentinel"), "{text}");
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        until("two lines", || async { lines().len() == 2 }).await;
        let lines = lines();
        let names: [&str; 8] = if format == "otel" {
            [
                "http.response.status_code",
                "url.scheme",
                "http.request.body.size",
                "user_agent.original",
                "attache.upstream_address",
                "error.type",
                "network.protocol.version",
                "client.address",
            ]
        } else {
            ["status", "scheme", "request_bytes", "user_agent", "upstream_address", "error", "protocol", "peer"]
        };
        let of = |status: u16| lines.iter().find(|line| line[names[0]] == status).unwrap();
        let fine = of(200);
        assert_eq!((&fine[names[1]], &fine[names[2]]), (&"http".into(), &3.into()), "{fine}");
        assert_eq!(fine[names[3]], "batch/1.0 (\"quoted\")");
        assert_eq!(fine[names[4]], api.address().to_string());
        assert!(fine[names[5]].is_null() && fine["span_id"].is_null(), "{fine}");
        assert_eq!(fine["trace_id"], TRACE, "the caller's, where attache sends no traces");
        let (version, client) =
            if format == "otel" { ("1.1", "127.0.0.1") } else { ("HTTP/1.1", fine["peer"].as_str().unwrap()) };
        assert_eq!((&fine[names[6]], &fine[names[7]]), (&version.into(), &client.into()));
        let denied = of(403);
        assert_eq!(denied[names[5]], "http_request_denied", "{denied}");
        assert!(denied[names[4]].is_null() && denied["trace_id"].is_null(), "{denied}");
        if format == "otel" {
            assert_eq!((&fine["server.address"], &fine["url.path"]), (&"127.0.0.1".into(), &"/a".into()));
            assert_eq!(fine["server.port"], api.address().port());
            assert!(fine["timestamp"].as_str().unwrap().ends_with('Z') && denied.get("error.type").is_some());
        }
        for name in ["duration_ms", "attache.duration_ms"] {
            let Some(took) = fine[name].as_f64() else { continue };
            assert!(took.to_string().len() <= 12, "microseconds are enough: {took}");
        }
    }
}
