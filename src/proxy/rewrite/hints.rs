//! Interim answers. Like the answer that follows them they are told in the caller's terms.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;

use http::HeaderMap;

use crate::interim::Interims;

/// Waits for an answer, and has what comes before it changed. `None` where nothing has to be.
pub(in crate::proxy) async fn changed_before<F: Future>(
    mut answer: Pin<&mut F>,
    interims: Option<Rc<Interims>>,
    change: impl Fn(&mut HeaderMap),
) -> F::Output {
    let Some(interims) = interims else { return answer.await };
    poll_fn(|cx| {
        let polled = answer.as_mut().poll(cx);
        interims.change(&change);
        polled
    })
    .await
}
