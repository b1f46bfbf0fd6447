//! A request as HTTP/2 has it.

use http::header::{CONTENT_LENGTH, HOST};
use http::uri::{self, PathAndQuery, Uri};
use http::{HeaderValue, Method, Request, Version};
use http_body::Body;

use crate::dial::{Origin, Scheme};
use crate::upstream::head::OutboundHead;

/// `:scheme`, `:authority` and `:path` instead of `Host` (RFC 9113 section 8.3.1).
pub(in crate::upstream) fn request<B: Body>(
    head: OutboundHead<'_>,
    origin: &Origin,
    authority: uri::Authority,
    body: B,
) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = head.head.method.clone();
    *request.version_mut() = Version::HTTP_2;
    let mut parts = uri::Parts::default();
    parts.scheme = Some(match origin.scheme {
        Scheme::Http => uri::Scheme::HTTP,
        Scheme::Https => uri::Scheme::HTTPS,
    });
    parts.authority = Some(authority);
    parts.path_and_query = Some(head.path.map_or_else(|| path_and_query(&head.head.uri), Clone::clone));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    *request.headers_mut() = head.head.headers.clone();
    request.headers_mut().remove(HOST);
    for (name, value) in head.put_on() {
        request.headers_mut().insert(name.clone(), value.clone());
    }
    // Some servers want to know it beforehand, also that there will be nothing (RFC 9110 section 8.6).
    if let Some(length) = request.body().size_hint().exact()
        && (length > 0 || matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH))
        && !request.headers().contains_key(CONTENT_LENGTH)
    {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    request
}

/// Path and query of a URI; `/` for one without a path.
fn path_and_query(uri: &Uri) -> PathAndQuery {
    match uri.path_and_query() {
        None => PathAndQuery::from_static("/"),
        Some(query) if query.as_str().starts_with('?') => {
            format!("/{query}").parse().unwrap_or(PathAndQuery::from_static("/"))
        }
        Some(path) => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderName;

    #[test]
    fn two_fields_and_a_path_of_our_own_take_the_place_of_the_callers() {
        let (token, proof) = (HeaderName::from_static("authorization"), HeaderName::from_static("dpop"));
        let request = Request::get("http://caller.test/theirs?x").header(&token, "theirs").header(&proof, "theirs");
        let (head, ()) = request.header(&proof, "again").header("accept", "*/*").body(()).unwrap().into_parts();
        let (path, ours) = (PathAndQuery::from_static("/ours?secret"), HeaderValue::from_static("ours"));
        let outbound = OutboundHead {
            head: &head,
            path: Some(&path),
            authorization: [Some((&token, &ours)), Some((&proof, &ours))],
            ..OutboundHead::plain(&head)
        };
        let origin: Origin = "https://api.test".parse().unwrap();
        let sent =
            super::request(outbound, &origin, "api.test".parse().unwrap(), http_body_util::Empty::<Bytes>::new());
        assert_eq!(sent.uri(), "https://api.test/ours?secret");
        for name in [&token, &proof] {
            assert_eq!(sent.headers().get_all(name).iter().collect::<Vec<_>>(), ["ours"]);
        }
        assert!(sent.headers().contains_key("accept"));
        let shown = format!("{outbound:?}");
        assert!(!shown.contains("ours") && !shown.contains("secret"), "{shown}");
    }
}
