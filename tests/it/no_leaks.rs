//! G4: no secret or token in any log, metric, error, page or Debug output, at any level. The real binary, its whole output,
//! and every word it says to callers, searched for sentinels in every form in which they could come out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use tokio::io::AsyncReadExt as _;

use crate::support::{Asked, Caller, Folder, Reply, Running, Scripted, TokenServer};

const CLIENT: &str = "odd:id/+ &%";
const CLIENT_SECRET: &str = "cl1 ent:QzSentinelAq/+=%&~";
const ADMIN_TOKEN: &str = "adm1n-QzSentinelBq-token";
const CALLER_TOKEN: &str = "call3r.QzSentinelCq~token";
const PROXY_PASSWORD: &str = "pr0xy:QzSentinelDq";
const QUERY_TOKEN: &str = "qu3ry-QzSentinelEq";
const ACCESS_TOKEN: &str = "acc3ss.QzSentinelFq-";
const REFRESH_TOKEN: &str = "r3fresh.QzSentinelGq";
const COOKIE: &str = "c00kie-QzSentinelHq";
const USERINFO: &str = "us3rinfo-QzSentinelIq";
const HEADER_KEY: &str = "k3y-QzSentinelJq";
const STATIC_TOKEN: &str = "st4tic.QzSentinelKq-";
const PASSWORD: &str = "p4ss:w ord:QzSentinelLq";
const API_KEY: &str = "4pi k3y, QzSentinelMq";
const COLLECTOR_TOKEN: &str = "c0llector-QzSentinelNq";

/// Every form in which the substance of a sentinel could come out: raw and percent-encoded alike hold it as it is, in any
/// case; base64 of anything around it holds one of three words.
fn forms() -> Vec<String> {
    let mut forms = Vec::new();
    for letter in 'A'..='N' {
        let substance = format!("QzSentinel{letter}q");
        for before in 0..3 {
            // What the neighbours do not touch.
            let encoded = STANDARD.encode([&b"xx"[..before], substance.as_bytes()].concat());
            let from = if before == 0 { 0 } else { 4 };
            forms.push(encoded[from..encoded.len() - 4].to_ascii_lowercase());
        }
        forms.push(substance.to_ascii_lowercase());
    }
    for pair in [format!("{CLIENT}:{CLIENT_SECRET}"), format!("{}:{}", percent(CLIENT), percent(CLIENT_SECRET))] {
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&pair).to_ascii_lowercase());
        }
    }
    forms
}

fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Nothing of any sentinel is in this text.
#[track_caller]
fn assert_clean(place: &str, text: &str) {
    let small = text.to_ascii_lowercase();
    for form in forms() {
        if let Some(at) = small.find(&form) {
            let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
            let line = text[from..].lines().next().unwrap_or_default();
            panic!("{form} is in {place}: {line}");
        }
    }
}

#[test]
fn the_search_finds_every_form() {
    for text in [
        CLIENT_SECRET.to_owned(),
        percent(CLIENT_SECRET),
        STANDARD.encode(CLIENT_SECRET),
        STANDARD.encode(format!("{CLIENT}:{CLIENT_SECRET}")),
        URL_SAFE_NO_PAD.encode(format!("a:{PROXY_PASSWORD}")),
        URL_SAFE_NO_PAD.encode(format!("ab:{PROXY_PASSWORD}")),
        URL_SAFE_NO_PAD.encode(format!("abc:{PROXY_PASSWORD}")),
        format!("{:?}", CALLER_TOKEN.to_ascii_uppercase()),
    ] {
        let found = std::panic::catch_unwind(|| assert_clean("a test", &format!("before\nline {text} end\nafter")));
        assert!(found.is_err(), "{text} was not found");
    }
    assert_clean("a test", "nothing of the kind");
}

/// Everything that attache's callers were told.
#[derive(Default)]
struct Heard(String);

impl Heard {
    /// Sends a request that ends its connection, one way or another, and takes in whatever comes back.
    async fn ask(&mut self, address: std::net::SocketAddr, request: &str) -> String {
        let mut caller = Caller::connect(address).await;
        caller.write(request).await;
        let mut bytes = Vec::new();
        let read = caller.stream.read_to_end(&mut bytes);
        // A reset behind an answer to half a request is an end too.
        let _end = tokio::time::timeout(std::time::Duration::from_secs(30), read).await.expect("no end in time");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.starts_with("HTTP/1.1 "), "no answer to {request:?}: {text:?}");
        self.0 += &text;
        self.0.push('\n');
        text
    }
}

/// A token endpoint that answers with everything that can go wrong, and repeats the secrets it was given each time.
fn token_endpoint(works: Arc<AtomicBool>) -> impl Fn(&Asked, usize) -> Reply + Send + Sync {
    move |asked, number| {
        let token = format!("{ACCESS_TOKEN}{number}");
        if works.load(Ordering::SeqCst) {
            let rest = format!(r#""expires_in":3600,"refresh_token":"{REFRESH_TOKEN}","scope":"a {token}""#);
            return Reply::ok(&format!(r#"{{"access_token":"{token}","token_type":"Bearer",{rest}}}"#));
        }
        let basic = asked.field("authorization").unwrap_or_default().to_owned();
        let json = "content-type: application/json\r\n";
        let both = format!("bad secret {CLIENT_SECRET} in {basic}");
        match number % 6 {
            0 => Reply::new(401, json, &format!(r#"{{"error":"invalid_client","error_description":"{both}"}}"#)),
            1 => Reply::new(200, &format!("content-type: text/{CLIENT_SECRET}\r\n"), &format!("<p>{both}</p>")),
            2 => Reply::new(200, json, &format!(r#"{{"access_token":"{token}\r\nx: y","token_type":"Bearer"}}"#)),
            3 => Reply::new(
                200,
                json,
                &format!(r#"{{"access_token":"{token}","token_type":"mac","error_uri":"{token}"}}"#),
            ),
            4 => Reply::new(307, &format!("location: http://127.0.0.1:1/{token}?x={token}\r\n"), &token),
            _ => Reply::new(500, json, &format!(r#"{{"error":"invalid_grant","error_description":"{both}"}}"#)),
        }
    }
}

fn toml(endpoint: &str, origin: &str) -> String {
    format!(
        r#"
[listeners.proxy]
address = "127.0.0.1:0"
mode = "forward"
upstreams = ["api", "dead", "strict"]
[listeners.base]
address = "127.0.0.1:0"
mode = "reverse"
upstreams = ["api", "bearer", "basic", "key", "query", "gone"]
[telemetry]
access_log = "access.log"
access_log_format = "json"
server_timing = true
request_id = true
[admin]
address = "127.0.0.1:0"
token = {{ env = "ADMIN_TOKEN" }}
[credentials.api]
token_endpoint = "{endpoint}"
client_id = "{CLIENT}"
client_secret = {{ env = "SECRET" }}
headers = {{ X-Api-Key = "{HEADER_KEY}" }}
[upstreams.api]
origin = "{origin}"
credential = "api"
allow = [{{ methods = ["GET", "POST", "TRACE"], paths = ["/allowed/*"] }}]
[upstreams.dead]
origin = "http://127.0.0.1:1"
credential = "api"
[upstreams.strict]
origin = "http://127.0.0.2:1"
credential = "api"
caller_authorization = "reject"
[credentials.query]
token_endpoint = "{endpoint}"
client_id = "{CLIENT}"
client_secret = {{ env = "SECRET" }}
headers = {{ X-Api-Key = "{HEADER_KEY}" }}
inject = {{ query = "access_token" }}
[credentials.bearer]
kind = "bearer"
token = {{ env = "STATIC_TOKEN" }}
[credentials.basic]
kind = "basic"
username = "me"
password = {{ env = "PASSWORD" }}
[credentials.key]
kind = "header"
header = "X-Key"
value = {{ env = "API_KEY" }}
[upstreams.bearer]
origin = "{origin}"
path_prefix = "/bearer"
credential = "bearer"
[upstreams.basic]
origin = "{origin}"
path_prefix = "/basic"
credential = "basic"
[upstreams.key]
origin = "{origin}"
path_prefix = "/key"
credential = "key"
[upstreams.query]
origin = "{origin}"
path_prefix = "/query"
credential = "query"
[upstreams.gone]
origin = "http://127.0.0.1:1"
path_prefix = "/gone"
credential = "query"
"#
    )
}

/// Every secret that the configuration names, by the variable it is in.
const VARIABLES: [(&str, &str); 5] = [
    ("SECRET", CLIENT_SECRET),
    ("ADMIN_TOKEN", ADMIN_TOKEN),
    ("STATIC_TOKEN", STATIC_TOKEN),
    ("PASSWORD", PASSWORD),
    ("API_KEY", API_KEY),
];

/// A folder with this configuration, and its secrets in the environment.
fn folder(toml: &str) -> Folder {
    VARIABLES.iter().fold(Folder::with(toml), |folder, (name, value)| folder.env(name, value))
}

/// The same configuration with its secrets written into it, but for the admin's.
fn literal(toml: &str) -> String {
    let secrets = VARIABLES.iter().filter(|(name, _)| *name != "ADMIN_TOKEN");
    secrets.fold(toml.to_owned(), |toml, (name, value)| {
        toml.replace(&format!("{{ env = \"{name}\" }}"), &format!("\"{value}\""))
    })
}

/// Every way a request can end, with every secret that a caller can bring along.
async fn requests(heard: &mut Heard, running: &Running, host: &str) {
    let (proxy, base) = (running.address("proxy").await, running.address("base").await);
    let basic = STANDARD.encode(format!("caller:{PROXY_PASSWORD}"));
    let secrets = format!(
        "Authorization: Bearer {CALLER_TOKEN}\r\nProxy-Authorization: Basic {basic}\r\nCookie: session={COOKIE}\r\nConnection: close\r\n"
    );
    for target in [
        format!("http://{host}/allowed/x?access_token={QUERY_TOKEN}"),
        format!("http://{host}/denied/x?access_token={QUERY_TOKEN}"),
        format!("http://{host}/allowed/refused?access_token={QUERY_TOKEN}"),
        format!("http://127.0.0.1:1/?access_token={QUERY_TOKEN}"),
        format!("http://127.0.0.2:1/?access_token={QUERY_TOKEN}"),
        format!("http://other.example.com/?access_token={QUERY_TOKEN}"),
        format!("http://{USERINFO}:{USERINFO}@{host}/allowed/x"),
        format!("/allowed/x?access_token={QUERY_TOKEN}"),
        format!("ftp://{host}/?access_token={QUERY_TOKEN}"),
    ] {
        heard.ask(proxy, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{secrets}\r\n")).await;
    }
    for line in ["GET /allowed/x", "GET /allowed/refused", "TRACE /allowed/x", "GET /allowed/%2e%2e"] {
        let target = format!("{line}?access_token={QUERY_TOKEN}");
        heard.ask(base, &format!("{target} HTTP/1.1\r\nHost: localhost\r\n{secrets}\r\n")).await;
    }
    for prefix in ["bearer", "basic", "key", "query", "gone"] {
        for target in ["x", "refused"] {
            let line = format!("GET /{prefix}/{target}?access_token={QUERY_TOKEN}&x=y HTTP/1.1\r\n");
            let own = if prefix == "key" { format!("X-Key: {CALLER_TOKEN}\r\n") } else { String::new() };
            heard.ask(base, &format!("{line}Host: localhost\r\n{own}{secrets}\r\n")).await;
        }
    }
    let line = format!("GET /?access_token={QUERY_TOKEN} HTTP/1.1\r\n");
    let (local, long) = ("Host: localhost\r\n", "y".repeat(100_000));
    for (address, malformed) in [
        (base, format!("{line}Host: {USERINFO}@x\r\n{secrets}\r\n")),
        (base, format!("{line}{secrets}\r\n")),
        (base, format!("{line}{local}bad field {CALLER_TOKEN}\r\n{secrets}\r\n")),
        (base, format!("GET /\u{1}{QUERY_TOKEN} HTTP/1.1\r\n{local}{secrets}\r\n")),
        (base, format!("POST /allowed/x HTTP/1.1\r\n{local}{secrets}Transfer-Encoding: {QUERY_TOKEN}\r\n\r\n")),
        (base, format!("{line}{local}{secrets}X: {long}\r\n\r\n")),
        (proxy, format!("CONNECT {USERINFO}@{host} HTTP/1.1\r\nHost: {host}\r\n{secrets}\r\n")),
        (proxy, format!("CONNECT other.example.com:443 HTTP/1.1\r\nHost: other.example.com:443\r\n{secrets}\r\n")),
    ] {
        heard.ask(address, &malformed).await;
    }
}

/// Every page of the admin listener, with its token, with a wrong one and without.
async fn pages(heard: &mut Heard, running: &Running) {
    let admin = running.address("admin").await;
    let explain = "GET /api/explain?url=http://127.0.0.1:1/";
    let refresh = "POST /api/credentials/api/refresh";
    for line in ["GET /", "GET /metrics", "GET /readyz", "GET /api/status", explain, refresh] {
        for token in [ADMIN_TOKEN, CALLER_TOKEN, ""] {
            let fields = "Content-Type: application/json\r\nContent-Length: 0\r\nConnection: close\r\n";
            let head = format!("{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{fields}\r\n");
            let answer = heard.ask(admin, &head).await;
            // The page itself is the same text everywhere.
            let refused = token != ADMIN_TOKEN && line != "GET /";
            assert_eq!(answer.starts_with("HTTP/1.1 403"), refused, "{line}: {answer}");
        }
    }
}

#[tokio::test]
async fn no_leaks() {
    let api =
        Scripted::start(
            |asked, _| {
                if asked.target().contains("refused") { Reply::new(401, "", "no") } else { Reply::ok("fine") }
            },
        )
        .await;
    for format in ["text", "json"] {
        let works = Arc::new(AtomicBool::new(false));
        let tokens = TokenServer::scripted(token_endpoint(Arc::clone(&works))).await;
        let collector = Scripted::start(|_, _| Reply::ok("")).await;
        let folder = folder(&toml(&tokens.endpoint(), &api.origin()))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.origin())
            .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer {COLLECTOR_TOKEN}"));
        let running = folder.start(&["run", "--log", "trace", "--log-format", format]);
        let mut heard = Heard::default();
        let host = api.address().to_string();
        // Each refresh brings the next kind of failure; requests in between meet the remembered one.
        for _ in 0..6 {
            pages(&mut heard, &running).await;
            requests(&mut heard, &running, &host).await;
        }
        let before = api.requests();
        assert!(tokens.requests() >= 6, "every failure has happened");
        works.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            pages(&mut heard, &running).await;
            requests(&mut heard, &running, &host).await;
        }
        let asked = api.asked();
        assert!(asked.len() > before, "some were answered");
        let basic = STANDARD.encode(format!("me:{PASSWORD}"));
        let ours = [ACCESS_TOKEN, STATIC_TOKEN, &basic, API_KEY];
        let carries = |one: &Asked, secret: &str| format!("{one:?}").contains(secret);
        for one in &asked[before..] {
            assert!(ours.iter().any(|secret| carries(one, secret)), "{one:?}");
            assert!(!carries(one, CALLER_TOKEN), "{one:?}");
        }
        let query = format!("x=y&access_token={ACCESS_TOKEN}");
        for secret in ours.into_iter().chain([query.as_str()]) {
            assert!(asked.iter().any(|one| carries(one, secret)), "nothing was sent with {secret}");
        }
        running.signal("TERM");
        let finished = running.finish().await;
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(finished.stderr.contains("token obtained"), "this log says nothing: {}", finished.stderr);
        assert!(heard.0.contains("attache_requests_total") && heard.0.contains("invalid_client"), "{}", heard.0);
        assert_clean("what callers were told", &heard.0);
        assert_clean("stdout", &finished.stdout);
        assert_clean("stderr", &finished.stderr);
        let access = folder.read("access.log");
        assert!(access.contains("retried_failed") && access.contains("injected"), "{access}");
        assert_clean("the access log", &access);
        let traces = collector.asked();
        assert!(
            traces.iter().any(|asked| asked.field("authorization").is_some_and(|sent| sent.contains(COLLECTOR_TOKEN)))
        );
        for asked in traces {
            assert_clean("a trace", &String::from_utf8_lossy(&asked.body));
        }
    }
}

#[tokio::test]
async fn no_command_tells_a_secret_but_token_on_stdout() {
    let works = Arc::new(AtomicBool::new(false));
    let tokens = TokenServer::scripted(token_endpoint(Arc::clone(&works))).await;
    let endpoint = tokens.endpoint();
    // Another origin than that of the dead upstream: two with one origin are refused.
    let folder = folder(&toml(&endpoint, "http://127.0.0.3:1"));
    let ad_hoc = ["--token-endpoint", &endpoint, "--client-id", CLIENT, "--client-secret-env", "SECRET"];
    let commands: [&[&str]; 13] = [
        &["check"],
        &["check", "--live"],
        &["check", "--live", "--json"],
        &["explain", "GET", "http://127.0.0.1:1/", "--json"],
        &["token", "api"],
        &["token", "api", "--json"],
        &["token", "query"],
        &["token", "bearer"],
        &["token", "bearer", "--json"],
        &["token", "basic", "--json"],
        &["token", "key"],
        &[&["token"][..], &ad_hoc].concat(),
        &[&["token", "--json"][..], &ad_hoc].concat(),
    ];
    for round in 0..7 {
        works.store(round == 6, Ordering::SeqCst);
        for command in commands {
            let finished = folder.run(&[command, &["--log", "trace"][..]].concat()).await;
            assert_clean(&format!("the stderr of {command:?}"), &finished.stderr);
            if command[0] == "token" && finished.code == Some(0) {
                let token = if command[1] == "bearer" { STATIC_TOKEN } else { ACCESS_TOKEN };
                assert!(finished.stdout.contains(token), "{finished:?}");
            } else {
                assert_ne!(finished.code, Some(78), "{finished:?}");
                assert_clean(&format!("the stdout of {command:?}"), &finished.stdout);
            }
        }
    }
}

/// Files with a secret in them and something wrong next to it.
fn wrong_files() -> Vec<String> {
    let right = toml("https://login.example.com/token", "https://api.example.com");
    let literal = literal(&right);
    let with = |from: &str, to: &str| {
        assert!(literal.contains(from), "{from}");
        literal.replace(from, to)
    };
    let (secret, key) = (format!("\"{CLIENT_SECRET}\""), format!("\"{HEADER_KEY}\""));
    let (endpoint, origin) = ("https://login.example.com/token", "https://api.example.com");
    vec![
        with("mode = \"forward\"", "mode = \"forwrd\""),
        with("client_secret =", "client_secrt ="),
        with("client_secret =", "timeout ="),
        with("client_secret =", "client_auth ="),
        with("client_secret =", "kind ="),
        with("client_secret =", "scope = 5\nclient_secret.value ="),
        with(&secret, CLIENT_SECRET),
        with(&secret, &format!("\"{CLIENT_SECRET}")),
        with(&secret, &format!("{secret} {secret}")),
        with(&secret, &format!("[{secret}, 5]")),
        with(&secret, &format!("{{ file = {secret}, env = {secret} }}")),
        with(endpoint, &format!("https://me:{USERINFO}@login.example.com/token")),
        with(origin, &format!("https://me:{USERINFO}@api.example.com")),
        with(origin, &format!("https://api.example.com/?key={QUERY_TOKEN}")),
        with(endpoint, &format!("http://login.example.com/token?key={QUERY_TOKEN}#{QUERY_TOKEN}")),
        with("{ env = \"ADMIN_TOKEN\" }", &format!("{{ environment = \"{ADMIN_TOKEN}\" }}")),
        with("{ env = \"ADMIN_TOKEN\" }", &format!("{{ env = \"{ADMIN_TOKEN}")),
        with("X-Api-Key =", "\"X Api Key\" ="),
        with(&key, &format!("\"{HEADER_KEY}\\n\"")),
        format!("{literal}\n[cache]\nshared = \"redis://:{USERINFO}@cache.example.com\"\nkey = \"{HEADER_KEY}\"\n"),
        format!("{literal}\n[callers.a]\npasswort = \"{PROXY_PASSWORD}\"\n"),
        with(&format!("token = \"{STATIC_TOKEN}"), &format!("token = \"a {STATIC_TOKEN}")),
        with("token = \"", "tokn = \""),
        with("kind = \"bearer\"", &format!("kind = \"{STATIC_TOKEN}\"")),
        with("username = \"me\"", &format!("username = \"{PASSWORD}\"")),
        with("password = \"", &format!("username2 = \"{PASSWORD}\"\npassword = \"\u{9}")),
        with("header = \"X-Key\"", &format!("header = \"{API_KEY}\"")),
        with("value = \"", "value = \" "),
        with("query = \"access_token\"", &format!("format = \"{STATIC_TOKEN}\"")),
        with("{ query = \"access_token\" }", &format!("\"{STATIC_TOKEN}\"")),
    ]
}

#[tokio::test]
async fn a_wrong_configuration_is_told_without_the_secrets_in_it() {
    for (number, file) in wrong_files().into_iter().enumerate() {
        let folder = Folder::with(&file).env("ADMIN_TOKEN", ADMIN_TOKEN);
        let commands: [&[&str]; 4] = [&["check"], &["check", "--json"], &["run"], &["token", "api", "--json"]];
        for command in commands {
            let finished = folder.run(&[command, &["--log", "trace"][..]].concat()).await;
            assert_eq!(finished.code, Some(78), "file {number}, {command:?}: {finished:?}");
            assert_clean(&format!("file {number}, {command:?}, stdout"), &finished.stdout);
            assert_clean(&format!("file {number}, {command:?}, stderr"), &finished.stderr);
        }
    }
}

#[tokio::test]
async fn debug_output_tells_nothing() {
    let right = toml("https://login.example.com/token", "https://api.example.com");
    let folder = tempfile::tempdir().unwrap();
    let right = right.replace("access.log", folder.path().join("access.log").to_str().unwrap());
    let literal = literal(&right).replace("{ env = \"ADMIN_TOKEN\" }", &format!("\"{ADMIN_TOKEN}\""));
    let config = attache::config::Config::parse("x", &literal).unwrap();
    assert_clean("the Debug output of a configuration", &format!("{config:?}"));
    let app = attache::app::App::start_with(config, 1).unwrap();
    assert_clean("the Debug output of a running attache", &format!("{app:?}"));
    for file in wrong_files() {
        if let Err(errors) = attache::config::Config::parse("x", &file) {
            assert_clean("the Debug output of configuration errors", &format!("{errors:?}"));
        }
    }
}
