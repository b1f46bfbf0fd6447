//! SIGTERM's first half: nothing that is on its way is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{Caller, Folder, Reply, Scripted, TestProxy, TokenServer, credential, reverse, upstream};

#[tokio::test]
async fn a_request_that_is_on_its_way_when_the_draining_begins_is_answered() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let toml = reverse(&["api"]) + &credential(&tokens) + &upstream("api", &api.origin());
    let proxy = TestProxy::start(&toml);
    let address = proxy.address("base");
    let (stopping, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (stopping, answered) = (Arc::clone(&stopping), Arc::clone(&answered));
        callers.spawn(async move {
            let mut caller = Caller::connect(address).await;
            loop {
                caller.write("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi").await;
                let answer = caller.answer().await;
                assert_eq!(answer.status, 200);
                answered.fetch_add(1, Ordering::SeqCst);
                if answer.field("connection") == Some("close") {
                    assert!(stopping.load(Ordering::SeqCst), "closed before anything stopped");
                    return;
                }
            }
        });
    }
    while answered.load(Ordering::SeqCst) < 200 {
        tokio::task::yield_now().await;
    }
    stopping.store(true, Ordering::SeqCst);
    let (finished, ()) = tokio::join!(callers.join_all(), proxy.shutdown());
    assert_eq!(finished.len(), 20, "every caller was told to go, with an answer");
}

#[tokio::test]
async fn callers_that_had_connected_when_the_draining_began_are_answered() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let toml = reverse(&["api"]) + &credential(&tokens) + &upstream("api", &api.origin());
    let proxy = TestProxy::start(&toml);
    let address = proxy.address("base");
    let mut callers = Vec::new();
    for _ in 0..50 {
        // Some of them wait to be accepted, and none has said anything.
        callers.push(Caller::connect(address).await);
    }
    let ask = async {
        for caller in &mut callers {
            caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        }
        for caller in &mut callers {
            let answer = caller.answer().await;
            assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
        }
    };
    tokio::join!(proxy.shutdown(), ask);
}

/// More than a pipe holds, so that lines wait when everything else has ended.
const REQUESTS: usize = 1000;

/// What comes out of an access log that is a pipe, and what the program says: it is read from when the program drains, or only
/// after its end.
#[cfg(unix)]
async fn logged_at_the_end(reads: bool) -> (String, String) {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let toml = reverse(&["api"]) + &credential(&tokens) + &upstream("api", &api.origin());
    let folder = Folder::with(&(toml + "[telemetry]\naccess_log = \"./pipe\"\naccess_log_format = \"json\"\n"));
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (may_read, wait) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(path).unwrap();
        let _outcome = wait.recv();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut pipe, &mut text).unwrap();
        text
    });
    let running = folder.start(&["run"]);
    let address = running.address("base").await;
    let mut caller = Caller::connect(address).await;
    for _ in 0..REQUESTS {
        caller.write("GET /a-path HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(caller.answer().await.status, 200);
    }
    drop(caller);
    running.signal("TERM");
    running.says("draining").await;
    if reads {
        may_read.send(()).unwrap();
    }
    let finished = running.finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    drop(may_read);
    (reader.join().unwrap(), finished.stderr)
}

#[cfg(unix)]
#[tokio::test]
async fn lines_of_the_access_log_that_wait_at_the_end_are_written_and_those_that_cannot_be_are_told_of() {
    let (log, said) = logged_at_the_end(true).await;
    assert_eq!(log.lines().count(), REQUESTS, "{said}");
    assert!(!said.contains("access log"), "{said}");
    let (log, said) = logged_at_the_end(false).await;
    assert!(log.lines().count() < REQUESTS, "nobody read");
    assert!(said.contains("the last lines of the access log are lost"), "{said}");
}
