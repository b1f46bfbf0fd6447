//! I am here; who else? And what is to be done when the store is back.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::replica::Replica;
use crate::token::{Clock, jitter};

/// Each replica says that it is there.
const EACH: Duration = Duration::from_secs(30);
/// After its first beat, since others may have begun at the same time.
const FIRST: Duration = Duration::from_secs(5);
/// Who has not said so for this time is not there.
pub(super) const GONE: Duration = Duration::from_secs(90);
/// So often it is looked whether the store takes writes; while it does not, it is tried whether it does again.
const LOOK: Duration = Duration::from_secs(5);

/// Beyond so much skew people are told.
const NOTABLE_SKEW: f64 = 30.0;

/// After the store is back, not all ask at one moment.
const APART: Duration = Duration::from_secs(1);

/// What the heartbeat goes by besides the time.
pub(crate) struct Pulse {
    /// Counts the connections that were made.
    pub(crate) connections: watch::Receiver<u64>,
    /// True while the store takes no writes.
    pub(crate) refuses_writes: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Runs until it is stopped.
pub(crate) async fn beat(replica: Arc<Replica>, mut pulse: Pulse) {
    let (mut warned, mut said, mut refused, mut each) = (false, false, false, FIRST);
    loop {
        if let Some(skew) = beat_once(&replica).await {
            if !std::mem::replace(&mut said, true) {
                let (replicas, instance) = (replica.replicas(), replica.instance());
                tracing::info!(target: "attache::cache", replicas, instance, "tokens are shared among replicas");
            }
            let notable = skew.abs() > NOTABLE_SKEW;
            if notable && !std::mem::replace(&mut warned, notable) {
                tracing::warn!(target: "attache::cache", clock_skew = skew.round(), "this machine's clock differs from the cache's; let both be set by a time server (NTP)");
            }
            warned = notable;
        }
        if until_next(&replica, &mut pulse, &mut refused, each).await.is_none() {
            return;
        }
        each = EACH;
    }
}

/// Waits for the next beat. `None` at the store's end.
async fn until_next(replica: &Arc<Replica>, pulse: &mut Pulse, refused: &mut bool, each: Duration) -> Option<()> {
    let due = Instant::now() + each.mul_f64(0.9 + 0.2 * jitter());
    loop {
        let refuses = (pulse.refuses_writes)();
        if std::mem::replace(refused, refuses) && !refuses {
            ask_again(replica);
        }
        tokio::select! {
            () = sleep(LOOK.mul_f64(0.9 + 0.2 * jitter())) => {
                if refuses || Instant::now() >= due {
                    return Some(());
                }
            }
            made = pulse.connections.changed() => {
                made.ok()?;
                let alone = replica.take_alone();
                if alone > 0 {
                    tracing::info!(target: "attache::cache", alone, "while the shared cache was away, this replica asked for tokens by itself");
                }
                ask_again(replica);
                return Some(());
            }
        }
    }
}

/// The store is back, or takes writes again: who has asked for itself meanwhile asks for what the others have.
fn ask_again(replica: &Arc<Replica>) {
    let now = Instant::now();
    // What is asked for without the store for a while would be asked of the server.
    for entry in replica.entries().into_iter().filter(|entry| !entry.is_alone(now)) {
        let Some(cache) = entry.cache.upgrade() else { continue };
        let rejoin = move || cache.rejoin();
        entry.own(replica.control.spawn_at(now + APART.mul_f64(jitter()), rejoin));
    }
}

/// By how many seconds the store's clock is ahead; `None` if it did not answer.
async fn beat_once(replica: &Replica) -> Option<f64> {
    let sent = Instant::now();
    let beat = replica.store.beat(&replica.instance, GONE).await.ok()?;
    let half = sent.elapsed() / 2;
    let wall = Clock::system().now().wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let skew = (beat.now + half).as_secs_f64() - wall.as_secs_f64();
    replica.counted(beat.replicas, skew);
    Some(skew)
}
