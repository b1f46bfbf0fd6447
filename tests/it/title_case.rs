//! Programs that read no names of fields but those in Title-Case: `title_case`, for a listener and for an upstream.

use crate::support::{
    Answer, Asked, Caller, FORWARD, LocalCa, Reply, Scripted, TestProxy, TokenServer, credential, get, reverse, send,
    upstream,
};

const BODY: &str = "3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n";

/// An upstream that answers in small letters, and attache in front of it by both kinds of listener, with these keys.
async fn world(listener: &str, of_upstream: &str) -> (Scripted, TestProxy, TokenServer) {
    let tokens = TokenServer::start().await;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nx-request-cost: 1\r\netag: \"a-b\"\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n{BODY}"
    );
    let api = Scripted::start(move |_, _| Reply::Raw(answer.clone().into_bytes())).await;
    let local = LocalCa::new();
    let config = [
        &*reverse(&["api"]),
        listener,
        FORWARD,
        listener,
        &local.intercept(),
        &credential(&tokens),
        &upstream("api", &api.origin()),
        of_upstream,
    ];
    let proxy = TestProxy::start(&config.concat());
    (api, proxy, tokens)
}

fn request(host: &str) -> String {
    format!(
        "POST /x HTTP/1.1\r\nhost: {host}\r\nx-correlation-id: a-b\r\nconnection: te\r\nte: trailers\r\ntrailer: x-sum\r\n\
         transfer-encoding: chunked\r\n\r\n{BODY}"
    )
}

fn names<'f>(fields: &'f [(String, String)], trailers: &'f [(String, String)]) -> Vec<&'f str> {
    fields.iter().chain(trailers).map(|(name, _)| name.as_str()).collect()
}

fn in_title_case(name: &str) -> bool {
    name.split('-').all(|word| word.starts_with(|first: char| first.is_ascii_uppercase()))
}

fn small(name: &str) -> bool {
    name.bytes().all(|byte| !byte.is_ascii_uppercase())
}

#[track_caller]
fn assert_all(answer: &Answer, asked: &Asked, (to_caller, to_upstream): (bool, bool)) {
    for (title_case, names) in
        [(to_caller, names(&answer.fields, &answer.trailers)), (to_upstream, names(&asked.fields, &asked.trailers))]
    {
        let fits = if title_case { in_title_case } else { small };
        assert!(names.len() > 5 && names.iter().copied().all(fits), "{title_case}: {names:?}");
    }
    assert_eq!((answer.field("etag"), asked.field("x-correlation-id")), (Some("\"a-b\""), Some("a-b")));
    assert_eq!((answer.trailers.len(), asked.trailers.len()), (1, 1));
}

#[tokio::test]
async fn names_of_fields_are_small_unless_title_case_is_asked_for_on_either_side() {
    for both in [(false, false), (true, false), (false, true), (true, true)] {
        let key = |wanted: bool| if wanted { "title_case = true\n" } else { "" };
        let (api, proxy, _tokens) = world(key(both.0), key(both.1)).await;
        let answer = send(proxy.address("base"), request("localhost")).await;
        assert_all(&answer, &api.asked()[0], both);
        assert_eq!(api.asked()[0].field("authorization"), Some("Bearer token-1"));

        // The same inside of an opened tunnel.
        let host = api.address().to_string();
        let mut caller = Caller::connect(proxy.address("proxy")).await;
        caller.write(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(caller.answer_head().await.status, 200);
        caller.write(request(&host)).await;
        assert_all(&caller.answer().await, &api.asked()[1], both);
    }
}

/// What attache says itself, also where there was no request.
#[tokio::test]
async fn own_failures_are_in_title_case_too() {
    let (_api, proxy, _tokens) = world("title_case = true\n", "").await;
    let denied = get(proxy.address("proxy"), "other.test", "http://other.test/").await;
    denied.assert_own_failure(403, "http_request_denied");
    let unreadable = send(proxy.address("base"), "GET / HTTP/9\r\n\r\n").await;
    unreadable.assert_own_failure(400, "http_request_error");
    for answer in [denied, unreadable] {
        assert!(names(&answer.fields, &[]).into_iter().all(in_title_case), "{answer:?}");
    }
}
