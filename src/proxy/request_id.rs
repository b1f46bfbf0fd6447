//! The id of a request: the caller's `X-Request-Id`, or one of attache's. Made only where it is shown.

use http::request::Parts;
use http::{HeaderName, HeaderValue};

/// `X-Request-Id`.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// That of this request, or a new one.
    pub(crate) fn from_head(head: &Parts) -> Self {
        head.headers.get(REQUEST_ID).map_or_else(Self::random, Self::from_value)
    }

    /// Takes over a sensible identifier of the caller's; anything long or strange is replaced.
    fn from_value(theirs: &HeaderValue) -> Self {
        let sensible = (1..=128).contains(&theirs.len())
            && theirs.as_bytes().iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"');
        if sensible { Self(theirs.clone()) } else { Self::random() }
    }

    /// 64 random bits.
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 8];
        // Without randomness identifiers repeat; nothing else depends on them.
        let _filled = aws_lc_rs::rand::fill(&mut bytes);
        let text = format!("{:016x}", u64::from_be_bytes(bytes));
        Self(HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("-")))
    }

    pub(crate) fn value(&self) -> HeaderValue {
        self.0.clone()
    }

    pub(crate) fn text(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }
}

/// `telemetry.request_id`: the request leaves with an id, which its answer has too.
pub(crate) fn identify(head: &mut Parts) -> HeaderValue {
    let value = RequestId::from_head(head).value();
    head.headers.insert(REQUEST_ID, value.clone());
    value
}
