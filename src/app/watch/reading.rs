//! Reading the configuration while it runs: on threads of its own, with a deadline. What hangs, on a network for example, is left
//! behind, and keeps no other reading from its turn.

use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::oneshot;

/// How many may hang at once. Each was given up after its deadline; beyond that nothing more is begun.
const MOST: usize = 4;

/// Why nothing was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error("reading the configuration took longer than {}; is it on a file system that hangs?", humantime::format_duration(*.0))]
    TooLong(Duration),
    #[error("earlier attempts to read the configuration still hang; is it on a file system that does not answer?")]
    StillHanging,
    #[error("reading the configuration broke off")]
    BrokeOff,
    #[error("the system gives no thread to read the configuration on")]
    NoThread,
}

/// Threads that read, each for one time.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Held once by each thread.
    running: Arc<()>,
}

impl Readers {
    /// What `read` makes of it, within a time.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        limit: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unread> {
        if Arc::strong_count(&self.running) > MOST {
            return Err(Unread::StillHanging);
        }
        let (send, done) = oneshot::channel();
        let running = Arc::clone(&self.running);
        let started = Builder::new().name("configuration".into()).spawn(move || {
            let found = read();
            drop(running);
            // The one that asked may have given up.
            let _unheard = send.send(found);
        });
        started.map_err(|_none| Unread::NoThread)?;
        match tokio::time::timeout(limit, done).await {
            Ok(found) => found.map_err(|_panicked| Unread::BrokeOff),
            Err(_elapsed) => Err(Unread::TooLong(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    #[tokio::test]
    async fn what_hangs_is_left_behind_and_is_bounded() {
        let readers = Readers::default();
        assert_eq!(readers.read(Duration::from_secs(10), || 5).await, Ok(5));
        let broken = readers.read(Duration::from_secs(10), || panic!("as a reader may"));
        assert_eq!(broken.await, Err::<(), _>(Unread::BrokeOff));
        let (release, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        let limit = Duration::from_millis(20);
        for _ in 0..MOST {
            let hangs = Arc::clone(&hangs);
            let hanging = readers.read(limit, move || hangs.lock().unwrap().recv().is_ok());
            assert_eq!(hanging.await, Err(Unread::TooLong(limit)));
        }
        assert_eq!(readers.read(limit, || 5).await, Err(Unread::StillHanging));
        drop(release);
        let began = std::time::Instant::now();
        while readers.read(Duration::from_secs(10), || 5).await != Ok(5) {
            assert!(began.elapsed() < Duration::from_secs(10));
        }
    }
}
