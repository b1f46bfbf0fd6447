//! The commands that change something in a running attache: `reload`, `refresh`, `stop`.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::{
    ADMIN, Caller, FORWARD, Folder, Reply, Scripted, TestProxy, TokenServer, credential, send, until, upstream,
};

fn toml(tokens: &TokenServer, admin: &str, api: &str) -> String {
    format!("{FORWARD}{admin}{}{}", credential(tokens), upstream("api", api))
}

#[tokio::test]
async fn reload_says_what_is_different_and_every_problem_of_a_bad_file() {
    let tokens = TokenServer::start().await;
    let good = toml(&tokens, ADMIN, "https://api.example.com");
    let folder = Folder::with(&good);
    let running = folder.start(&["run", "--log", "error"]);
    let admin = format!("http://{}", running.address("admin").await);
    let reload =
        |more: &'static [&'static str]| folder.start(&[&["reload", "--admin", &admin], more].concat()).finish();

    let same = reload(&[]).await;
    let said = "reloaded: nothing is different\n";
    assert_eq!((same.code, same.stdout.as_str(), same.stderr.as_str()), (Some(0), said, ""));
    folder.write("proxy.toml", &format!("{good}[upstreams.more]\norigin = \"https://more.example.com\"\n"));
    let more = reload(&[]).await;
    assert_eq!(more.code, Some(0), "{more:?}");
    assert!(more.stdout.starts_with("reloaded\n  ") && more.stdout.contains("more"), "{more:?}");
    assert_eq!(reload(&["--json"]).await.json()["ok"], true);

    folder.write("proxy.toml", "[listeners.proxy]\nmode = \"sideways\"\n[upstreams.api]\n");
    let refused = reload(&[]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    let lines: Vec<&str> = refused.stderr.lines().collect();
    assert!(
        lines.len() >= 4 && lines[..lines.len() - 1].iter().all(|line| line.contains("proxy.toml:")),
        "{refused:?}"
    );
    assert_eq!(lines.last(), Some(&"error: the old configuration stays in use"));
    let refused = reload(&["--json"]).await;
    let document = refused.json();
    assert_eq!((refused.code, &document["ok"]), (Some(1), &false.into()), "{refused:?}");
    assert_eq!(document["problems"].as_array().map(Vec::len), Some(lines.len() - 1), "{document}");
    assert!(refused.stderr.contains("proxy.toml:"), "{refused:?}");
}

#[tokio::test]
async fn refresh_brings_a_new_token_or_says_why_not() {
    let tokens = TokenServer::start().await;
    let proxy = TestProxy::start(&toml(&tokens, ADMIN, "https://api.example.com"));
    let folder = Folder::new().env("ATTACHE_ADMIN", &format!("http://{}", proxy.address("admin")));
    let done = folder.run(&["refresh", "key"]).await;
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.stdout.starts_with("key  ready, generation 1, expires in "), "{done:?}");
    let done = folder.run(&["refresh", "key", "--json"]).await.json();
    assert_eq!((&done["ok"], &done["credential"]["generation"]), (&true.into(), &2.into()), "{done}");
    let only = folder.run(&["refresh"]).await;
    assert!(only.stdout.starts_with("key  ready, generation 3, "), "there is one, so no other is meant: {only:?}");
    let unknown = folder.run(&["refresh", "a/b"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(1), ""), "{unknown:?}");
    assert!(unknown.stderr.contains("there is no credential \"a/b\"; there are: key"), "{unknown:?}");

    let broken = TokenServer::scripted(|_, _| Reply::new(401, "", r#"{"error":"invalid_client"}"#)).await;
    let proxy = TestProxy::start(&toml(&broken, ADMIN, "https://api.example.com"));
    let folder = Folder::new().env("ATTACHE_ADMIN", &format!("http://{}", proxy.address("admin")));
    let refused = folder.run(&["refresh", "key"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("invalid_client"), "{refused:?}");
    let refused = folder.run(&["refresh", "key", "--json"]).await;
    assert!(refused.code == Some(1) && refused.json()["ok"] == false, "{refused:?}");
}

#[tokio::test]
async fn stop_waits_for_requests_in_progress_and_probes_are_answered_to_the_end() {
    let gate = Arc::new(Semaphore::new(0));
    let gated = Arc::clone(&gate);
    let tokens = TokenServer::start().await;
    let api = Scripted::start(move |_, _| Reply::ok("finished").when_open(&gated)).await;
    let folder = Folder::with(&toml(&tokens, ADMIN, &api.origin()));
    let running = folder.start(&["run"]);
    let admin = format!("http://{}", running.address("admin").await);
    let mut caller = Caller::connect(running.address("proxy").await).await;
    caller.write(format!("GET {}/ HTTP/1.1\r\nHost: {}\r\n\r\n", api.origin(), api.address())).await;
    until("the request is under way", async || api.requests() > 0).await;

    let early = folder.run(&["stop", "--admin", &admin, "--timeout", "300ms"]).await;
    assert!(early.code == Some(1) && early.stderr.contains("has not ended within 300ms"), "{early:?}");
    running.says("draining: requests in progress").await;
    let alive = folder.run(&["health", "--admin", &admin]).await;
    assert_eq!((alive.code, alive.stdout.as_str()), (Some(0), "alive\n"), "{alive:?}");
    let ready = folder.run(&["health", "--ready", "--admin", &admin]).await;
    assert!(ready.code == Some(1) && ready.stderr.contains("it is stopping"), "{ready:?}");

    // Asked again, it goes on waiting, and draining goes on.
    let stopping = folder.start(&["stop", "--admin", &admin]);
    stopping.says("stopping: requests in progress may finish").await;
    gate.add_permits(1);
    let answer = caller.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "finished"));
    let stopped = stopping.finish().await;
    assert_eq!((stopped.code, stopped.stdout.as_str()), (Some(0), "stopped\n"), "{stopped:?}");
    let ended = running.finish().await;
    assert!(ended.code == Some(0) && ended.stderr.trim_end().ends_with("stopped"), "{ended:?}");

    let idle = folder.start(&["run"]);
    let admin = format!("http://{}", idle.address("admin").await);
    let stopped = folder.run(&["stop", "--json", "--admin", &admin]).await;
    assert_eq!((stopped.code, &stopped.json()["stopped"]), (Some(0), &true.into()), "{stopped:?}");
    assert_eq!(idle.finish().await.code, Some(0));
}

#[tokio::test]
async fn what_nobody_does_is_a_failure_with_a_sentence() {
    let folder = Folder::new();
    for args in [&["reload"][..], &["refresh", "key"], &["stop"]] {
        // A port of its own that nobody listens on any more.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let finished = folder.run(&[args, &["--admin", &free]].concat()).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains("is attache running there"), "{finished:?}");
        let finished = folder.run(&[args, &["--admin", &free, "--json"]].concat()).await;
        assert!(finished.code == Some(1) && finished.json()["ok"] == false, "{finished:?}");
    }
}

#[tokio::test]
async fn actions_need_the_admin_token() {
    let tokens = TokenServer::start().await;
    let admin = format!("{ADMIN}token = {{ env = \"CARGO_PKG_NAME\" }}\n");
    let proxy = TestProxy::start(&toml(&tokens, &admin, "https://api.example.com"));
    let url = format!("http://{}", proxy.address("admin"));
    for args in [&["reload"][..], &["refresh", "key"], &["stop"]] {
        let refused = Folder::new().env("ATTACHE_ADMIN", &url).run(args).await;
        assert!(refused.code == Some(1) && refused.stderr.contains("set ATTACHE_ADMIN_TOKEN"), "{refused:?}");
    }
    let folder = Folder::new().env("ATTACHE_ADMIN", &url).env("ATTACHE_ADMIN_TOKEN", "attache");
    assert_eq!(folder.run(&["refresh", "key"]).await.code, Some(0));
}

/// No browser reaches a unix socket, so there is no name to rebind.
#[cfg(unix)]
#[tokio::test]
async fn a_unix_admin_socket_takes_any_host() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let tokens = TokenServer::start().await;
    let folder = Folder::new();
    let socket = folder.path().join("admin.sock");
    let admin = format!("[admin]\naddress = \"unix:{}\"\n", socket.display());
    let _proxy = TestProxy::start(&toml(&tokens, &admin, "https://api.example.com"));
    let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // Over TCP a page in a browser may have had its name rebound.
    let proxy = TestProxy::start(&toml(&tokens, ADMIN, "https://api.example.com"));
    let refused = send(proxy.address("admin"), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(refused.status, 403);
}
