//! Interim answers on their way through. Like the answer that follows them they are told in the caller's terms.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;

use http::{HeaderMap, Response};

use super::rewrite::Terms;
use crate::interim::InterimSink;
use crate::listen::Incoming;

/// How many may wait for the next look.
const MOST: usize = 16;

/// Those of one request, held until they have been told in the caller's terms.
pub(super) struct Hints {
    to: Rc<dyn InterimSink>,
    waiting: RefCell<Vec<Response<()>>>,
}

impl InterimSink for Hints {
    fn send(&self, answer: Response<()>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() < MOST {
            waiting.push(answer);
        }
    }
}

impl Hints {
    /// In place of where the interim answers to this request go. `None` where they need not be told otherwise, or go nowhere.
    pub(super) fn hold(terms: Option<&Terms>, body: &mut Incoming) -> Option<Rc<Self>> {
        let to = terms.and_then(|_| body.interim())?;
        let hints = Rc::new(Self { to, waiting: RefCell::default() });
        body.set_interim(Rc::clone(&hints) as Rc<dyn InterimSink>);
        Some(hints)
    }
}

/// Waits for an answer, and hands on what comes before it.
pub(super) async fn handed_on<F: Future>(
    mut answer: Pin<&mut F>,
    hints: Option<Rc<Hints>>,
    tell: impl Fn(&mut HeaderMap),
) -> F::Output {
    let Some(hints) = hints else { return answer.await };
    poll_fn(|cx| {
        let polled = answer.as_mut().poll(cx);
        if !hints.waiting.borrow().is_empty() {
            for mut hint in hints.waiting.take() {
                tell(hint.headers_mut());
                hints.to.send(hint);
            }
        }
        polled
    })
    .await
}
