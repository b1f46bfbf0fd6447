//! What systemd is told of a running attache (`sd_notify`), and how often it hears that all is well. Elsewhere there is no such
//! service manager.

use std::convert::Infallible;
use std::time::Duration;

use crate::app::{App, Reload};

/// Signs of life in the time that systemd allows between two.
const SIGNS_PER_TIMEOUT: u32 = 3;

/// What the end takes besides what is configured: the last traces, the last answers of the admin API.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Without a watchdog: a wait that is only there because the loop needs one.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// The service manager, if there is one.
#[derive(Debug)]
pub(super) struct ServiceManager {
    interval: Option<Duration>,
}

impl ServiceManager {
    /// As the environment says.
    pub(super) fn from_environment() -> Self {
        Self { interval: watchdog().map(|timeout| timeout / SIGNS_PER_TIMEOUT) }
    }

    /// Every address accepts.
    pub(super) fn ready(status: &str) {
        tell(&Word::Ready, status);
    }

    /// A reload begins; it ends with [`ServiceManager::reloaded`], whatever its outcome.
    pub(super) fn reloading() {
        tell(&Word::Reloading, "reading the configuration");
    }

    /// A reload has ended that [`ServiceManager::reloading`] began.
    pub(super) fn reloaded(reload: &Reload) {
        tell(&Word::Ready, &outcome(reload));
    }

    /// A reload has ended that somewhere else was asked for: there its outcome is waited for.
    pub(super) fn has_reloaded(reload: &Reload) {
        tell(&Word::Status, &outcome(reload));
    }

    /// A step of the end begins; with those behind it, it takes this long at most.
    pub(super) fn stopping(status: &str, within: Duration) {
        tell(&Word::Stopping(within.saturating_add(LAST_WORDS)), status);
    }

    /// Gives a sign of life whenever one is due and every thread answers. If one does not, systemd hears nothing and acts.
    ///
    /// Begun anew, it waits anew: so one of them is kept, and polled for as long as attache serves.
    pub(super) async fn signs_of_life(&self, app: &App) -> Infallible {
        loop {
            let interval = self.interval.unwrap_or(NEVER);
            tokio::time::sleep(interval).await;
            if self.interval.is_none() {
                continue;
            }
            if app.is_alive(interval).await {
                tell(&Word::Alive, "");
            } else {
                tracing::error!(target: "attache::app", "a thread does not answer; the service manager gets no sign of life, and will restart this program");
            }
        }
    }

    /// Gives signs of life without end, while threads finish and stop one by one: the end has a limit of its own.
    pub(super) async fn signs_of_life_while_stopping(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.interval.unwrap_or(NEVER)).await;
            if self.interval.is_some() {
                tell(&Word::Alive, "");
            }
        }
    }
}

fn outcome(reload: &Reload) -> String {
    match reload.problems.first() {
        Some(problem) => format!("the configuration was not reloaded: {problem}"),
        None => "serving; the configuration was reloaded".to_owned(),
    }
}

enum Word {
    /// Nothing but how it is.
    Status,
    Ready,
    Reloading,
    /// And how long it may take, whatever `TimeoutStopSec=` says.
    Stopping(Duration),
    Alive,
}

#[cfg(target_os = "linux")]
fn tell(word: &Word, status: &str) {
    use sd_notify::NotifyState;
    // One line: a line break would begin the next assignment.
    let status = status.replace(['\n', '\r'], " ");
    let mut states = match word {
        Word::Status => Vec::new(),
        Word::Ready => vec![NotifyState::Ready],
        // Type=notify-reload takes a reload for ended only if it began after the signal, by this clock.
        Word::Reloading => [NotifyState::Reloading].into_iter().chain(NotifyState::monotonic_usec_now().ok()).collect(),
        Word::Stopping(within) => {
            let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
            vec![NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within)]
        }
        Word::Alive => vec![NotifyState::Watchdog],
    };
    if !status.is_empty() {
        states.push(NotifyState::Status(&status));
    }
    if let Err(error) = sd_notify::notify(&states) {
        tracing::warn!(target: "attache::app", %error, "the service manager cannot be told");
    }
}

#[cfg(not(target_os = "linux"))]
fn tell(_: &Word, _: &str) {}

/// How long systemd waits for a sign of life of this process, if it does.
#[cfg(target_os = "linux")]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(target_os = "linux"))]
const fn watchdog() -> Option<Duration> {
    None
}
