//! What systemd is told of a running attache (`sd_notify`), and how often it hears that all is well. Elsewhere there is no such
//! service manager.

use std::time::Duration;

use crate::app::App;

/// Signs of life in the time that systemd allows between two.
const SIGNS_PER_TIMEOUT: u32 = 3;

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

    /// A reload has ended: the first problem, if it was refused.
    pub(super) fn reloaded(problem: Option<&String>) {
        let status = match problem {
            Some(problem) => format!("the configuration was not reloaded: {problem}"),
            None => "serving; the configuration was reloaded".to_owned(),
        };
        tell(&Word::Ready, &status);
    }

    /// The draining begins.
    pub(super) fn stopping() {
        tell(&Word::Stopping, "finishing requests in progress");
    }

    /// Waits until a sign of life is due, and gives it if every thread answers. If one does not, systemd hears nothing and acts.
    pub(super) async fn sign_of_life(&self, app: &App) {
        let interval = self.interval.unwrap_or(NEVER);
        tokio::time::sleep(interval).await;
        if self.interval.is_some() {
            if app.is_alive(interval).await {
                tell(&Word::Alive, "");
            } else {
                tracing::error!(target: "attache::app", "a thread does not answer; the service manager gets no sign of life, and will restart this program");
            }
        }
    }
}

enum Word {
    Ready,
    Reloading,
    Stopping,
    Alive,
}

#[cfg(target_os = "linux")]
fn tell(word: &Word, status: &str) {
    use sd_notify::NotifyState;
    // One line: a line break would begin the next assignment.
    let status = status.replace(['\n', '\r'], " ");
    let mut states = match word {
        Word::Ready => vec![NotifyState::Ready],
        // Type=notify-reload takes a reload for ended only if it began after the signal, by this clock.
        Word::Reloading => [NotifyState::Reloading].into_iter().chain(NotifyState::monotonic_usec_now().ok()).collect(),
        Word::Stopping => vec![NotifyState::Stopping],
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
