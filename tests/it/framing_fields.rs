//! Fields of HTTP/1.1 requests and of their trailers: which stay behind, and that nobody can name others away (RFC 9110).

use crate::framing::{Base, HOST};
use crate::support::{Reply, Scripted, TestProxy, TokenServer, credential, reverse, send, upstream};

#[tokio::test]
async fn hop_by_hop_fields_stay_behind_and_all_others_go_through_in_order() {
    let it = Base::start("").await;
    let request = format!(
        "GET / HTTP/1.1\r\n{HOST}X-A: 1\r\nConnection: close, X-Hop\r\nConnection: , ,\r\nCONNECTION: x-other , keep-alive\r\n\
         X-Hop: 1\r\nX-Other: 1\r\nx-other: 2\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic eA==\r\nTE: deflate, gzip;q=0.3\r\nUpgrade: foo\r\nX-A: 2\r\nX-B: \"q,\"\r\n\
         Accept-Encoding: br\r\nIf-None-Match: \"x\"\r\nRange: bytes=0-1\r\nx-a: 3\r\n\r\n"
    );
    assert_eq!(send(it.proxy.address("base"), request).await.status, 200);
    let asked = &it.api.asked()[0];
    for name in [
        "connection",
        "x-hop",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "transfer-encoding",
    ] {
        assert_eq!(asked.all(name), [""; 0], "{name}");
    }
    assert_eq!(asked.all("x-a"), ["1", "2", "3"]);
    assert_eq!(asked.field("x-b"), Some("\"q,\""));
    assert_eq!(asked.field("accept-encoding"), Some("br"));
    assert_eq!(asked.field("if-none-match"), Some("\"x\""));
    assert_eq!(asked.field("range"), Some("bytes=0-1"));
    assert!(asked.field("via").unwrap().starts_with("1.1 attache "), "{asked:?}");
}

#[tokio::test]
async fn no_connection_field_can_name_the_token_or_the_framing_away() {
    let it = Base::start("").await;
    let request = format!(
        "POST / HTTP/1.1\r\n{HOST}Connection: authorization, host, content-length, via, transfer-encoding\r\n\
         Authorization: Bearer theirs\r\nAuthorization: Basic eA==\r\nContent-Length: 3\r\n\r\nabc"
    );
    assert_eq!(send(it.proxy.address("base"), request).await.status, 200);
    let asked = &it.api.asked()[0];
    assert_eq!(asked.field("authorization"), Some("Bearer token-1"));
    assert_eq!(asked.field("host"), Some(it.api.address().to_string().as_str()));
    assert_eq!((asked.field("content-length"), &*asked.body), (Some("3"), &b"abc"[..]));
    assert!(asked.field("via").is_some());
}

#[tokio::test]
async fn underscore_twins_of_what_a_caller_may_not_say_are_dropped() {
    let it = Base::start("").await;
    let request = format!(
        "GET / HTTP/1.1\r\n{HOST}X_Forwarded_For: 1.2.3.4\r\nProxy_Authorization: x\r\nAuthorization_: y\r\n\
         authorization: Bearer theirs\r\nX_Mine: 1\r\n\r\n"
    );
    assert_eq!(send(it.proxy.address("base"), request).await.status, 200);
    let asked = &it.api.asked()[0];
    assert_eq!((asked.field("x_forwarded_for"), asked.field("proxy_authorization")), (None, None));
    assert_eq!(asked.field("x_mine"), Some("1"));
    assert_eq!(asked.field("authorization"), Some("Bearer token-1"));
}

#[tokio::test]
async fn trailers_of_a_request_are_forwarded_without_what_a_trailer_may_not_say() {
    let it = Base::start("").await;
    let request = format!(
        "POST / HTTP/1.1\r\n{HOST}Trailer: X-Sum, Authorization, Host, Cookie, Content-Length, Transfer-Encoding\r\n\
         Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\nAuthorization: Bearer theirs\r\nHost: evil.test\r\n\
         Cookie: a=b\r\nContent-Length: 9\r\nProxy-Authorization: x\r\n\r\n"
    );
    assert_eq!(send(it.proxy.address("base"), request).await.status, 200);
    let asked = &it.api.asked()[0];
    assert_eq!(asked.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(asked.field("authorization"), Some("Bearer token-1"));
    assert_eq!(asked.field("x-sum"), None, "trailers are never made header fields");
    assert_eq!(asked.field("trailer"), Some("X-Sum"), "and what goes is not announced");
}

/// RFC 9110 section 7.6.1: the nomination is about every field of that name.
#[tokio::test]
async fn what_connection_names_stays_behind_in_trailers_too() {
    let body = "3\r\nabc\r\n0\r\nX-Hop: 1\r\nX-Sum: 7\r\n\r\n";
    let tokens = TokenServer::start().await;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nTrailer: X-Hop, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
    );
    let api = Scripted::start(move |_, _| Reply::Raw(answer.clone().into_bytes())).await;
    for keys in ["", "retry = { enabled = false }\n"] {
        let config = format!("{}{}{}{keys}", reverse(&["api"]), credential(&tokens), upstream("api", &api.origin()));
        let proxy = TestProxy::start(&config);
        let request = format!(
            "POST / HTTP/1.1\r\n{HOST}Connection: TE, X-Hop\r\nTE: trailers\r\nTrailer: X-Hop, X-Sum\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        );
        let answer = send(proxy.address("base"), request).await;
        let sum = [("x-sum".to_owned(), "7".to_owned())];
        assert_eq!((answer.status, answer.text(), &answer.trailers[..]), (200, "abc", &sum[..]));
        assert_eq!(answer.field("trailer"), Some("X-Sum"));
        let asked = api.asked().pop().unwrap();
        assert_eq!((&asked.body[..], &asked.trailers[..]), (&b"abc"[..], &sum[..]));
        assert_eq!((asked.field("trailer"), asked.field("http2-settings")), (Some("X-Sum"), None));
    }
}
