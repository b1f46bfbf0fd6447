//! Interim answers on a stream.

use std::cell::RefCell;

use bytes::Bytes;
use h2::server::SendResponse;
use http::Response;

use crate::interim::InterimSink;

/// How many may wait; an upstream that sends more before it can be asked whether anybody takes them loses the rest.
const MOST: usize = 16;

/// Those of one stream, from wherever they come to the stream's own future.
#[derive(Debug, Default)]
pub(super) struct Interims(RefCell<Vec<Response<()>>>);

impl InterimSink for Interims {
    fn send(&self, answer: Response<()>) {
        let mut waiting = self.0.borrow_mut();
        if waiting.len() < MOST {
            waiting.push(answer);
        }
    }
}

impl Interims {
    /// Puts on the stream what has come.
    pub(super) fn send_on(&self, stream: &mut SendResponse<Bytes>) {
        if self.0.borrow().is_empty() {
            return;
        }
        for answer in self.0.take() {
            // A caller that is gone, or fields that HTTP/2 does not know: nothing depends on it.
            let _dropped = stream.send_informational(answer);
        }
    }
}
