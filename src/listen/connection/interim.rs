//! Interim answers over HTTP/1.1, for which hyper's server has no way: they are written where its bytes go out.

use std::future::{Future, poll_fn};
use std::pin::Pin;

use http::Response;

use super::state::ConnectionState;
use super::title_case::title_cased;
use crate::interim::Interims;

/// Waits for an answer, and has what comes before it written. The answer is pinned where it is made: taken by value, it would be
/// copied for each request, and have its room twice.
pub(super) async fn written_before<F: Future>(
    mut answer: Pin<&mut F>,
    interims: &Interims,
    state: &ConnectionState,
    title_case: bool,
) -> F::Output {
    poll_fn(|cx| {
        let polled = answer.as_mut().poll(cx);
        for interim in interims.take() {
            state.put_interim(&text(&interim, title_case));
        }
        polled
    })
    .await
}

fn text(answer: &Response<()>, title_case: bool) -> Vec<u8> {
    let status = answer.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in answer.headers() {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    if title_case { title_cased(&text).to_vec() } else { text }
}
