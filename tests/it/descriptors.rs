//! Callers cannot take the descriptors that upstreams, tokens and the admin listener need; who has how many.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::support::{
    ADMIN, Caller, Finished, Folder, Reply, Running, Scripted, TokenServer, credential, get, real_time, reverse, until,
    upstream,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_attache");

/// Runs attache with these limits on descriptors.
fn limited(folder: &Folder, limits: &str, arguments: &str) -> Running {
    folder.start_program("/bin/sh", &["-c", &format!("{limits} && exec {PROGRAM} {arguments}")], "")
}

/// The soft limit of a running program.
fn soft_limit(process: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[tokio::test]
async fn three_hundred_idle_callers_take_nothing_that_tokens_upstreams_and_the_admin_listener_need() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let toml = format!(
        "{}{ADMIN}{}{}",
        reverse(&["api", "other"]),
        credential(&tokens),
        upstream("api", &api.origin()) + "path_prefix = \"/api\"\n"
    ) + &format!("[upstreams.other]\norigin = \"{}\"\npath_prefix = \"/other\"\n", api.origin());
    let folder = Folder::with(&toml);
    let running = limited(&folder, "ulimit -n 256", "run");
    let (base, admin) = (running.address("base").await, running.address("admin").await);
    running.says("with 256 descriptors only 64 connections").await;
    // Half of them have asked for something, and half say nothing at all.
    let (mut idle, mut silent) = (Vec::new(), Vec::new());
    for _ in 0..150 {
        let mut caller = Caller::connect(base).await;
        caller.write("GET /other/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(caller.answer().await.status, 200);
        idle.push(caller);
        silent.push(TcpStream::connect(base).await.unwrap());
    }
    let began = Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(5), get(base, "localhost", "/api/")).await;
    assert_eq!(answer.expect("in time").status, 200, "with a token that is asked for only now");
    assert_eq!(tokens.requests(), 1);
    for path in ["/livez", "/metrics", "/api/status"] {
        assert_eq!(get(admin, "localhost", path).await.status, 200, "{path}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(!running.stderr().contains("Too many open files"), "{}", running.stderr());
}

#[tokio::test]
async fn a_good_caller_is_as_quick_beside_callers_that_keep_connecting_and_say_nothing() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let folder = Folder::with(&format!("{}{ADMIN}[upstreams.api]\norigin = \"{}\"\n", reverse(&["api"]), api.origin()));
    let running = limited(&folder, "ulimit -n 256", "run");
    let (base, admin) = (running.address("base").await, running.address("admin").await);
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let flood = tokio::spawn(async move {
        let mut open = std::collections::VecDeque::new();
        loop {
            open.push_back(TcpStream::connect(base).await);
            if open.len() > 300 {
                open.pop_front();
            }
            count.fetch_add(1, Ordering::SeqCst);
            real_time("they keep connecting", Duration::from_millis(5)).await;
        }
    });
    until("there are more than it has room for", async || opened.load(Ordering::SeqCst) > 300).await;
    // One connection that is used, and probes of the admin listener.
    let mut good = Caller::connect(base).await;
    let (mut requests, mut probes) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let began = Instant::now();
        good.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(good.answer().await.status, 200);
        requests.push(began.elapsed());
        let began = Instant::now();
        assert_eq!(get(admin, "localhost", "/livez").await.status, 200);
        probes.push(began.elapsed());
        real_time("they keep connecting", Duration::from_millis(20)).await;
    }
    flood.abort();
    // The first one may have waited for its connection.
    requests.remove(0);
    for (what, mut times) in [("requests", requests), ("/livez", probes)] {
        times.sort();
        assert!(times[times.len() * 95 / 100] < Duration::from_millis(500), "{what}: {times:?}");
    }
}

#[tokio::test]
async fn the_soft_limit_is_raised_and_programs_that_are_started_begin_with_the_old_one() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let secret = "{ command = [\"/bin/sh\", \"-c\", \"sleep 0.2; ulimit -Sn > asked; echo secret\"] }";
    let toml = format!(
        "{}[credentials.key]\nkind = \"bearer\"\ntoken = {secret}\n{}",
        reverse(&["api"]),
        upstream("api", &api.origin())
    );
    let folder = Folder::with(&toml);
    let running = limited(&folder, "ulimit -Sn 100 && ulimit -Hn 512", "run --log debug");
    let base = running.address("base").await;
    running.says("descriptors").await;
    assert_eq!(soft_limit(running.id()), 512);
    assert_eq!(get(base, "localhost", "/").await.status, 200);
    assert_eq!(folder.read("asked").trim(), "100");
    let command = "exec -- /bin/sh -c 'ulimit -Sn; ulimit -Hn'";
    let Finished { code, stdout, stderr } =
        limited(&folder, "ulimit -Sn 100 && ulimit -Hn 512", command).finish().await;
    assert_eq!((code, stdout.as_str()), (Some(0), "100\n512\n"), "{stderr}");
}
