//! Reloads: what changes, what stays, and what a bad file does.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::{
    ADMIN, Caller, FORWARD, Folder, LocalCa, Reply, Scripted, TestProxy, TokenServer, credential, get, send, until,
    upstream,
};

/// A configuration in a file.
struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap() };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("proxy.toml")
    }

    /// As editors do it: another file takes its place.
    fn write(&self, text: &str) {
        std::fs::write(self.folder.path().join("next"), text).unwrap();
        std::fs::rename(self.folder.path().join("next"), self.path()).unwrap();
    }
}

fn base(name: &str, upstream: &str) -> String {
    format!("[listeners.{name}]\naddress = \"127.0.0.1:0\"\nmode = \"reverse\"\nupstream = \"{upstream}\"\n")
}

#[tokio::test]
async fn what_did_not_change_keeps_its_token_and_its_connections() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let text = format!("{}{ADMIN}{}{}", base("base", "api"), credential(&tokens), upstream("api", &api.origin()));
    let file = File::new(&text);
    let proxy = TestProxy::of_file(&file.path());
    let base_url = proxy.address("base");
    assert_eq!(get(base_url, "localhost", "/").await.status, 200);
    file.write(&format!("{text}[upstreams.other]\norigin = \"http://127.0.0.1:1\"\n"));
    let reload = proxy.reload().await;
    assert!(reload.ok, "{reload:?}");
    assert_eq!(reload.changes, ["upstream \"other\" added"]);
    assert_eq!(get(base_url, "localhost", "/").await.status, 200);
    assert_eq!((tokens.requests(), proxy.address("base")), (1, base_url));
    assert!(api.connections() <= 2, "one for each worker at the most");
    assert_eq!(proxy.metric("attache_config_reloads_total{outcome=\"ok\"}").await, 1.0);
}

/// Who can write the file is not always who may say where tokens go.
#[tokio::test]
async fn a_changed_file_waits_with_another_shared_cache() {
    let (one, other) =
        (Scripted::start(|_, _| Reply::ok("one")).await, Scripted::start(|_, _| Reply::ok("other")).await);
    let text = |origin: &str| format!("{}{ADMIN}[upstreams.api]\norigin = \"{origin}\"\n", base("base", "api"));
    let file = File::new(&text(&one.origin()));
    let proxy = TestProxy::of_file(&file.path());
    let base_url = proxy.address("base");
    let cache = "[cache]\nshared = \"redis://127.0.0.1:1\"\nkey = \"a key that is long enough to be one\"\n";
    file.write(&format!("{}{cache}", text(&other.origin())));
    let admin = proxy.address("admin");
    let last = || async { get(admin, "localhost", "/api/status").await.json()["reloads"][0].clone() };
    until("the waiting file is told of", || async { !last().await.is_null() }).await;
    let reload = last().await;
    assert_eq!((&reload["ok"], &reload["cause"]), (&false.into(), &"file".into()));
    assert_eq!(
        reload["problems"][0],
        "upstream \"api\" has another `origin`, [cache] is different; a changed file alone does not decide where secrets go: take it with SIGHUP, `attache reload` or a restart"
    );
    assert_eq!(get(base_url, "localhost", "/").await.text(), "one", "as a whole");
    assert_eq!(proxy.metric("attache_config_reloads_total{outcome=\"failed\"}").await, 0.0, "nothing is wrong with it");
    let reload = proxy.reload().await;
    assert!(reload.ok && reload.changes.contains(&"[cache] changed".to_owned()), "{reload:?}");
    assert_eq!(get(base_url, "localhost", "/").await.text(), "other");
}

/// Paths in the file start at its folder, whether the file itself was named by a relative path or by an absolute one.
#[tokio::test]
async fn relative_paths_mean_the_same_at_start_and_at_a_reload() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let folder = Folder::with(&format!(
        r#"
[listeners.base]
address = "127.0.0.1:0"
mode = "reverse"
upstreams = ["api", "fixed"]
[listeners.secure]
address = "127.0.0.1:0"
mode = "forward"
upstreams = ["api"]
tls = {{ certificate = "certs/../me.pem", key = "me.key" }}
[telemetry]
access_log = "access.log"
[intercept]
ca_certificate = "certs/ca.pem"
ca_key = "certs/ca.key"
[credentials.api]
token_endpoint = "{}"
client_id = "me"
client_secret = [{{ file = "certs/../secret" }}, {{ file = "secret" }}]
ca_file = "me.pem"
[upstreams.api]
origin = "{origin}"
credential = "api"
tls = {{ ca_file = "../{{folder}}/me.pem", client_certificate = "me.pem", client_key = "me.key" }}
[credentials.fixed]
kind = "bearer"
token = {{ file = "secret" }}
[upstreams.fixed]
origin = "{origin}"
credential = "fixed"
path_prefix = "/fixed"
"#,
        tokens.endpoint(),
        origin = api.origin(),
    ));
    let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    folder.write("proxy.toml", &folder.read("proxy.toml").replace("{folder}", &name));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    folder.write("me.pem", &made.cert.pem());
    folder.write("me.key", &made.signing_key.serialize_pem());
    folder.write("secret", "s3cret");
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    let local = LocalCa::new();
    for file in ["ca.pem", "ca.key"] {
        std::fs::copy(local.certificate().with_file_name(file), folder.path().join("certs").join(file)).unwrap();
    }
    for named in [&["run"][..], &["run", "--config", "./certs/../proxy.toml"]] {
        let (issued, opened) = (tokens.requests(), api.connections());
        let running = folder.start(named);
        let mut caller = Caller::connect(running.address("base").await).await;
        for turn in ["at start", "after a reload"] {
            for path in ["/", "/fixed/"] {
                caller.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
                assert_eq!(caller.answer().await.status, 200, "{turn}");
            }
            if turn == "at start" {
                running.signal("HUP");
                running.says("configuration reloaded: nothing is different").await;
            }
        }
        assert_eq!(tokens.requests() - issued, 1, "the token is kept");
        assert_eq!(api.connections() - opened, 2, "and so are the pools, one for each upstream");
    }
}

#[tokio::test]
async fn a_changed_file_is_read_without_being_told() {
    let api = Scripted::start(|_, _| Reply::ok("one")).await;
    let text = |more: &str| format!("{}[upstreams.api]\norigin = \"{}\"\n{more}", base("base", "api"), api.origin());
    let file = File::new(&text(""));
    let proxy = TestProxy::of_file(&file.path());
    let base_url = proxy.address("base");
    assert_eq!(get(base_url, "localhost", "/").await.text(), "one");
    file.write(&text("allow = [{ methods = [\"POST\"] }]\n"));
    until("the rule holds", || async { get(base_url, "localhost", "/").await.status == 403 }).await;
}

#[tokio::test]
async fn last_good() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let text = format!("{}{ADMIN}[upstreams.api]\norigin = \"{}\"\n", base("base", "api"), api.origin());
    let file = File::new(&text);
    let proxy = TestProxy::of_file(&file.path());
    file.write(&format!("{text}colour = \"red\"\n[upstreams.b]\n[limits]\ndrain = \"soon\"\n"));
    let answer = send(
        proxy.address("admin"),
        "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!((answer.status, answer.field("content-type")), (422, Some("application/problem+json")));
    let problems = answer.json()["problems"].clone();
    assert_eq!(problems.as_array().unwrap().len(), 3, "all of them: {problems}");
    assert!(problems[0].as_str().unwrap().contains("proxy.toml:9:1: unknown key `colour`"), "{problems}");
    assert_eq!(get(proxy.address("base"), "localhost", "/").await.status, 200, "the old configuration goes on");
    assert_eq!(proxy.metric("attache_config_reloads_total{outcome=\"failed\"}").await, 1.0);
    let status = get(proxy.address("admin"), "localhost", "/api/status").await.json();
    assert_eq!(
        (&status["reloads"][0]["ok"], &status["reloads"][0]["cause"]),
        (&false.into(), &"api".into()),
        "{status}"
    );
    // And nothing is tried again for a file that was refused already.
    file.write(&text);
    assert!(proxy.reload().await.ok);
}

#[tokio::test]
async fn listeners_come_and_go() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let upstream = format!("[upstreams.api]\norigin = \"{}\"\n", api.origin());
    let file = File::new(&format!("{}{FORWARD}{upstream}", base("old", "api")));
    let proxy = TestProxy::of_file(&file.path());
    let (old, forward) = (proxy.address("old"), proxy.address("proxy"));
    let mut kept = Caller::connect(old).await;
    kept.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(kept.answer().await.status, 200);
    file.write(&format!("{FORWARD}{}{upstream}", base("new", "api")));
    let reload = proxy.reload().await;
    assert_eq!(reload.changes, ["listener \"new\" added", "listener \"old\" removed"]);
    assert_eq!(get(proxy.address("new"), "localhost", "/").await.text(), "fine");
    assert_eq!(proxy.address("proxy"), forward, "the order does not matter");
    let host = api.address().to_string();
    assert_eq!(get(forward, &host, &format!("http://{host}/")).await.text(), "fine");
    assert!(kept.is_closed().await, "a connection to what is gone ends when it is idle");
    until("nobody listens there", || async { tokio::net::TcpStream::connect(old).await.is_err() }).await;
}

#[tokio::test]
async fn a_request_in_flight_finishes_under_the_configuration_that_it_began_with() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let api = Scripted::start(move |_, _| Reply::ok("from the old one").when_open(&held)).await;
    let file = File::new(&format!("{}[upstreams.api]\norigin = \"{}\"\n", base("base", "api"), api.origin()));
    let proxy = TestProxy::of_file(&file.path());
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    until("it is on its way", || async { api.requests() == 1 }).await;
    file.write(&format!("{}[upstreams.b]\norigin = \"http://127.0.0.1:1\"\n", base("other", "b")));
    assert!(proxy.reload().await.ok);
    gate.add_permits(1);
    assert_eq!(caller.answer().await.text(), "from the old one");
}

#[tokio::test]
async fn an_address_that_cannot_be_had_changes_nothing() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let upstream = format!("[upstreams.api]\norigin = \"{}\"\n", api.origin());
    let file = File::new(&format!("{}{upstream}", base("base", "api")));
    let proxy = TestProxy::of_file(&file.path());
    let taken = base("taken", "api").replace("127.0.0.1:0", &api.address().to_string());
    file.write(&format!("{}{taken}{upstream}", base("more", "api")));
    let reload = proxy.reload().await;
    assert!(!reload.ok && reload.problems[0].contains("another program listens there"), "{reload:?}");
    assert_eq!(get(proxy.address("base"), "localhost", "/").await.text(), "fine");
}

#[tokio::test]
async fn a_credential_that_asks_in_another_manner_asks_anew() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let text =
        |more: &str| format!("{}{}{more}{}", base("base", "api"), credential(&tokens), upstream("api", &api.origin()));
    let file = File::new(&text(""));
    let proxy = TestProxy::of_file(&file.path());
    get(proxy.address("base"), "localhost", "/").await;
    for (more, asked) in
        [("timeout = \"3s\"\n", 2), ("timeout = \"3s\"\nrequired = true\n", 2), ("timeout = \"3s\"\n", 2)]
    {
        file.write(&text(more));
        assert!(proxy.reload().await.ok);
        get(proxy.address("base"), "localhost", "/").await;
        assert_eq!(tokens.requests(), asked, "{more}");
    }
}

#[tokio::test]
async fn a_hundred_reloads_under_load_fail_no_request() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let text = |round: usize| {
        // Each kind of change in turn: a credential's request, an upstream's pool, a listener, nothing at all.
        let scope = if round.is_multiple_of(3) { "scope = \"a\"\n" } else { "" };
        let pool = if round % 4 == 1 { "pool = { max = 50 }\n" } else { "" };
        let other = if round % 5 == 2 { base("other", "api") } else { String::new() };
        let (key, api) = (credential(&tokens), upstream("api", &api.origin()));
        format!("{}{other}{key}{scope}{api}{pool}", base("base", "api"))
    };
    let file = File::new(&text(0));
    let proxy = TestProxy::of_file(&file.path());
    let address = proxy.address("base");
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
        callers.spawn(async move {
            let mut caller = Caller::connect(address).await;
            while !done.load(Ordering::SeqCst) {
                if number % 2 == 0 {
                    assert_eq!(get(address, "localhost", "/").await.status, 200);
                } else {
                    caller.write("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi").await;
                    assert_eq!(caller.answer().await.status, 200);
                }
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for round in 1..=100 {
        file.write(&text(round));
        let reload = proxy.reload().await;
        assert!(reload.ok, "{reload:?}");
    }
    done.store(true, Ordering::SeqCst);
    callers.join_all().await;
    assert!(answered.load(Ordering::SeqCst) > 100, "{answered:?}");
}
