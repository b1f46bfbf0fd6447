//! A changed file alone never changes where or how a secret is sent: it waits as a whole, and says so.

use serde_json::Value;

use crate::support::{
    ADMIN, Folder, Reply, Scripted, TestProxy, TokenServer, credential, get, reverse, send, until, upstream,
};

/// A folder with a configuration, its secret in a file, and what runs by it.
struct World {
    folder: Folder,
    proxy: TestProxy,
    tokens: TokenServer,
    api: Scripted,
}

impl World {
    async fn start() -> Self {
        let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
        let folder = Folder::new();
        folder.write("secret", "s3cret");
        let text = format!(
            "{}{ADMIN}[credentials.key]\ntoken_endpoint = \"{}\"\nclient_id = \"me\"\nclient_secret = {{ file = \"secret\" }}\n{}",
            reverse(&["api"]),
            tokens.endpoint(),
            upstream("api", &api.origin()),
        );
        folder.write("proxy.toml", &text);
        let proxy = TestProxy::of_file(&folder.path().join("proxy.toml"));
        Self { folder, proxy, tokens, api }
    }

    /// As editors do it: another file takes its place.
    fn write(&self, text: &str) {
        self.folder.write("next", text);
        std::fs::rename(self.folder.path().join("next"), self.folder.path().join("proxy.toml")).unwrap();
    }

    async fn status(&self) -> Value {
        get(self.proxy.address("admin"), "localhost", "/api/status").await.json()
    }

    async fn waits(&self) -> bool {
        !self.status().await["waiting_file"].is_null()
    }

    async fn answer(&self) -> u16 {
        get(self.proxy.address("base"), "localhost", "/").await.status
    }
}

#[tokio::test]
async fn a_rewritten_token_endpoint_gets_nothing_until_a_reload_is_asked_for() {
    let world = World::start().await;
    assert_eq!(world.answer().await, 200);
    let thief = TokenServer::start().await;
    let text = world.folder.read("proxy.toml");
    world.write(&text.replace(&world.tokens.endpoint(), &thief.endpoint()));
    until("the file waits", || world.waits()).await;
    let waiting = world.status().await["waiting_file"].clone();
    assert_eq!(waiting["because"], serde_json::json!(["credential \"key\" is different"]));
    assert!(waiting["next_step"].as_str().unwrap().contains("take it with SIGHUP, `attache reload` or a restart"));
    // The token that was there is gone, and the next one comes from where the last one came from.
    let refresh = "POST /api/credentials/key/refresh HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(send(world.proxy.address("admin"), refresh).await.status, 200);
    assert_eq!((world.answer().await, thief.requests(), world.tokens.requests()), (200, 0, 2));
    // A secret that is rotated meanwhile is taken, and goes to the old place too.
    world.folder.write("secret", "another");
    until("the new secret is in use", || async { world.tokens.requests() == 3 }).await;
    assert_eq!((world.answer().await, thief.requests()), (200, 0));
    assert_eq!(world.proxy.metric("attache_config_reloads_total{outcome=\"failed\"}").await, 0.0);

    let reload = world.proxy.reload().await;
    assert!(reload.ok && reload.changes == ["credential \"key\" changed"], "{reload:?}");
    assert_eq!((world.answer().await, thief.requests()), (200, 1));
    assert!(!world.waits().await);
    assert_eq!(world.api.requests(), 4);
}

#[tokio::test]
async fn a_file_waits_as_a_whole_and_no_longer_than_it_says_so() {
    let world = World::start().await;
    let text = world.folder.read("proxy.toml");
    let other = Scripted::start(|_, _| Reply::ok("other")).await;
    let elsewhere = text.replace(&world.api.origin(), &other.origin());
    world.write(&format!("{elsewhere}allow = [{{ methods = [\"POST\"] }}]\n"));
    until("the file waits", || world.waits()).await;
    assert_eq!(world.status().await["waiting_file"]["because"][0], "upstream \"api\" has another `origin`");
    assert_eq!((world.answer().await, other.requests()), (200, 0), "neither the origin nor the rule");
    world.write(&text);
    until("nothing waits", || async { !world.waits().await }).await;
    world.write(&format!("{text}[credentials.new]\nkind = \"bearer\"\ntoken = \"x\"\n"));
    until("a new credential waits", || world.waits()).await;
    let reload =
        "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(send(world.proxy.address("admin"), reload).await.status, 200);
    assert!(!world.waits().await);
    let names = world.status().await["credentials"].clone();
    assert_eq!(names[1]["name"], "new");
}

#[tokio::test]
async fn included_files_are_watched_and_so_are_new_ones() {
    let world = World::start().await;
    std::fs::create_dir(world.folder.path().join("conf.d")).unwrap();
    let text = world.folder.read("proxy.toml");
    world.write(&format!("include = [\"conf.d/*.toml\"]\n{text}"));
    let loaded = world.proxy.reload().await;
    assert!(loaded.ok, "{loaded:?}");
    world.folder.write("conf.d/b.toml", "[upstreams.more]\norigin = \"http://127.0.0.1:1\"\n");
    let upstreams = || async { world.status().await["upstreams"].as_array().unwrap().len() };
    until("the new file is read", || async { upstreams().await == 2 }).await;
    world.folder.write("conf.d/c.toml", "[upstreams.more]\norigin = \"http://127.0.0.1:2\"\n");
    let refused = || async { world.status().await["reloads"][0]["problems"][0].as_str().map(str::to_owned) };
    until("what stands twice is refused", || async { refused().await.is_some() }).await;
    let problem = refused().await.unwrap();
    assert!(
        problem.contains("c.toml:1:12: `upstreams.more` stands in ") && problem.contains("b.toml:1:12 already; "),
        "{problem}"
    );
    // A part decides no more than the whole does.
    world.folder.write("conf.d/c.toml", "[credentials.more]\nkind = \"bearer\"\ntoken = \"x\"\n");
    until("it waits", || world.waits()).await;
    std::fs::remove_file(world.folder.path().join("conf.d/c.toml")).unwrap();
    std::fs::remove_file(world.folder.path().join("conf.d/b.toml")).unwrap();
    until("both are gone", || async { upstreams().await == 1 && !world.waits().await }).await;
}

/// What an agent would write that wants the secret itself: a proxy of its own, which is told the password with the first request.
#[tokio::test]
async fn a_proxy_with_a_login_or_a_program_that_a_file_brings_gets_nothing_until_a_reload_is_asked_for() {
    let world = World::start().await;
    let text = world.folder.read("proxy.toml");
    let thief = Scripted::start(|_, _| Reply::ok("thanks")).await;
    let via =
        format!("via = {{ url = \"{}\", username = \"x\", password = {{ file = \"secret\" }} }}\n", thief.origin());
    let listener = "[listeners.out]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";
    let ran = world.folder.path().join("ran");
    let program = format!("{{ command = [\"touch\", \"{}\"] }}", ran.display());
    for (rest, because) in [
        (format!("{listener}[forward]\nunmatched = \"pass\"\n{via}"), "[forward] has another `via`"),
        (
            format!("{listener}[upstreams.b]\norigin = \"http://b.test\"\n{via}"),
            "upstream \"b\" is new, and has a `via` of its own",
        ),
        (
            format!("{listener}callers = [\"c\"]\n[callers.c]\npassword = {program}\n"),
            "`callers.c.password` names another program",
        ),
        (
            "[upstreams.b]\norigin = \"https://${PATH}.evil.test\"\n".to_owned(),
            "the variable PATH is read by a key that is no secret",
        ),
    ] {
        // A variable of the process itself has to be one that a host may have in its name.
        let rest = rest.replace("PATH", "CARGO_PKG_NAME");
        world.write(&format!("{text}{rest}"));
        until("the file waits", || world.waits()).await;
        let told = world.status().await["waiting_file"]["because"][0].as_str().unwrap().to_owned();
        assert_eq!(told, because.replace("PATH", "CARGO_PKG_NAME"));
        assert_eq!(world.status().await["listeners"].as_array().unwrap().len(), 2, "{rest}");
        world.write(&text);
        until("nothing waits", || async { !world.waits().await }).await;
    }
    assert_eq!((thief.requests(), ran.exists()), (0, false));
    assert_eq!(world.answer().await, 200);
}

fn make_pipe(path: &std::path::Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_is_refused_and_ends_no_reloading() {
    let world = World::start().await;
    let text = world.folder.read("proxy.toml");
    make_pipe(&world.folder.path().join("pipe"));
    world.write(&format!("include = [\"pipe\"]\n{text}"));
    let refused = world.proxy.reload().await;
    assert!(refused.problems[0].contains("which cannot be read: it is no regular file; "), "{refused:?}");
    std::fs::rename(world.folder.path().join("pipe"), world.folder.path().join("proxy.toml")).unwrap();
    let refused = world.proxy.reload().await;
    assert!(refused.problems[0].contains("the configuration file is no regular file"), "{refused:?}");
    world.write(&format!("{text}[upstreams.more]\norigin = \"http://127.0.0.1:1\"\n"));
    until("the file is taken", || async { world.status().await["upstreams"].as_array().unwrap().len() == 2 }).await;
    assert!(world.proxy.reload().await.ok);
}

/// A secret in a pipe holds the reading up, and so says when it is under way.
#[tokio::test]
async fn what_is_written_while_a_reload_reads_is_read_too() {
    let world = World::start().await;
    let text = world.folder.read("proxy.toml");
    let pipe = world.folder.path().join("pipe");
    make_pipe(&pipe);
    world.write(&text.replace("file = \"secret\"", "file = \"pipe\""));
    let (reload, ()) = tokio::join!(world.proxy.reload(), async {
        let open = move || std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
        let reading = tokio::task::spawn_blocking(open).await.unwrap();
        world.write(&format!("{text}[upstreams.more]\norigin = \"http://127.0.0.1:1\"\n"));
        drop(reading);
    });
    assert!(reload.problems[0].contains("is empty"), "{reload:?}");
    until("what came meanwhile is taken", || async {
        world.status().await["upstreams"].as_array().unwrap().len() == 2
    })
    .await;
}

#[tokio::test]
async fn a_signal_ends_attache_also_while_it_reads_a_file_that_hangs() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let tokens = TokenServer::start().await;
    let text = format!("{}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin()));
    let folder = Folder::with(&text);
    let pipe = folder.path().join("pipe");
    make_pipe(&pipe);
    let running = folder.start(&["run"]);
    running.says("reverse").await;
    // By rename: what is being written is not read.
    folder.write("next", &format!("{text}[callers.c]\npassword = {{ file = \"pipe\" }}\n"));
    std::fs::rename(folder.path().join("next"), folder.path().join("proxy.toml")).unwrap();
    running.signal("HUP");
    let open = move || std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
    let held = tokio::task::spawn_blocking(open).await.unwrap();
    let began = std::time::Instant::now();
    running.signal("TERM");
    let finished = running.finish().await;
    // The secret itself has 5 s.
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    drop(held);
}
