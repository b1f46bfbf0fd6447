//! `attache run` by the real binary: what it says, how it ends, and why it does not start.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::cli::{MISTAKES, configuration, folder};
use crate::support::{Caller, Folder, Reply, Scripted, TokenServer, get};

#[tokio::test]
async fn run_says_what_it_read_and_where_it_really_listens() {
    let folder = folder("https://login.example.com/token", "https://api.example.com");
    let running = folder.start(&["run"]);
    running.address("admin").await;
    let said = running.stderr();
    let lines: Vec<&str> = said.lines().take(4).collect();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(lines[0], format!("attache {version} with proxy.toml (2 upstreams)"), "{said}");
    for (line, (mode, name)) in lines[1..].iter().zip([("forward", "proxy"), ("reverse", "base"), ("admin", "admin")]) {
        assert!(line.trim_start().starts_with(mode) && line.ends_with(&format!("  ({name})")), "{said}");
        let address = running.address(name).await;
        assert_ne!(address.port(), 0);
        Caller::connect(address).await;
    }
    running.signal("TERM");
    let finished = running.finish().await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{finished:?}");
}

#[tokio::test]
async fn sigterm_lets_a_request_in_progress_finish() {
    let gate = Arc::new(Semaphore::new(0));
    let gated = Arc::clone(&gate);
    let api = Scripted::start(move |_, _| Reply::ok("fine").when_open(&gated)).await;
    let tokens = TokenServer::start().await;
    let folder = folder(&tokens.endpoint(), &api.origin());
    for signal in ["TERM", "INT"] {
        let running = folder.start(&["run"]);
        let address = running.address("base").await;
        let mut caller = Caller::connect(address).await;
        let before = api.requests();
        caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        crate::support::until("the request is at the upstream", async || api.requests() > before).await;
        running.signal(signal);
        running.says("draining").await;
        gate.add_permits(1);
        let answer = caller.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "fine"));
        let finished = running.finish().await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stderr.ends_with("stopped\n"), "{}", finished.stderr);
    }
}

/// Every line of stderr, which has to be an object with what a line of the log has.
#[track_caller]
pub(crate) fn records(stderr: &str) -> Vec<serde_json::Value> {
    let read = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for member in ["timestamp", "level", "message", "target"] {
            assert!(
                record[member].as_str().is_some_and(|text| !text.is_empty() && !text.contains('\u{1b}')),
                "{record}"
            );
        }
        record
    };
    stderr.lines().map(read).collect()
}

#[tokio::test]
async fn with_json_as_its_log_format_run_says_nothing_else() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let text = configuration(&tokens.endpoint(), &api.origin());
    let folder = folder(&tokens.endpoint(), &api.origin());
    let running = folder.start(&["run", "--log-format", "json"]);
    running.says("\"listener\":\"admin\"").await;
    let said = records(&running.stderr());
    let listening = said.iter().find(|record| record["listener"] == "base").unwrap();
    assert!(listening["address"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{listening}");
    assert_eq!((&listening["mode"], &listening["level"]), (&"reverse".into(), &"INFO".into()));
    let begun = said.iter().find(|record| record["configuration"] == "proxy.toml").unwrap();
    assert_eq!(begun["upstreams"], 2);
    folder.write("proxy.toml", &format!("{text}colour = 1\ncredential = \"nobody\"\n"));
    running.signal("HUP");
    running.says("nobody").await;
    folder.write("proxy.toml", &text);
    running.signal("HUP");
    running.says("configuration reloaded").await;
    running.signal("TERM");
    let finished = running.finish().await;
    assert_eq!(finished.code, Some(0));
    let said = records(&finished.stderr);
    let lines = text.lines().count();
    for (at, word) in [(lines + 1, "colour"), (lines + 2, "nobody")] {
        let problem = said.iter().find(|record| record["line"] == at).unwrap_or_else(|| panic!("{said:#?}"));
        assert!(problem["message"].as_str().unwrap().contains(word), "{problem}");
        assert!(problem["file"].as_str().unwrap().ends_with("proxy.toml") && problem["column"].is_u64(), "{problem}");
    }
    for word in ["draining: requests in progress", "stopped"] {
        assert!(said.iter().any(|record| record["message"].as_str().unwrap().starts_with(word)), "{word}: {said:#?}");
    }
}

#[tokio::test]
async fn what_keeps_run_from_starting_is_json_too() {
    let mistaken = Folder::with(MISTAKES);
    let finished = mistaken.run(&["run", "--log-format", "json"]).await;
    assert_eq!(finished.code, Some(78), "{finished:?}");
    let said = records(&finished.stderr);
    let places: Vec<_> = said.iter().map(|record| (record["file"].as_str(), record["line"].as_u64())).collect();
    assert_eq!(places, [4, 8, 9].map(|line| (Some("proxy.toml"), Some(line))), "{said:#?}");
    assert!(said.iter().all(|record| record["column"].is_u64() && record["level"] == "ERROR"), "{said:#?}");
    assert_eq!(said[0]["message"], "`listeners.proxy.mode` cannot be \"forwrd\"; did you mean \"forward\"?");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = Folder::with(&format!("[listeners.proxy]\naddress = \"{address}\"\nmode = \"forward\"\n"));
    let finished = folder.run(&["run", "--log-format=json"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let said = records(&finished.stderr);
    assert_eq!(said[0]["level"], "WARN", "no upstreams, and none may pass: {said:#?}");
    assert!(said[1]["message"].as_str().unwrap().contains(&address.to_string()), "{said:#?}");

    for wrong in [&["run", "--log-format", "json", "--colour"][..], &["run", "--log-format", "json", "--log", "=="]] {
        let finished = folder.run(wrong).await;
        assert_eq!((finished.code, records(&finished.stderr).len()), (Some(2), 1), "{finished:?}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let api = Scripted::start(|_, _| Reply::Silence).await;
    let tokens = TokenServer::start().await;
    let folder = folder(&tokens.endpoint(), &api.origin());
    let running = folder.start(&["run"]);
    let mut caller = Caller::connect(running.address("base").await).await;
    caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    crate::support::until("the request is at the upstream", async || api.requests() == 1).await;
    running.signal("TERM");
    running.says("draining").await;
    running.signal("TERM");
    let finished = running.finish().await;
    assert!(finished.stderr.contains("stopped at once"), "{}", finished.stderr);
    assert_eq!(finished.code, Some(128 + 15), "as a shell says it of SIGTERM");
}

#[tokio::test]
async fn run_needs_no_file_for_one_upstream() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let tokens = TokenServer::start().await;
    let folder = Folder::new().env("SECRET", "s3cret-of-mine");
    let (origin, endpoint) = (api.origin(), tokens.endpoint());
    let running = folder.start(&[
        "run",
        "--upstream",
        &origin,
        "--token-endpoint",
        &endpoint,
        "--client-id",
        "me",
        "--client-secret-env",
        "SECRET",
        "--forward",
        "127.0.0.1:0",
        "--reverse",
        "127.0.0.1:0",
    ]);
    let (forward, reverse) = (running.address("forward").await, running.address("reverse").await);
    assert_eq!(get(reverse, "localhost", "/x").await.text(), "fine");
    let host = api.address().to_string();
    assert_eq!(get(forward, &host, &format!("http://{host}/y")).await.text(), "fine");
    let asked = api.asked();
    assert!(asked.iter().all(|asked| asked.field("authorization") == Some("Bearer token-1")), "{asked:?}");
    running.signal("TERM");
    assert_eq!(running.finish().await.code, Some(0));
}

#[tokio::test]
async fn run_fails_with_1_where_an_address_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let toml = configuration("https://login.example.com/token", "https://api.example.com");
    let folder = Folder::with(&toml.replacen("127.0.0.1:0", &address, 1)).env("SECRET", "x");
    let finished = folder.run(&["run"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("proxy") && finished.stderr.contains(&address), "{}", finished.stderr);
}
