//! An upstream's HTTP/1.1 answers: what is passed on, what is mended, and what is no answer at all.

use tokio::io::AsyncWriteExt as _;

use crate::support::{
    Answer, Caller, Raw, Reply, Scripted, TestProxy, TokenServer, credential, get, read_head, reverse, send, upstream,
};

/// A base URL in front of an upstream at this origin, on one worker.
async fn base(origin: &str) -> (TokenServer, TestProxy) {
    let tokens = TokenServer::start().await;
    let proxy =
        TestProxy::start_with(&format!("{}{}{}", reverse(&["api"]), credential(&tokens), upstream("api", origin)), 1);
    (tokens, proxy)
}

/// What becomes of an upstream's answer; `None` where the caller's connection breaks off in it.
async fn passed(response: &str) -> Option<Answer> {
    let bytes = response.as_bytes().to_vec();
    let api = Scripted::start(move |_, _| Reply::Close(bytes.clone())).await;
    let (_tokens, proxy) = base(&api.origin()).await;
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("GET / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n").await;
    caller.try_answer().await
}

#[tokio::test]
async fn an_answer_passes_unchanged_save_hop_by_hop_fields_and_via() {
    let answer = passed(
        "HTTP/1.1 418 Teapot\r\nSet-Cookie: a=1\r\nX-A: 1\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: x\r\n\
         Proxy-Authenticate: Basic\r\nSet-Cookie: b=2, c\r\nWWW-Authenticate: Basic realm=\"a, b\"\r\n\
         Content-Encoding: gzip\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-A: 2\r\nContent-Length: 3\r\n\r\nabc",
    )
    .await
    .unwrap();
    assert_eq!((answer.status, answer.text()), (418, "abc"));
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2, c"], "never merged");
    assert_eq!(answer.all("x-a"), ["1", "2"]);
    assert_eq!(answer.field("www-authenticate"), Some("Basic realm=\"a, b\""));
    assert_eq!(answer.field("content-encoding"), Some("gzip"), "bodies are never decoded");
    assert_eq!(answer.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    for name in ["x-hop", "keep-alive", "proxy-authenticate", "connection", "proxy-status"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    assert!(answer.field("via").unwrap().starts_with("1.1 attache "));
}

#[tokio::test]
async fn an_answer_with_a_length_beside_chunks_is_502_and_its_connection_is_not_used_again() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    let api = Scripted::start(move |_, number| match number {
        0 => Reply::Raw(both.as_bytes().to_vec()),
        _ => Reply::ok("fine"),
    })
    .await;
    let (_tokens, proxy) = base(&api.origin()).await;
    get(proxy.address("base"), "localhost", "/").await.assert_own_failure(502, "http_protocol_error");
    assert_eq!(get(proxy.address("base"), "localhost", "/").await.text(), "fine");
    assert_eq!((api.requests(), api.connections()), (2, 2));
}

#[tokio::test]
async fn answers_without_a_body_have_no_length_that_promises_one() {
    let answer = passed("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n").await.unwrap();
    assert_eq!((answer.status, answer.field("content-length")), (204, None));
    let answer = passed("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n").await.unwrap();
    assert_eq!((answer.status, answer.field("etag")), (304, Some("\"x\"")));
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let answer = passed("HTTP/1.0 200 OK\r\n\r\nuntil the end").await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "until the end"));
    assert!(answer.field("via").unwrap().starts_with("1.0 attache "));
}

#[tokio::test]
async fn the_answer_to_head_has_its_fields_and_no_body() {
    let api = Scripted::start(|_, number| match number {
        0 => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec()),
        1 => Reply::Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        2 => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n".to_vec()),
        _ => Reply::ok("next"),
    })
    .await;
    let (_tokens, proxy) = base(&api.origin()).await;
    let mut caller = Caller::connect(proxy.address("base")).await;
    for length in [Some("1000"), None, Some("7")] {
        caller.write("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let answer = caller.answer_head().await;
        assert_eq!((answer.status, answer.field("content-length")), (200, length));
    }
    caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(caller.answer().await.text(), "next");
}

/// RFC 9112 sections 4, 5.1 and 5.2, and RFC 9110 section 8.6: old servers answer so, and others take it.
#[tokio::test]
async fn what_a_proxy_may_mend_in_an_answer_is_mended() {
    let answer = passed(
        "HTTP/1.1  200 OK\r\nX-XSS-Protection : 1\r\nX-Tab\t: 2\r\nX-Folded: a,\r\n  b\r\nX-Empty:\r\nContent-Length : 3, 3\r\n\r\nabc",
    )
    .await
    .unwrap();
    assert_eq!((answer.status, answer.text()), (200, "abc"));
    assert_eq!(answer.all("x-xss-protection"), ["1"], "{answer:?}");
    assert_eq!(answer.all("x-tab"), ["2"], "{answer:?}");
    let folded: Vec<_> = answer.field("x-folded").unwrap().split_whitespace().collect();
    assert_eq!((folded, answer.field("x-empty")), (vec!["a,", "b"], Some("")));
    assert_eq!(answer.field("content-length"), Some("3"));
    let chunked = passed(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nTrailer : X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum : 7\r\n\r\n",
    );
    let answer = chunked.await.unwrap();
    assert_eq!((answer.text(), &answer.trailers[..]), ("abc", &[("x-sum".to_owned(), "7".to_owned())][..]));
}

#[tokio::test]
async fn answers_that_break_http_are_502() {
    for response in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n X: 1\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/3.1 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "garbage\r\n\r\n",
    ] {
        let answer = passed(response).await.unwrap_or_else(|| panic!("no answer for {response}"));
        assert_eq!(answer.status, 502, "{response}");
        answer.assert_own_failure(502, "http_protocol_error");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_break_off() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n",
    ] {
        let answer = passed(response).await;
        assert!(answer.is_none(), "a clean end for {response}: {answer:?}");
    }
}

#[tokio::test]
async fn interim_answers_are_never_the_final_one() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n";
    let bytes = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal").into_bytes();
    let api = Scripted::start(move |_, _| Reply::Close(bytes.clone())).await;
    let (_tokens, proxy) = base(&api.origin()).await;
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let hint = caller.answer_head().await;
    assert_eq!((hint.status, hint.field("link")), (103, Some("</a>")));
    assert_eq!(caller.answer_head().await.status, 199);
    let answer = caller.answer().await;
    assert_eq!((answer.status, answer.text(), answer.field("link")), (200, "final", None));
}

#[tokio::test]
async fn trailers_of_an_answer_reach_a_caller_that_takes_them() {
    let answer = passed(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum, Set-Cookie\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\
         Set-Cookie: a=b\r\nContent-Length: 9\r\n\r\n",
    )
    .await
    .unwrap();
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[tokio::test]
async fn bytes_behind_an_answer_are_nobodys_next_answer() {
    let api = Scripted::start(|_, number| match number {
        0 => Reply::Raw(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
                .to_vec(),
        ),
        _ => Reply::ok("two"),
    })
    .await;
    let (_tokens, proxy) = base(&api.origin()).await;
    for expected in ["one", "two"] {
        assert_eq!(get(proxy.address("base"), "localhost", "/").await.text(), expected);
    }
    assert_eq!(api.connections(), 2);
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_it_is_wanted() {
    let api = Scripted::start(|asked, _| Reply::ok(std::str::from_utf8(&asked.body).unwrap())).await;
    let (_tokens, proxy) = base(&api.origin()).await;
    for expect in ["100-continue", "100-Continue"] {
        let mut caller = Caller::connect(proxy.address("base")).await;
        let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: {expect}\r\nContent-Length: 4\r\n\r\n");
        caller.write(head).await;
        assert_eq!(caller.read_exact(25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
        caller.write("body").await;
        assert_eq!(caller.answer().await.text(), "body");
    }
    // Refused from the head alone: no 100, and the connection is not used again.
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("POST / HTTP/1.1\r\nHost: evil.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(caller.read_exact(12).await, b"HTTP/1.1 403");
    // An HTTP/1.0 caller knows no interim answers.
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody").await;
    assert_eq!(caller.read_exact(12).await, b"HTTP/1.0 200");
}

#[tokio::test]
async fn an_early_answer_does_not_lend_its_connection_to_the_next_request() {
    // Answers from the head alone, and never reads a body.
    let api = Raw::start(|mut stream, number| async move {
        while !read_head(&mut stream).await.is_empty() {
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}").as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let (_tokens, proxy) = base(&api.origin()).await;
    let mut slow = Caller::connect(proxy.address("base")).await;
    slow.write("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc").await;
    assert_eq!(slow.answer().await.text(), "0");
    let next = send(proxy.address("base"), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(next.text(), "1", "on a connection of its own");
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_while_idle_costs_no_request() {
    // Closes behind each answer without saying so.
    let api = Scripted::start(|_, _| Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())).await;
    let (_tokens, proxy) = base(&api.origin()).await;
    let mut caller = Caller::connect(proxy.address("base")).await;
    for method in ["GET", "POST", "GET", "DELETE"] {
        caller.write(format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(caller.answer().await.status, 200, "{method}");
    }
    assert_eq!(api.requests(), 4);
}

#[tokio::test]
async fn each_part_of_an_answer_reaches_the_caller_as_it_comes() {
    let next = std::sync::Arc::new(tokio::sync::Notify::new());
    let go_on = next.clone();
    let api = Raw::start(move |mut stream, _| {
        let go_on = go_on.clone();
        async move {
            read_head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..3 {
                stream.write_all(b"9\r\ndata: x\n\n\r\n").await.unwrap();
                // Not before the caller has the part before.
                go_on.notified().await;
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let (_tokens, proxy) = base(&api.origin()).await;
    let mut caller = Caller::connect(proxy.address("base")).await;
    caller.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(caller.answer_head().await.field("content-type"), Some("text/event-stream"));
    for _ in 0..3 {
        assert_eq!(caller.read_exact(14).await, b"9\r\ndata: x\n\n\r\n");
        next.notify_one();
    }
    assert_eq!(caller.read_exact(5).await, b"0\r\n\r\n");
}

#[tokio::test]
async fn large_bodies_pass_intact_in_either_framing() {
    use tokio::io::AsyncReadExt as _;
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 241) as u8).collect();
    let api = Scripted::start(|asked, _| {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", asked.body.len()).into_bytes();
        answer.extend_from_slice(&asked.body);
        Reply::Raw(answer)
    })
    .await;
    let (_tokens, proxy) = base(&api.origin()).await;
    let length = format!("Content-Length: {}", large.len());
    for framing in [length.as_str(), "Transfer-Encoding: chunked"] {
        let mut sent =
            format!("POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{framing}\r\n\r\n").into_bytes();
        if framing == length {
            sent.extend_from_slice(&large);
        } else {
            for part in large.chunks(70_001) {
                sent.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                sent.extend_from_slice(part);
                sent.extend_from_slice(b"\r\n");
            }
            sent.extend_from_slice(b"0\r\n\r\n");
        }
        let mut caller = Caller::connect(proxy.address("base")).await;
        let mut answer = Vec::new();
        let (mut read, mut write) = caller.stream.split();
        let (written, reached) = tokio::join!(write.write_all(&sent), read.read_to_end(&mut answer));
        written.unwrap();
        reached.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(&large), "{framing}");
    }
}
