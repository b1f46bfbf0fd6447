//! How a running attache ends: callers are told to go elsewhere while it goes on accepting, requests in progress finish, and
//! what is left is cut off.

use std::time::Duration;

use super::service_manager::ServiceManager;
use super::signals::Signals;
use crate::app::App;
use crate::cli::output::{Failure, talk};
use crate::listen::Limits;

/// Who asks for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskedBy {
    /// SIGTERM or SIGINT: balancers have not heard of it.
    Signal,
    /// `POST /quitquitquit`: nobody will come any more.
    Admin,
}

/// How long the steps of the end take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Accepting goes on.
    delay: Duration,
    /// Requests in progress finish.
    drain: Duration,
}

impl Times {
    /// What the file says, and else this.
    pub(super) fn of(limits: &Limits, default_delay: Option<Duration>) -> Self {
        Self { delay: limits.drain_delay.or(default_delay).unwrap_or_default(), drain: limits.drain }
    }
}

/// Ends the program. A signal ends the step that is under way.
pub(super) async fn end(
    app: App,
    asked_by: AskedBy,
    times: Times,
    signals: &mut Signals,
    manager: &ServiceManager,
) -> Result<(), Failure> {
    let Times { delay, drain } = times;
    if asked_by == AskedBy::Signal && !delay.is_zero() {
        app.announce_end();
        ServiceManager::stopping("not ready any more, and still accepting", delay.saturating_add(drain));
        let shown = humantime::format_duration(delay);
        talk(format_args!("stopping: /readyz is 503, accepting goes on for {shown}; a signal ends that"))?;
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = signals.next() => {}
            () = app.asked_to_stop() => {}
            never = manager.signs_of_life(&app) => match never {},
        }
    }
    ServiceManager::stopping("finishing requests in progress", drain);
    let limit = humantime::format_duration(drain);
    talk(format_args!("draining: requests in progress may finish within {limit}; a signal ends at once"))?;
    tokio::select! {
        finished = app.shutdown_within(drain) => {
            talk(format_args!("{}", if finished { "stopped" } else { "stopped; some requests were cut off" }))
        }
        asked = signals.next() => {
            talk(format_args!("stopped at once"))?;
            Err(Failure::Ended(asked.exit_code()))
        }
        never = manager.signs_of_life_while_stopping() => match never {},
    }
}
