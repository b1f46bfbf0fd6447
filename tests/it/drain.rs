//! SIGTERM's first half: nothing that is on its way is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{Caller, Reply, Scripted, TestProxy, TokenServer, credential, reverse, upstream};

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
