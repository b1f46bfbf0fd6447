//! Callers who ask again and again while something happens, and never meet a failure.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::replicas::Replica;
use crate::support::{get, real_time};

/// Between two requests of one caller.
const PAUSE: Duration = Duration::from_millis(40);

/// One caller for each replica.
pub struct Callers {
    callers: JoinSet<Answered>,
    stop: watch::Sender<bool>,
}

/// What the callers have seen. All of it was answers with 200.
#[derive(Debug, Default, Clone, Copy)]
pub struct Answered {
    pub requests: usize,
    pub longest: Duration,
}

impl Callers {
    pub fn of<'r>(replicas: impl IntoIterator<Item = &'r Replica>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut callers = JoinSet::new();
        for replica in replicas {
            let (address, stopped) = (replica.api, stopped.clone());
            callers.spawn(async move {
                let mut seen = Answered::default();
                while !*stopped.borrow() {
                    let began = Instant::now();
                    let answer = get(address, "localhost", "/").await;
                    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                    seen = Answered { requests: seen.requests + 1, longest: seen.longest.max(began.elapsed()) };
                    real_time("a caller has other things to do", PAUSE).await;
                }
                seen
            });
        }
        Self { callers, stop }
    }

    /// Lets each finish its last request. Panics if any was not answered well.
    pub async fn finish(self) -> Answered {
        self.stop.send_replace(true);
        let all = self.callers.join_all().await;
        assert!(all.iter().all(|one| one.requests > 0), "{all:?}");
        Answered {
            requests: all.iter().map(|one| one.requests).sum(),
            longest: all.iter().map(|one| one.longest).max().unwrap_or_default(),
        }
    }
}
