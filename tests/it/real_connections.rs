//! The way to authorization servers as they are: proxies before them, HTTP/2, certificates that they want, connections that they end.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;

use crate::real_servers::folder;
use crate::support::{
    Answer, Http2Server, ParentProxy, Raw, Reply, Scripted, TestCa, TestProxy, TlsFront, TokenServer, World, read_head,
    send,
};

/// A proxy that says this to CONNECT, and then leads to this server if it said something else than a refusal.
async fn saying(answer: &'static str, there: std::net::SocketAddr) -> Raw {
    Raw::start(move |mut caller, _| async move {
        let _head = read_head(&mut caller).await;
        caller.write_all(answer.as_bytes()).await.unwrap();
        let mut server = tokio::net::TcpStream::connect(there).await.unwrap();
        let _ended = tokio::io::copy_bidirectional(&mut caller, &mut server).await;
    })
    .await
}

#[tokio::test]
async fn a_proxy_for_token_requests_is_named_with_what_it_answered() {
    let tokens = TokenServer::start().await;
    let ask = async |answer: &'static str| {
        let proxy = saying(answer, tokens.server.address()).await;
        let credential = format!("client_secret = {{ env = \"SECRET\" }}\nproxy = \"{}\"", proxy.origin());
        (folder(&tokens.endpoint(), &credential).run(&["check", "--live"]).await, proxy.address())
    };
    for (answer, told) in [
        (
            "HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
            "407 Proxy Authentication Required: it wants to know who asks; write proxy = { url = ",
        ),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "with 403 Forbidden: "),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "with 502 Bad Gateway: it could not reach the host"),
        ("<html>", "ended the connection before it answered CONNECT"),
    ] {
        let (finished, at) = if answer == "<html>" {
            let hangs_up = Raw::start(|_, _| async {}).await;
            let credential = format!("client_secret = {{ env = \"SECRET\" }}\nproxy = \"{}\"", hangs_up.origin());
            (folder(&tokens.endpoint(), &credential).run(&["check", "--live"]).await, hangs_up.address())
        } else {
            ask(answer).await
        };
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains(told), "{told}: {finished:?}");
        assert!(finished.stderr.contains(&format!("the parent proxy {at}")), "{finished:?}");
        assert!(finished.stderr.contains("likely cause: token requests do not get through the proxy"), "{finished:?}");
    }
    assert_eq!(tokens.requests(), 0);
    for answer in [
        "HTTP/1.1 201 Created\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let (finished, _) = ask(answer).await;
        assert_eq!(finished.code, Some(0), "{answer}: {finished:?}");
    }
    assert_eq!(tokens.requests(), 2);
}

#[tokio::test]
async fn a_proxy_for_token_requests_is_given_a_password_that_is_a_secret() {
    let tokens = TokenServer::start().await;
    let at = tokens.server.address();
    // me:sentinel
    let parent_proxy =
        ParentProxy::asking("\r\nProxy-Authorization: Basic bWU6c2VudGluZWw=\r\n", &[(&at.to_string(), at)]).await;
    let with = |password: &str| {
        let proxy =
            format!("{{ url = \"{}\", username = \"me\", password = {{ env = \"PASSWORD\" }} }}", parent_proxy.url());
        let credential = format!("client_secret = {{ env = \"SECRET\" }}\nproxy = {proxy}");
        folder(&tokens.endpoint(), &credential).env("PASSWORD", password)
    };
    let finished = with("sentinel").run(&["check", "--live"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let finished = with("wrong-sentinel").run(&["check", "--live"]).await;
    assert!(finished.stderr.contains("it did not accept the username and password of proxy"), "{finished:?}");
    assert!(!finished.stderr.contains("sentinel"), "{finished:?}");
    assert!(tokens.server.asked()[0].field("proxy-authorization").is_none());
}

async fn http2_tokens(
    ca: &TestCa,
    refuses: impl Fn(usize) -> Option<h2::Reason> + Clone + Send + Sync + 'static,
) -> Http2Server {
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    Http2Server::start(ca.server(&["localhost"], &["h2"]), move |request, mut respond| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let refuses = refuses.clone();
        async move {
            if let Some(reason) = refuses(number) {
                respond.send_reset(reason);
                return;
            }
            let mut body = request.into_body();
            while let Some(Ok(chunk)) = body.data().await {
                body.flow_control().release_capacity(chunk.len()).unwrap();
            }
            let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
            stream.send_data(TokenServer::granted(&format!("token-{number}"), 1).into(), true).unwrap();
        }
    })
    .await
}

fn over_tls(port: u16, ca: &TestCa) -> (String, String) {
    (format!("https://localhost:{port}/token"), format!("ca_file = {:?}", ca.path().display().to_string()))
}

/// Has a new token asked for.
async fn refresh(proxy: &TestProxy) -> Answer {
    let head = "POST /api/credentials/api/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";
    send(proxy.address("admin"), format!("{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}")).await
}

#[tokio::test]
async fn a_token_endpoint_of_http2_has_one_connection_and_what_it_refuses_is_said_again() {
    let ca = TestCa::new();
    let tokens = http2_tokens(&ca, |number| (number == 1).then_some(h2::Reason::REFUSED_STREAM)).await;
    let (endpoint, credential) = over_tls(tokens.address().port(), &ca);
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy =
        TestProxy::start(&World::toml(&endpoint, &api.origin(), &(credential + "\nrefresh_ahead = \"off\""), ""));
    for _ in 0..3 {
        let answer = refresh(&proxy).await;
        assert_eq!(answer.status / 100, 2, "{}", answer.text());
    }
    let asked = tokens.asked();
    assert_eq!(asked.len(), 4, "one of them twice");
    assert!(asked.iter().all(|head| head.version == http::Version::HTTP_2 && head.uri.path() == "/token"), "{asked:?}");
    assert_eq!(tokens.connections(), 2, "the one that refused is left");
}

/// As IIS does where it wants a client certificate.
#[tokio::test]
async fn a_token_endpoint_that_wants_http1_gets_it() {
    let ca = TestCa::new();
    let http2 = http2_tokens(&ca, |_| Some(h2::Reason::HTTP_1_1_REQUIRED)).await;
    let http1 = TokenServer::start().await;
    let front = TlsFront::start(ca.server(&["localhost"], &["http/1.1"]), http1.server.address()).await;
    // The first connection leads to the one, and those after it to the other.
    let (first, others) = (http2.address(), front.address());
    let switch = Raw::start(move |mut caller, number| async move {
        let there = if number == 0 { first } else { others };
        let mut server = tokio::net::TcpStream::connect(there).await.unwrap();
        let _ended = tokio::io::copy_bidirectional(&mut caller, &mut server).await;
    })
    .await;
    let (endpoint, credential) = over_tls(switch.address().port(), &ca);
    let finished = folder(&endpoint, &format!("client_secret = {{ env = \"SECRET\" }}\n{credential}"))
        .run(&["check", "--live"])
        .await;
    assert_eq!((finished.code, http2.asked().len(), http1.requests()), (Some(0), 1, 1), "{finished:?}");
}

#[tokio::test]
async fn a_proxy_for_token_requests_that_is_down_or_silent_is_named() {
    let tokens = TokenServer::start().await;
    let gone = Raw::start(|_, _| async {}).await;
    let silent = Raw::start(|caller, _| async move {
        let _kept = caller;
        std::future::pending::<()>().await;
    })
    .await;
    let (down, mute) = (gone.address(), silent.address());
    drop(gone);
    for (at, told) in [
        (down, format!("the parent proxy {down}: cannot connect to {down}: ")),
        (mute, format!("did not answer the token request within 300ms, through the parent proxy {mute}")),
    ] {
        let credential =
            format!("client_secret = {{ env = \"SECRET\" }}\nproxy = \"http://{at}\"\ntimeout = \"300ms\"");
        let finished = folder(&tokens.endpoint(), &credential).run(&["check", "--live"]).await;
        assert!(finished.code == Some(1) && finished.stderr.contains(&told), "{told}: {finished:?}");
    }
}

/// A server of TLS 1.3 says so when the handshake is over for us.
#[tokio::test]
async fn a_token_endpoint_that_wants_a_certificate_says_so_in_our_words() {
    let (ca, tokens) = (TestCa::new(), TokenServer::start().await);
    let config = ca.server_with(&["localhost"], &[], rustls::ALL_VERSIONS, Some(&ca));
    let front = TlsFront::start(config, tokens.server.address()).await;
    let (endpoint, credential) = over_tls(front.address().port(), &ca);
    let finished = folder(&endpoint, &format!("client_secret = {{ env = \"SECRET\" }}\n{credential}"))
        .run(&["check", "--live"])
        .await;
    let told = "wants a client certificate and was shown none; set client_certificate and client_key";
    assert!(finished.code == Some(1) && finished.stderr.contains(told), "{finished:?}");
}

/// Token requests are minutes apart, and servers close what is idle.
#[tokio::test]
async fn a_kept_connection_that_has_ended_costs_nobody_a_token() {
    let tokens = TokenServer::scripted(|_, number| {
        let body = TokenServer::granted(&format!("token-{number}"), 1);
        Reply::Close(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    })
    .await;
    let world = World::with(tokens, "refresh_ahead = \"off\"", "", |_, _| Reply::ok("fine")).await;
    for number in 0..3 {
        assert_eq!(refresh(&world.proxy).await.status / 100, 2);
        assert_eq!((world.tokens.requests(), world.tokens.server.connections()), (number + 1, number + 1));
    }
}

#[tokio::test]
async fn a_space_before_the_colon_of_a_field_is_no_reason_to_have_no_token() {
    let tokens =
        TokenServer::scripted(|_, _| Reply::new(200, "X-XSS-Protection : 1\r\n", &TokenServer::granted("abc", 3600)))
            .await;
    let world = World::with(tokens, "", "", |_, _| Reply::ok("fine")).await;
    assert_eq!(world.get("/").await.status, 200);
}
