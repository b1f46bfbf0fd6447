//! Interim answers (RFC 9110 section 15.2) on their way from an upstream to a caller.

use std::cell::RefCell;

use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER};
use http::{HeaderMap, HeaderName, Response, StatusCode};

use crate::connection_fields::CONNECTION_FIELDS;

/// About a body, which an interim answer has not.
const BODY_FIELDS: [HeaderName; 2] = [CONTENT_LENGTH, TRAILER];

/// How many may wait. The connection of the caller sends on what has come as often as the answer is waited for; of more at once the
/// rest is lost.
const MAX_WAITING: usize = 16;

/// The interim answers to one request, from the task that waits for its answer to the one that serves its caller.
///
/// Nothing depends on them: one that cannot be passed on is dropped.
#[derive(Debug, Default)]
pub(crate) struct Interims(RefCell<Vec<Response<()>>>);

impl Interims {
    /// Passes on one answer with a status from 100 to 199, other than 101.
    pub(crate) fn send(&self, answer: Response<()>) {
        let mut waiting = self.0.borrow_mut();
        if waiting.len() < MAX_WAITING {
            waiting.push(answer);
        }
    }

    /// Changes what waits, before anybody sees it.
    pub(crate) fn change(&self, change: impl Fn(&mut HeaderMap)) {
        self.0.borrow_mut().iter_mut().for_each(|answer| change(answer.headers_mut()));
    }

    /// What has come since the last time.
    #[must_use]
    pub(crate) fn take(&self) -> Vec<Response<()>> {
        self.0.take()
    }
}

/// An upstream's interim answer, ready to be passed on. `None` for 100: the caller was told to go on when its body was first
/// asked for.
#[must_use]
pub(crate) fn passed(mut answer: Response<()>) -> Option<Response<()>> {
    if answer.status() == StatusCode::CONTINUE {
        return None;
    }
    let headers = answer.headers_mut();
    let lines: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    for member in lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
        if let Ok(name) = HeaderName::from_bytes(member.trim_ascii()) {
            headers.remove(name);
        }
    }
    for name in CONNECTION_FIELDS.iter().chain(&BODY_FIELDS) {
        headers.remove(name);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_one_connection_stays_behind_and_a_hint_passes() {
        let hint =
            Response::builder().status(103).header("link", "</a.css>; rel=preload").header("connection", "X-Hop");
        let hint = hint.header("x-hop", "1").header("content-length", "3").body(()).unwrap();
        let passed_on = passed(hint).unwrap();
        assert_eq!(passed_on.headers().len(), 1);
        assert_eq!(passed_on.headers()["link"], "</a.css>; rel=preload");
        assert!(passed(Response::builder().status(100).body(()).unwrap()).is_none());
    }
}
