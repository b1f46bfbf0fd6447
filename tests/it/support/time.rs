//! Waiting: for the thing itself wherever it can be seen. The only place where tests sleep.

use std::time::{Duration, Instant};

/// No condition of these tests takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Polls a condition until it holds; panics with `what` if that takes longer than a busy machine could.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Polls until there is a value; panics with what `explain` says if none comes.
pub async fn until_some<T>(mut look: impl FnMut() -> Option<T>, explain: impl Fn() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {}", explain());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Polls a counter until it has stood still for longer than anything on the way takes.
pub async fn until_still(mut count: impl FnMut() -> usize) -> usize {
    let mut before = usize::MAX;
    loop {
        let now = count();
        if now == before {
            return now;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Lets real time pass, and says what for. A running attache has clocks of its own in other threads and processes, so paused
/// time reaches neither its deadlines nor the pace of a peer. For these alone; whatever leaves a trace is waited for.
pub async fn real_time(_what_for: &str, moment: Duration) {
    tokio::time::sleep(moment).await;
}
