//! What happens to the head of every request and of every response on its way through.

use std::hint::black_box;

use attache::bench::{ViaIdentity, rewrite_request, rewrite_response};
use criterion::{BatchSize, Criterion};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, request};

const SMALL_REQUEST: [(&str, &str); 3] = [("host", "localhost:8080"), ("user-agent", "curl/8.14.1"), ("accept", "*/*")];
const SMALL_RESPONSE: [(&str, &str); 3] =
    [("date", "Mon, 06 Jul 2026 09:30:00 GMT"), ("content-type", "application/json"), ("content-length", "1024")];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, fields) in heads(&SMALL_REQUEST) {
        request(&mut criterion, name, &fields);
    }
    for (name, fields) in heads(&SMALL_RESPONSE) {
        response(&mut criterion, name, &fields);
    }
    criterion.final_summary();
}

/// To an upstream with a credential, behind a path prefix.
fn request(criterion: &mut Criterion, name: &str, fields: &[(HeaderName, HeaderValue)]) {
    let via = ViaIdentity::default();
    let path = PathAndQuery::from_static("/v1/orders/17");
    let head = || {
        let mut request = Request::new(());
        *request.headers_mut() = map(fields);
        (request.into_parts().0, path.clone())
    };
    let rewrite = |(head, path): &mut (request::Parts, PathAndQuery)| {
        black_box(rewrite_request(&via, head, Some(path.clone()), true));
    };
    criterion.bench_function(&format!("request, {name}"), |bencher| {
        bencher.iter_batched_ref(head, rewrite, BatchSize::SmallInput);
    });
}

fn response(criterion: &mut Criterion, name: &str, fields: &[(HeaderName, HeaderValue)]) {
    let via = ViaIdentity::default();
    let head = || {
        let mut response = Response::new(());
        *response.headers_mut() = map(fields);
        response.into_parts().0
    };
    criterion.bench_function(&format!("response, {name}"), |bencher| {
        bencher.iter_batched_ref(head, |head| rewrite_response(&via, black_box(head)), BatchSize::SmallInput);
    });
}

/// A small head, one of the size that programs with tracing send, and one with fields that end here.
fn heads(small: &[(&'static str, &'static str)]) -> [(&'static str, Vec<(HeaderName, HeaderValue)>); 3] {
    let named = fields(small, 18).into_iter().chain(hop_by_hop()).collect();
    [("3 fields", fields(small, 3)), ("20 fields", fields(small, 20)), ("20 fields, 2 hop-by-hop", named)]
}

/// These fields, and others until there are so many.
fn fields(small: &[(&'static str, &'static str)], count: usize) -> Vec<(HeaderName, HeaderValue)> {
    let named = small.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let others = (0..).filter_map(|at| {
        let name = HeaderName::try_from(format!("x-field-{at}")).ok()?;
        Some((name, HeaderValue::from_static("of the usual length, as a trace id is")))
    });
    named.chain(others).take(count).collect()
}

/// What costs a second look.
fn hop_by_hop() -> [(HeaderName, HeaderValue); 2] {
    let keep_alive = HeaderName::from_static("keep-alive");
    [
        (http::header::CONNECTION, HeaderValue::from_static("keep-alive")),
        (keep_alive, HeaderValue::from_static("timeout=60")),
    ]
}

/// With room for `Via`, as the request path has it.
fn map(fields: &[(HeaderName, HeaderValue)]) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len() + 1);
    for (name, value) in fields {
        map.append(name.clone(), value.clone());
    }
    map
}
