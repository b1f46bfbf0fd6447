//! Too much is answered, never suffered: 429 and 503, each with the time to wait.

use tokio::io::AsyncWriteExt as _;

use crate::support::{Caller, FORWARD, Raw, Reply, Scripted, TestProxy, get, read_head, reverse, send, until};

fn plain(name: &str, origin: &str, keys: &str) -> String {
    format!("[upstreams.{name}]\norigin = \"{origin}\"\n{keys}")
}

#[tokio::test]
async fn a_caller_that_asks_too_often_is_told_when_to_come_back() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let toml = format!(
        "{}{}[limits]\nrequests_per_second_per_caller = 2\n",
        reverse(&["api"]),
        plain("api", &api.origin(), "")
    );
    let proxy = TestProxy::start(&toml);
    let mut last = None;
    // A second's worth may come at once.
    for _ in 0..30 {
        let answer = get(proxy.address("base"), "localhost", "/").await;
        if answer.status == 429 {
            last = Some(answer);
            break;
        }
    }
    let refused = last.expect("thirty requests take less than ten seconds");
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert!(refused.text().contains("limits.requests_per_second_per_caller"), "{}", refused.text());
    refused.assert_own_failure(429, "http_request_denied");
}

#[tokio::test]
async fn an_upstream_has_a_rate_of_its_own() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let toml = format!(
        "{FORWARD}{}{}",
        plain("slow", &api.origin(), "requests_per_second = 1\n"),
        plain("fast", "http://fast.test", &format!("connect = \"{}\"\n", api.address()))
    );
    let proxy = TestProxy::start(&toml);
    let address = proxy.address("proxy");
    let ask = |origin: String| async move {
        send(address, format!("GET {origin}/ HTTP/1.1\r\nHost: {}\r\n\r\n", &origin[7..])).await
    };
    let mut refused = 0;
    for _ in 0..5 {
        let answer = ask(api.origin()).await;
        if answer.status == 429 {
            assert!(answer.text().contains("upstreams.slow.requests_per_second"), "{}", answer.text());
            refused += 1;
        }
        assert_eq!(ask("http://fast.test".to_owned()).await.status, 200, "the others are not held up");
    }
    assert!(refused >= 3, "{refused}");
}

#[tokio::test]
async fn one_address_cannot_have_all_connections() {
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let toml =
        format!("{}{}[limits]\nconnections_per_address = 2\n", reverse(&["api"]), plain("api", &api.origin(), ""));
    let proxy = TestProxy::start(&toml);
    let address = proxy.address("base");
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut first = Caller::connect(address).await;
    let mut second = Caller::connect(address).await;
    for caller in [&mut first, &mut second] {
        caller.write(request).await;
        assert_eq!(caller.answer().await.status, 200);
    }
    let mut third = Caller::connect(address).await;
    third.write(request).await;
    let refused = third.answer().await;
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("1")));
    assert!(refused.text().contains("limits.connections_per_address"), "{}", refused.text());
    assert!(third.is_closed().await);
    first.write(request).await;
    assert_eq!(first.answer().await.status, 200, "those that were there go on");
    drop(second);
    until("there is room again", || async { get(address, "localhost", "/").await.status == 200 }).await;
}

#[tokio::test]
async fn the_queue_for_an_upstreams_connections_is_bounded() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let held = std::sync::Arc::clone(&gate);
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    let api = Raw::start(move |mut stream, _| {
        let (held, count) = (std::sync::Arc::clone(&held), std::sync::Arc::clone(&count));
        async move {
            loop {
                if read_head(&mut stream).await.is_empty() {
                    return;
                }
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                held.acquire().await.unwrap().forget();
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine").await.unwrap();
            }
        }
    })
    .await;
    let keys = "pool = { max = 1, queue = 1 }\n";
    let proxy = TestProxy::start_with(&format!("{}{}", reverse(&["api"]), plain("api", &api.origin(), keys)), 1);
    let address = proxy.address("base");
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // One is served; of two more, one waits, and the other one hears at once.
    let mut served = Caller::connect(address).await;
    served.write(request).await;
    until("it is served", async || asked.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    let (one, other) = (Box::pin(send(address, request)), Box::pin(send(address, request)));
    let (answer, waiting) = futures_util::future::select(one, other).await.factor_first();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.field("retry-after").is_some() && answer.text().contains("wait for one already"),
        "{}",
        answer.text()
    );
    gate.add_permits(2);
    assert_eq!((served.answer().await.status, waiting.await.status), (200, 200));
}

#[tokio::test]
async fn a_body_that_is_too_long_is_answered_with_413() {
    let api = Scripted::start(|asked, _| Reply::ok(&asked.body.len().to_string())).await;
    let toml = format!("{}{}[limits]\nbody_bytes = \"10KiB\"\n", reverse(&["api"]), plain("api", &api.origin(), ""));
    let proxy = TestProxy::start(&toml);
    let address = proxy.address("base");
    let body = "x".repeat(10_240);
    let sized = |length: usize| format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    let mut caller = Caller::connect(address).await;
    caller.write(format!("{}{body}", sized(body.len()))).await;
    assert_eq!(caller.answer().await.text(), "10240", "just as long as it may be");
    // Refused by what it says, before a byte of it has come.
    caller.write(sized(10_241)).await;
    let refused = caller.answer().await;
    refused.assert_own_failure(413, "http_request_error");
    assert!(refused.text().contains("limits.body_bytes"), "{}", refused.text());
    assert_eq!(api.requests(), 1);
    // Without a length it is counted on its way.
    let chunked = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut caller = Caller::connect(address).await;
    caller.write(format!("{chunked}2800\r\n{body}\r\n0\r\n\r\n")).await;
    assert_eq!(caller.answer().await.text(), "10240");
    let mut caller = Caller::connect(address).await;
    caller.write(format!("{chunked}2800\r\n{body}\r\n1\r\nx\r\n")).await;
    caller.answer().await.assert_own_failure(413, "http_request_error");
    assert!(caller.is_closed().await);
}
