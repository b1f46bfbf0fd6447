//! The admin API against its own description, and against whatever else is sent to it.

use serde_json::Value;

use crate::support::{
    ADMIN, Answer, Caller, FORWARD, Reply, Scripted, TestProxy, TokenServer, credential, send, upstream,
};

fn description() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

struct World {
    proxy: TestProxy,
    api: Scripted,
    _tokens: TokenServer,
}

async fn world() -> World {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let proxy = TestProxy::start(&format!("{FORWARD}{ADMIN}{}{}", credential(&tokens), upstream("api", &api.origin())));
    World { proxy, api, _tokens: tokens }
}

impl World {
    async fn ask(&self, method: &str, target: &str, fields: &str) -> Answer {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{fields}\r\n");
        send(self.proxy.address("admin"), request).await
    }
}

/// What of JSON Schema the description uses.
fn assert_valid(all: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/components/schemas/").unwrap();
        return assert_valid(all, &all["components"]["schemas"][name], value, at);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{at}: a schema without a type: {schema}"),
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(
        types.contains(&is) || (is == "integer" && types.contains(&"number")),
        "{at} is {is}, not {types:?}: {value}"
    );
    if let Some(choices) = schema["enum"].as_array() {
        assert!(choices.contains(value), "{at} is {value}, not one of {choices:?}");
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        assert_valid(all, &schema["items"], item, &format!("{at}[{index}]"));
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(name.as_str().unwrap()), "{at} has no {name}: {value}");
    }
    for (name, member) in object {
        let of = match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) if schema["properties"].is_null() => continue,
            (Value::Null, of) => of,
            (of, _) => of,
        };
        assert!(!of.is_null(), "{at} has a member {name:?} that is not described: {value}");
        assert_valid(all, of, member, &format!("{at}.{name}"));
    }
}

/// The answer is one of those that are described for this operation.
fn assert_described(all: &Value, method: &str, path: &str, answer: &Answer) {
    let responses = &all["paths"][path][method]["responses"];
    let described = &responses[answer.status.to_string()];
    assert!(
        !described.is_null(),
        "{method} {path} answers {} and that is not described: {}",
        answer.status,
        answer.text()
    );
    let content = described["content"].as_object().unwrap();
    let content_type = answer.field("content-type").unwrap_or_default();
    let media = content
        .get(content_type)
        .unwrap_or_else(|| panic!("{method} {path} answers {content_type:?}, described is {content:?}"));
    if content_type.contains("json") && path != "/api/openapi.json" {
        assert_valid(all, &media["schema"], &answer.json(), &format!("{method} {path}"));
    }
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/api.rs");
    let code = std::fs::read_to_string(path).unwrap();
    let mut routes: Vec<(String, String)> = Vec::new();
    for line in code.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, rest) = line.split_once('"').unwrap();
        let method = rest.trim_start_matches(", ").split('(').next().unwrap();
        routes.push((path.to_owned(), method.to_owned()));
    }
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, operations) in description()["paths"].as_object().unwrap() {
        described.extend(operations.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())));
    }
    routes.sort();
    described.sort();
    assert_eq!(routes, described);
}

#[tokio::test]
async fn every_answer_is_as_described() {
    let world = world().await;
    let all = description();
    assert_eq!(world.ask("GET", "/api/openapi.json", "").await.json(), all, "it is served as it is");
    for path in ["/", "/api", "/livez", "/healthz", "/startupz", "/readyz", "/metrics", "/api/status"] {
        let answer = world.ask("GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert_described(&all, "get", path, &answer);
    }
    for (target, status, path) in [
        ("/livez?verbose", 200, "/livez"),
        ("/startupz?verbose", 200, "/startupz"),
        ("/readyz?verbose", 200, "/readyz"),
        ("/page/main.js", 200, "/page/{file}"),
        ("/page/page.css", 200, "/page/{file}"),
        ("/page/nothing", 404, "/page/{file}"),
        ("/api/requests", 200, "/api/requests"),
        ("/api/requests?since=x", 400, "/api/requests"),
        ("/api/history", 200, "/api/history"),
        ("/api/history?credential=key", 200, "/api/history"),
        ("/api/history?upstream=%ff", 200, "/api/history"),
        ("/api/log", 409, "/api/log"),
    ] {
        let answer = world.ask("GET", target, "").await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        assert_described(&all, "get", path, &answer);
    }
    for (target, status) in [("/api/explain?url=http://x.test/", 200), ("/api/explain?method=GET", 400)] {
        let answer = world.ask("GET", target, "").await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        assert_described(&all, "get", "/api/explain", &answer);
    }
    let json = "Content-Type: application/json\r\n";
    let refresh = "/api/credentials/{name}/refresh";
    for (target, fields, status, path) in [
        ("/api/credentials/key/refresh", json, 200, refresh),
        ("/api/credentials/nobody/refresh", json, 404, refresh),
        ("/api/credentials/key/refresh", "", 415, refresh),
        ("/api/reload", json, 422, "/api/reload"),
        ("/api/reload", "Content-Type: text/plain\r\n", 415, "/api/reload"),
        ("/api/log", "", 415, "/api/log"),
        ("/api/log", json, 400, "/api/log"),
        ("/quitquitquit", "Content-Type: text/plain\r\n", 415, "/quitquitquit"),
        ("/quitquitquit", json, 200, "/quitquitquit"),
    ] {
        let answer = world.ask("POST", target, fields).await;
        assert_eq!(answer.status, status, "{target} {fields:?}: {}", answer.text());
        assert_described(&all, "post", path, &answer);
    }
    let elsewhere = "POST /api/credentials/key/refresh HTTP/1.1\r\nHost: evil.test\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n";
    let refused = send(world.proxy.address("admin"), elsewhere).await;
    assert_eq!(refused.status, 403);
    assert_described(&all, "post", refresh, &refused);
    let status = world.ask("GET", "/api/status", "").await;
    assert_described(&all, "get", "/api/status", &status);
    assert_eq!(status.json()["credentials"][0]["state"], "ready");
}

#[tokio::test]
async fn what_it_says_of_a_shared_cache_is_as_described() {
    let tokens = TokenServer::start().await;
    let cache = "[cache]\nshared = \"redis://127.0.0.1:1\"\nkey = \"of-a-fleet-whose-server-is-not-there\"\n";
    let proxy = TestProxy::start(&format!("{FORWARD}{ADMIN}{}{cache}", credential(&tokens)));
    for path in ["/readyz", "/api/status"] {
        let answer = crate::support::get(proxy.address("admin"), "localhost", path).await;
        assert_described(&description(), "get", path, &answer);
        let state = answer.json()["cache"].clone();
        assert!(state == "away" || state["state"] == "away", "{state}");
        assert!(answer.json()["credentials"][0]["shared"].is_object(), "{}", answer.text());
    }
}

#[tokio::test]
async fn the_last_requests_are_kept_while_a_page_looks() {
    let world = world().await;
    let address = world.proxy.address("proxy");
    let request =
        |path: &str| format!("GET {}{path} HTTP/1.1\r\nHost: {}\r\n\r\n", world.api.origin(), world.api.address());
    assert_eq!(send(address, request("/before?sentinel")).await.status, 200);
    let looked = world.ask("GET", "/api/requests", "").await.json();
    assert_eq!((&looked["requests"], &looked["next"]), (&serde_json::json!([]), &0.into()), "nobody had looked");
    assert_eq!(send(address, request("/after?sentinel")).await.status, 200);
    let answer = world.ask("GET", "/api/requests?since=0", "").await;
    assert_described(&description(), "get", "/api/requests", &answer);
    let recent = &answer.json()["requests"];
    assert_eq!((recent.as_array().unwrap().len(), &recent[0]["path"]), (1, &"/after".into()), "{recent}");
    assert_eq!((&recent[0]["outcome"], &recent[0]["generation"]), (&"injected".into(), &1.into()), "{recent}");
    assert_eq!((&recent[0]["tries"][0]["status"], &recent[0]["id"]), (&200.into(), &1.into()), "{recent}");
    assert!(!answer.text().contains("sentinel") && !answer.text().contains("token-1"));
    assert_eq!(world.ask("GET", "/api/requests?since=1", "").await.json()["requests"], serde_json::json!([]));
}

#[tokio::test]
async fn nothing_that_is_sent_makes_it_fail() {
    let world = world().await;
    let long = "x".repeat(9000);
    let paths = [
        "/",
        "/api/status",
        "/api/explain",
        "/api/explain?url=%00",
        "/api/explain?url=%ff%fe",
        "/api/explain?url=http://[::1",
        "/api/explain?method=%20&url=http://a/",
        "/api/explain?url=http://a@b/&listener=nobody",
        "/api/explain?%",
        "/api/credentials//refresh",
        "/api/credentials/%2e%2e/refresh",
        "/api/credentials/%00/refresh",
        "/api/credentials/%ff/refresh",
        "/api/credentials/a%2fb/refresh",
        "//",
        "/../etc/passwd",
        "/api/status/",
        "/api/log",
        "/api/%73tatus",
        "*",
        "http://localhost/api/status",
        &format!("/{long}"),
        &format!("/api/explain?url=http://{long}.test/"),
        &format!("/api/explain?method={long}&url=http://a/"),
    ];
    let fields = [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: application/json; charset=\"\r\n",
        "Content-Type: \u{ff}\r\n",
        "Accept: application/openmetrics-text;version=x;q=nan\r\n",
        "Origin: null\r\n",
        "Authorization: Bearer\r\n",
        "Accept-Encoding: gzip\r\nRange: bytes=0-\r\nIf-None-Match: *\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: websocket\r\nConnection: upgrade\r\n",
    ];
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in &paths {
            for field in &fields {
                let mut caller = Caller::connect(world.proxy.address("admin")).await;
                caller
                    .write(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{field}\r\n"))
                    .await;
                let answer = caller.answer_head().await;
                assert!(
                    answer.status < 500 || matches!(answer.status, 502 | 503),
                    "{method} {path} {field:?}: {}",
                    answer.status
                );
            }
        }
    }
    assert_eq!(world.ask("GET", "/livez", "").await.status, 200);
    assert_eq!(world.proxy.metric("attache_panics_total").await, 0.0);
}

#[tokio::test]
async fn what_does_not_work_is_told_with_its_next_step() {
    let world = world().await;
    let caller = world.proxy.address("proxy");
    assert_eq!(send(caller, "GET http://nobody.test/x HTTP/1.1\r\nHost: nobody.test\r\n\r\n").await.status, 403);
    let away = format!("GET {}/ HTTP/1.1\r\nHost: {}\r\n\r\n", world.api.origin(), world.api.address());
    assert_eq!(send(caller, away.as_str()).await.status, 200);
    let answer = world.ask("GET", "/api/status", "").await;
    assert_described(&description(), "get", "/api/status", &answer);
    let status = answer.json();
    let host = &status["refused_hosts"][0];
    assert_eq!((&host["origin"], &host["count"]), (&"http://nobody.test".into(), &1.into()), "{host}");
    let told = &status["attention"][0];
    assert!(told["next_step"].as_str().unwrap().contains("origin = \"http://nobody.test"), "{told}");
    let request = world.ask("GET", "/api/requests", "").await;
    assert_described(&description(), "get", "/api/requests", &request);

    let history = world.ask("GET", "/api/history", "").await;
    assert_described(&description(), "get", "/api/history", &history);
    let events = &history.json()["credentials"][0];
    assert_eq!((&events["name"], &events["events"][0]["event"]), (&"key".into(), &"obtained".into()), "{events}");
    crate::support::until("a sample of the request", || async {
        let history = world.ask("GET", "/api/history?upstream=api", "").await.json();
        history["upstreams"][0]["requests"].as_array().is_some_and(|counts| counts.contains(&1.into()))
    })
    .await;
}
