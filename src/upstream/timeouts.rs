//! How long a response head is waited for, and whose fault it is that there is none.

use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::error::{ExchangeError, ExchangeErrorKind};
use super::outgoing::Progress;
use super::settings::Timeouts;
use crate::timer::{Deadline, Limit};

/// Waits for a response head. While the body is on its way, the clock runs from its last movement; afterwards the response
/// timeout counts.
pub(super) fn within_time<T, P>(
    mut poll: P,
    progress: Option<Rc<Progress>>,
    timeouts: &Timeouts,
) -> impl Future<Output = Result<T, ExchangeError>>
where
    P: FnMut(&mut Context<'_>) -> Poll<T>,
{
    let mut waiting = match progress {
        Some(progress) => Waiting::Body(Deadline::at(progress.last.get()), progress),
        None => Waiting::Answer(Limit::after(timeouts.response)),
    };
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match &mut waiting {
            Waiting::Answer(limit) => limit.poll(cx).map(|()| Err(response_timeout(timeouts))),
            Waiting::Body(deadline, progress) => poll_progress(deadline, progress, timeouts, cx).map(Err),
        }
    })
}

/// What the clock runs for.
enum Waiting {
    Answer(Limit),
    Body(Deadline, Rc<Progress>),
}

/// Ready when it has taken too long.
fn poll_progress(
    deadline: &mut Deadline,
    progress: &Progress,
    timeouts: &Timeouts,
    cx: &mut Context<'_>,
) -> Poll<ExchangeError> {
    let finished = progress.finished.get();
    deadline.move_to(progress.last.get().after(if finished { timeouts.response } else { timeouts.body }));
    deadline.poll(cx).map(|()| {
        if finished {
            response_timeout(timeouts)
        } else if progress.starved.get() {
            ExchangeError::new(ExchangeErrorKind::RequestBodyTimeout, "the request body stood still for too long")
        } else {
            let limit = humantime::format_duration(timeouts.body);
            let detail = format!("it took nothing of the request body for {limit}");
            ExchangeError::new(ExchangeErrorKind::HttpResponseTimeout, detail)
        }
    })
}

fn response_timeout(timeouts: &Timeouts) -> ExchangeError {
    let limit = humantime::format_duration(timeouts.response);
    ExchangeError::new(ExchangeErrorKind::HttpResponseTimeout, format!("no response within {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::CoarseInstant;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_the_fault_of_the_side_that_holds_it_up() {
        let ticker = tokio::spawn(crate::timer::drive());
        tokio::task::yield_now().await;
        let timeouts = Timeouts::default();
        for (finished, starved, expected) in [
            (false, true, ExchangeErrorKind::RequestBodyTimeout),
            (false, false, ExchangeErrorKind::HttpResponseTimeout),
            (true, false, ExchangeErrorKind::HttpResponseTimeout),
        ] {
            let (finished, starved) = (Cell::new(finished), Cell::new(starved));
            let progress = Rc::new(Progress { last: Cell::new(CoarseInstant::now()), finished, starved });
            let waiting = within_time(|_| Poll::<()>::Pending, Some(progress), &timeouts);
            assert_eq!(waiting.await.unwrap_err().kind, expected);
        }
        ticker.abort();
    }
}
