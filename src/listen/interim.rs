//! Interim answers over HTTP/1.1, for which hyper's server has no way: they are written where its bytes go out.

use std::sync::Arc;

use http::Response;

use super::standing::Standing;
use super::title_case::title_cased;
use crate::interim::InterimSink;

/// Those of one connection.
#[derive(Debug)]
pub(super) struct Interims {
    standing: Arc<Standing>,
    title_case: bool,
}

impl Interims {
    pub(super) fn new(standing: &Arc<Standing>, title_case: bool) -> Self {
        Self { standing: Arc::clone(standing), title_case }
    }
}

impl InterimSink for Interims {
    fn send(&self, answer: Response<()>) {
        let status = answer.status();
        let mut text =
            format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default()).into_bytes();
        for (name, value) in answer.headers() {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        if self.title_case {
            text = title_cased(&text).to_vec();
        }
        self.standing.put_interim(&text);
    }
}
