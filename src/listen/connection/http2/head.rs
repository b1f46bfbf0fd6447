//! The head of an answer, as HTTP/2 has it.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderValue, Response, Version};
use http_body::Body;

use crate::connection_fields::CONNECTION_FIELDS;
use crate::timer::CoarseInstant;

pub(super) fn remove_connection_fields(headers: &mut HeaderMap) {
    // One look at the names: by far the most answers have none of them.
    if headers.keys().any(|name| CONNECTION_FIELDS.contains(name)) {
        for name in &CONNECTION_FIELDS {
            headers.remove(name);
        }
    }
}

/// Takes an answer apart for the wire: without what belongs to HTTP/1, with `Date` (RFC 9110 section 6.6.1), and with its
/// length where that is known.
pub(super) fn split<B: Body>(answer: Response<B>) -> (Response<()>, B) {
    let (mut head, body) = answer.into_parts();
    head.version = Version::HTTP_2;
    remove_connection_fields(&mut head.headers);
    if !head.headers.contains_key(DATE) {
        head.headers.insert(DATE, now());
    }
    if !body.is_end_stream()
        && let Some(length) = body.size_hint().exact()
        && !head.headers.contains_key(CONTENT_LENGTH)
    {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    (Response::from_parts(head, ()), body)
}

thread_local! {
    /// Written once a second at the most.
    static WRITTEN: RefCell<Option<(CoarseInstant, HeaderValue)>> = const { RefCell::new(None) };
}

fn now() -> HeaderValue {
    WRITTEN.with_borrow_mut(|written| {
        let now = CoarseInstant::now();
        match written {
            Some((until, date)) if now < *until => date.clone(),
            _ => {
                let date = httpdate::fmt_http_date(SystemTime::now());
                let date = HeaderValue::from_str(&date).unwrap_or(HeaderValue::from_static(""));
                *written = Some((now.after(Duration::from_secs(1)), date.clone()));
                date
            }
        }
    })
}
