//! `limits.body_bytes`: a request body that is longer is answered with 413. One that says its length is refused before anything
//! is sent; one that does not is counted on its way, and broken off.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::RequestBody;
use crate::upstream::{BodyError, ExchangeError};

/// A body that is counted.
#[derive(Debug)]
pub(crate) struct CountedBody {
    pub(in crate::proxy) inner: RequestBody,
    left: u64,
    exceeded: Arc<AtomicBool>,
}

/// Whether the body that went out was too long.
#[derive(Debug)]
pub(in crate::proxy) struct Bound(Option<Arc<AtomicBool>>);

/// Lets a body out as far as it may be long.
pub(in crate::proxy) fn bound(body: RequestBody, most: Option<u64>) -> Result<(RequestBody, Bound), ExchangeError> {
    let (Some(most), false) = (most, matches!(body, RequestBody::Empty)) else { return Ok((body, Bound(None))) };
    let hint = body.size_hint();
    if hint.lower() > most {
        return Err(ExchangeError::body_too_large(most));
    }
    if hint.upper().is_some() {
        return Ok((body, Bound(None)));
    }
    let exceeded = Arc::new(AtomicBool::new(false));
    let counted = CountedBody { inner: body, left: most, exceeded: Arc::clone(&exceeded) };
    Ok((RequestBody::Counted(Box::new(counted)), Bound(Some(exceeded))))
}

impl Bound {
    /// The failure of an exchange is that of its body, if that was too long.
    pub(in crate::proxy) fn told<T>(
        self,
        exchanged: Result<T, ExchangeError>,
        most: Option<u64>,
    ) -> Result<T, ExchangeError> {
        let exceeded = self.0.is_some_and(|exceeded| exceeded.load(Ordering::Relaxed));
        exchanged.map_err(|error| if exceeded { ExchangeError::body_too_large(most.unwrap_or(0)) } else { error })
    }
}

impl CountedBody {
    pub(in crate::proxy) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                self.exceeded.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err("the request body is larger than limits.body_bytes".into())));
            };
            self.left = left;
        }
        Poll::Ready(frame)
    }
}
