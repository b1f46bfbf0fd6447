//! `limits.drain_delay`: before it drains, attache tells balancers and callers to go elsewhere, and goes on accepting.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use h2::client::handshake;
use http::Request;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{
    ADMIN, Balancer, Caller, FORWARD, Folder, LocalCa, Raw, Replica, Reply, Running, Scripted, TestCa, TestProxy,
    TlsFront, TokenServer, credential, get, http2_caller, read_body, reverse, until, upstream,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PASS: &str = "[forward]\nunmatched = \"pass\"\nprivate_addresses = \"allow\"\nconnect_ports = \"any\"\n";

/// A delay that no test waits for: a signal ends it.
const LONG: &str = "[limits]\ndrain_delay = \"10m\"\n";

async fn in_front_of_an_api(rest: &str) -> (Folder, Scripted, TokenServer) {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let toml = reverse(&["api"]) + ADMIN + rest + &credential(&tokens) + &upstream("api", &api.origin());
    (Folder::with(&toml), api, tokens)
}

/// Waits until a worker says it: on the only one, everything before that has heard of it.
async fn announce_end(proxy: &TestProxy) {
    proxy.announce_end();
    let says = async || get(proxy.address("base"), "localhost", "/").await.field("connection") == Some("close");
    until("an answer is the last one", says).await;
}

/// Whether it is alive and ready, by status.
async fn probes(running: &Running) -> (u16, u16) {
    let admin = running.address("admin").await;
    (get(admin, "127.0.0.1", "/livez").await.status, get(admin, "127.0.0.1", "/readyz").await.status)
}

#[tokio::test]
async fn a_signal_withdraws_readiness_a_second_one_drains_and_a_third_one_ends_at_once() {
    let (folder, _api, _tokens) = in_front_of_an_api(LONG).await;
    let running = folder.start(&["run"]);
    let base = running.address("base").await;
    let mut idle = Caller::connect(base).await;
    idle.write(GET).await;
    assert_eq!(idle.answer().await.field("connection"), None);
    assert_eq!(probes(&running).await, (200, 200));
    let admin = format!("http://{}", running.address("admin").await);
    let shown = async || folder.run(&["status", "--admin", &admin]).await.stdout;
    assert!(!shown().await.contains("stopping"));

    running.signal("TERM");
    running.says("stopping: /readyz is 503, accepting goes on for 10m; a signal ends that").await;
    assert_eq!(probes(&running).await, (200, 503));
    assert!(shown().await.contains("\nstopping  callers have to go elsewhere"));
    idle.write(GET).await;
    let answer = idle.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")), "what was idle is told");
    assert!(idle.is_closed().await);
    let mut late = Caller::connect(base).await;
    late.write(GET).await;
    let answer = late.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")), "accepting goes on");
    let mut kept = Caller::connect(base).await;
    kept.write("GET / HTTP/1.1\r\n").await;

    running.signal("TERM");
    running.says("draining: requests in progress").await;
    assert_eq!(probes(&running).await, (200, 503), "the admin listener answers to the end");
    running.signal("INT");
    let finished = running.finish().await;
    assert!(finished.stderr.contains("stopped at once"), "{finished:?}");
    assert_eq!(finished.code, Some(128 + 2), "as a shell says it of SIGINT");
}

#[tokio::test]
async fn the_delay_ends_by_itself_and_the_file_has_the_last_word_about_it() {
    let (folder, _api, _tokens) = in_front_of_an_api("").await;
    let running = folder.start(&["run", "--default-drain-delay", "300ms"]);
    running.address("base").await;
    running.signal("TERM");
    let finished = running.finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.contains("accepting goes on for 300ms"), "{finished:?}");
    assert!(finished.stderr.contains("draining: requests in progress"), "{finished:?}");

    for (rest, flags) in
        [("", &["run"][..]), ("[limits]\ndrain_delay = \"0s\"\n", &["run", "--default-drain-delay", "10m"])]
    {
        let (folder, _api, _tokens) = in_front_of_an_api(rest).await;
        let running = folder.start(flags);
        running.address("base").await;
        running.signal("TERM");
        let finished = running.finish().await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(!finished.stderr.contains("accepting goes on"), "{finished:?}");
    }
}

#[tokio::test]
async fn the_flag_takes_what_the_file_would_take() {
    for (value, why) in [
        ("18446744073709551615s", "it is longer than a year; write a shorter time"),
        ("2years", "it is longer than a year; write a shorter time"),
        ("5", "it is not a duration; write a number and its unit, such as 10s, 500ms or 5m"),
    ] {
        let refused = Folder::new().run(&["run", "--default-drain-delay", value]).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("--default-drain-delay") && refused.stderr.contains(why), "{refused:?}");
    }
}

#[tokio::test]
async fn a_stop_by_the_admin_api_skips_the_delay_and_ends_one_that_has_begun() {
    let (folder, _api, _tokens) = in_front_of_an_api(LONG).await;
    for delayed in [false, true] {
        let running = folder.start(&["run"]);
        let admin = running.address("admin").await;
        if delayed {
            running.signal("TERM");
            running.says("accepting goes on").await;
        }
        let stopped = folder.run(&["stop", "--admin", &format!("http://{admin}")]).await;
        assert_eq!((stopped.code, stopped.stdout.as_str()), (Some(0), "stopped\n"), "{stopped:?}");
        let finished = running.finish().await;
        assert_eq!((finished.code, finished.stderr.contains("accepting goes on")), (Some(0), delayed), "{finished:?}");
    }
}

#[tokio::test]
async fn a_connection_whose_buffers_were_given_back_is_told_too() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let proxy =
        TestProxy::parking_at_once(&(reverse(&["api"]) + &credential(&tokens) + &upstream("api", &api.origin())));
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write(GET).await;
    assert_eq!(caller.answer().await.field("connection"), None);
    announce_end(&proxy).await;
    caller.write(GET).await;
    let answer = caller.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
}

#[tokio::test]
async fn http2_callers_are_sent_away_in_order_and_each_has_its_answer() {
    let (tokens, api) = (TokenServer::start().await, Scripted::start(|_, _| Reply::ok("fine")).await);
    let toml = reverse(&["api"]) + &credential(&tokens) + &upstream("api", &api.origin());
    let proxy = TestProxy::start(&toml);
    let ask = async |address: SocketAddr| {
        let (mut send, connection) = handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get("http://localhost/").body(()).unwrap();
        let answer = send.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(read_body(&mut answer.into_body()).await.unwrap(), b"fine");
        (send, connection)
    };
    let (old, ended) = ask(proxy.address("base")).await;
    let silent = http2_caller(proxy.address("base")).await;
    proxy.announce_end();
    // GOAWAY with NO_ERROR, and nothing is in progress: the connection ends though its caller would keep it.
    ended.await.unwrap().unwrap();
    drop(old);
    let (new, ended) = ask(proxy.address("base")).await;
    ended.await.unwrap().unwrap();
    drop(new);
    // It had asked for nothing: it is sent away by its first answer, and not before.
    let mut silent = silent;
    let request = Request::get("http://localhost/").body(()).unwrap();
    assert_eq!(silent.send_request(request, true).unwrap().0.await.unwrap().status(), 200);
}

#[tokio::test]
async fn tunnels_go_on_and_those_that_are_opened_end_with_their_next_answer() {
    let echo = Raw::start(|mut stream, _| async move {
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let (tokens, ca, local) = (TokenServer::start().await, TestCa::new(), LocalCa::new());
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let front = TlsFront::start(ca.server(&["api.test"], &["http/1.1"]), api.address()).await;
    let opened = format!("{}connect = \"{}\"\n{}", upstream("api", "https://api.test"), front.address(), ca.trusted());
    let (base, rest) = (reverse(&["api"]), local.intercept() + &credential(&tokens) + &opened);
    let proxy = TestProxy::start_with(&format!("{FORWARD}{base}{PASS}{rest}"), 1);
    let connect = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", echo.address());
    let mut unread = Caller::connect(proxy.address("proxy")).await;
    unread.write(&connect).await;
    assert_eq!(unread.answer_head().await.status, 200);
    let inside = local.tls(proxy.address("proxy"), "api.test:443", "api.test", &["http/1.1"]).await.unwrap();

    announce_end(&proxy).await;
    let mut late = Caller::connect(proxy.address("proxy")).await;
    late.write(&connect).await;
    let answer = late.answer_head().await;
    assert_eq!((answer.status, answer.field("connection")), (200, None), "a new tunnel is no last answer");
    for tunnel in [&mut unread, &mut late] {
        tunnel.write("still here").await;
        assert_eq!(tunnel.read_exact(10).await, b"still here");
    }
    let answer = inside.ask("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn behind_a_balancer_that_follows_readyz_no_caller_is_refused_in_twenty_rollouts() {
    let (folder, _api, _tokens) = in_front_of_an_api(LONG).await;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let balancer = Balancer::start(socket);
    let start = async || {
        let running = folder.start(&["run"]);
        let replica = Replica::new(running.address("base").await, running.address("admin").await);
        balancer.add(&replica);
        until("it is ready", async || replica.is_ready()).await;
        (running, replica)
    };
    let mut replicas = vec![start().await, start().await];

    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
        callers.spawn(async move {
            // Half of them keep their connections for as long as they may, as clients with a pool do.
            let keeps = number % 2 == 0;
            while !done.load(Ordering::SeqCst) {
                let mut caller = Caller::connect(address).await;
                let mut goes_on = true;
                while goes_on && !done.load(Ordering::SeqCst) {
                    caller.write(GET).await;
                    let answer = caller.try_answer().await.expect("a caller was refused");
                    assert_eq!((answer.status, answer.text()), (200, "fine"));
                    answered.fetch_add(1, Ordering::SeqCst);
                    goes_on = keeps && answer.field("connection").is_none();
                }
            }
        });
    }
    for _ in 0..20 {
        let enough = answered.load(Ordering::SeqCst) + 20;
        replicas.push(start().await);
        let (running, replica) = replicas.remove(0);
        running.signal("TERM");
        until("the balancer has noticed", async || replica.is_left_alone()).await;
        // The delay is as long as that takes, on however busy a machine.
        running.signal("TERM");
        let finished = running.finish().await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stderr.ends_with("stopped\n"), "nothing was cut off: {finished:?}");
        balancer.remove(&replica);
        until("callers are served", async || answered.load(Ordering::SeqCst) >= enough).await;
        if let Some(ended) = callers.try_join_next() {
            ended.unwrap();
        }
    }
    done.store(true, Ordering::SeqCst);
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
}
