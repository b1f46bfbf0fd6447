//! Both interfaces, over real sockets, against the demo's authorization server and a scripted one.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A token endpoint that counts its requests, keeps the last, and answers after a while.
struct Endpoint {
    url: String,
    count: Arc<AtomicUsize>,
    last: Arc<std::sync::Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn endpoint(status: &'static str, body: &'static str, after: Duration) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let (count, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::default()));
    let (counted, kept) = (Arc::clone(&count), Arc::clone(&last));
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut request = Vec::new();
                let text = loop {
                    if stream.read_buf(&mut request).await.unwrap() == 0 {
                        return;
                    }
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    if text.split_once("\r\n\r\n").is_some_and(|(_, body)| Some(body.len()) == length) {
                        break text;
                    }
                };
                *kept.lock().unwrap() = text;
                tokio::time::sleep(after).await;
                let body = body.replace("{n}", &number.to_string());
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
                let _closed = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    Endpoint { url, count, last, task }
}

const GRANTED: &str = r#"{"access_token":"token-{n}","token_type":"Bearer","expires_in":3600,"scope":"a"}"#;

impl Endpoint {
    fn service(&self) -> TokenService {
        TokenService::new(&self.url).unwrap().with_credentials("me", Secret::new("s3cret".into()))
    }

    fn asked(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn uncached() -> AcquireToken {
    AcquireToken { allow_cached: false, ..AcquireToken::default() }
}

#[tokio::test]
async fn a_cached_token_is_handed_out_with_what_is_left_of_it() {
    let server = endpoint("200 OK", GRANTED, Duration::ZERO).await;
    let service = server.service();
    let first = service.acquire_token(AcquireToken::default()).await.unwrap();
    let again = service.clone().acquire_token(AcquireToken::default()).await.unwrap();
    assert_eq!((first.access_token.expose(), again.access_token.expose()), ("token-1", "token-1"));
    assert!(again.expires_in.unwrap() <= Duration::from_secs(3600) && again.expires_in <= first.expires_in);
    assert_eq!((server.asked(), again.scope.as_deref()), (1, Some("a")));
    assert!(server.last.lock().unwrap().contains("\r\nauthorization: Basic bWU6czNjcmV0"), "client_secret_basic");
}

#[tokio::test]
async fn without_the_cache_nothing_is_read_and_nothing_written() {
    let server = endpoint("200 OK", GRANTED, Duration::ZERO).await;
    let service = server.service();
    assert_eq!(service.acquire_token(uncached()).await.unwrap().access_token.expose(), "token-1");
    assert_eq!(service.acquire_token(AcquireToken::default()).await.unwrap().access_token.expose(), "token-2");
    assert_eq!(service.acquire_token(uncached()).await.unwrap().access_token.expose(), "token-3");
    assert_eq!(service.acquire_token(AcquireToken::default()).await.unwrap().access_token.expose(), "token-2");
    let forced = service.acquire_token_by(CachePolicy::ForceRefresh, AcquireToken::default()).await.unwrap();
    assert_eq!(forced.access_token.expose(), "token-4");
    assert_eq!(service.acquire_token(AcquireToken::default()).await.unwrap().access_token.expose(), "token-4");
}

#[tokio::test]
async fn other_credentials_and_other_scopes_are_other_tokens() {
    let server = endpoint("200 OK", GRANTED, Duration::ZERO).await;
    let service = server.service();
    let scoped = |scope: &[&str]| AcquireToken {
        scope: scope.iter().map(|scope| (*scope).to_owned()).collect(),
        ..AcquireToken::default()
    };
    let other = ClientCredentials { client_id: "you".into(), client_secret: Secret::new("other".into()) };
    let one = service.acquire_token(scoped(&["a", "b"])).await.unwrap();
    assert!(server.last.lock().unwrap().ends_with("scope=a+b"));
    let same = service.acquire_token(scoped(&["b", " ", "a"])).await.unwrap();
    assert_eq!(one.access_token.expose(), same.access_token.expose());
    service.acquire_token(scoped(&["a"])).await.unwrap();
    service.acquire_token(AcquireToken { credentials: Some(other), ..scoped(&["a"]) }).await.unwrap();
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn blank_and_missing_credentials_send_nothing() {
    let server = endpoint("200 OK", GRANTED, Duration::ZERO).await;
    let bare = TokenService::new(&server.url).unwrap();
    let missing = bare.acquire_token(AcquireToken::default()).await.unwrap_err();
    assert_eq!(missing.kind, TokenErrorKind::Configuration);
    for (id, secret) in [(" ", "x"), ("x", ""), ("x", " \n")] {
        let credentials = ClientCredentials { client_id: id.into(), client_secret: Secret::new(secret.into()) };
        let request = AcquireToken { credentials: Some(credentials), ..AcquireToken::default() };
        assert_eq!(server.service().acquire_token(request).await.unwrap_err().kind, TokenErrorKind::Configuration);
    }
    for (id, secret, audience) in [("", "x", "x"), ("x", "", "x"), ("x", "x", " ")] {
        let error = bare.client_credentials_token(request(id, secret, audience)).await.unwrap_err();
        assert_eq!(error.kind, TokenErrorKind::Configuration);
    }
    assert_eq!(server.asked(), 0);
}

fn request(id: &str, secret: &str, audience: &str) -> ClientCredentialsRequest {
    ClientCredentialsRequest {
        client_id: id.into(),
        client_secret: Secret::new(secret.into()),
        audience: audience.into(),
        cancellation: None,
    }
}

#[tokio::test]
async fn a_token_for_an_audience_is_asked_for_each_time_and_by_post() {
    let server = endpoint("200 OK", r#"{"access_token":"token-{n}","expires_in":60}"#, Duration::ZERO).await;
    let service = TokenService::new(&server.url).unwrap();
    let one = service.client_credentials_token(request("me", "s3cret", "https://api")).await.unwrap();
    let two = service.client_credentials_token(request("me", "s3cret", "https://api")).await.unwrap();
    assert_eq!((one.access_token.expose(), two.access_token.expose()), ("token-1", "token-2"));
    assert_eq!((one.token_type, one.expires_in, one.scope), (TokenType::Bearer, Some(60), None));
    let sent = server.last.lock().unwrap().clone();
    let form = "grant_type=client_credentials&audience=https%3A%2F%2Fapi&client_id=me&client_secret=s3cret";
    assert!(sent.ends_with(form) && !sent.contains("authorization"), "{sent}");
}

#[tokio::test]
async fn who_cancels_stops_waiting_and_the_others_do_not() {
    let server = endpoint("200 OK", GRANTED, Duration::from_millis(200)).await;
    let service = server.service();
    let cancellation = CancellationToken::new();
    let impatient = AcquireToken { cancellation: Some(cancellation.clone()), ..AcquireToken::default() };
    let (one, other, ()) =
        tokio::join!(service.acquire_token(impatient.clone()), service.acquire_token(AcquireToken::default()), async {
            while server.last.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            cancellation.cancel();
        });
    assert_eq!(one.unwrap_err().kind, TokenErrorKind::Cancelled);
    assert_eq!(other.unwrap().access_token.expose(), "token-1");
    assert_eq!(
        service.acquire_token(impatient).await.unwrap_err().kind,
        TokenErrorKind::Cancelled,
        "from the beginning"
    );
    let request = ClientCredentialsRequest { cancellation: Some(cancellation), ..request("me", "s3cret", "x") };
    assert_eq!(service.client_credentials_token(request).await.unwrap_err().kind, TokenErrorKind::Cancelled);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn every_failure_is_a_kind_of_its_own() {
    for (status, body, kind) in [
        ("401 Unauthorized", r#"{"error":"invalid_client"}"#, TokenErrorKind::Permanent),
        ("200 OK", "<html>", TokenErrorKind::InvalidResponse),
        ("200 OK", r#"{"access_token":"a\r\nb"}"#, TokenErrorKind::InvalidResponse),
        ("503 Down", "", TokenErrorKind::Transient),
    ] {
        let server = endpoint(status, body, Duration::ZERO).await;
        for request in [AcquireToken::default(), uncached()] {
            let error = server.service().acquire_token(request).await.unwrap_err();
            assert_eq!(error.kind, kind, "{status} {body}");
        }
    }
    let slow = endpoint("200 OK", GRANTED, Duration::from_secs(60)).await;
    let service = slow.service().with_timeout(Duration::from_millis(50));
    assert_eq!(service.acquire_token(uncached()).await.unwrap_err().kind, TokenErrorKind::Timeout);
    assert!(TokenService::new("http://login.example.com/token").is_err());
}

#[tokio::test]
async fn nothing_that_is_printed_holds_a_secret() {
    let server = endpoint("200 OK", r#"{"access_token":"sentinel-token","expires_in":60}"#, Duration::ZERO).await;
    let service = TokenService::new(&server.url).unwrap().with_credentials("me", Secret::new("sentinel-secret".into()));
    let token = service.acquire_token(AcquireToken::default()).await.unwrap();
    let other = service.client_credentials_token(request("me", "sentinel-secret", "x")).await.unwrap();
    let asked = request("me", "sentinel-secret", "x");
    let shown = format!("{service:?} {token:?} {other:?} {asked:?}");
    assert!(!shown.contains("sentinel"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_once_make_one_request() {
    let server = endpoint("200 OK", GRANTED, Duration::from_millis(50)).await;
    let service = server.service();
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { service.acquire_token(AcquireToken::default()).await })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap().access_token.expose(), "token-1");
    }
    assert_eq!(server.asked(), 1);
}
