//! Passwords, read at each dial: what a file holds or a program prints may have changed.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::failure::DialFailure;
use crate::blocking::BlockingPool;
use crate::secret::{Secret, SecretError, Secrets};

/// One password, wherever it comes from.
pub(in crate::store) struct Password {
    from: Option<Secrets>,
    threads: Arc<BlockingPool>,
    /// Begun by an earlier dial, which did not wait for so long. It is not begun again beside it.
    under_way: Option<oneshot::Receiver<Result<Secret, SecretError>>>,
}

impl Password {
    pub(in crate::store) fn new(from: Option<Secrets>) -> Self {
        Self { from, threads: BlockingPool::new("attache-cache", 1), under_way: None }
    }

    /// As it is now; `None` if there is to be none.
    pub(in crate::store) async fn read(&mut self) -> Result<Option<Secret>, DialFailure> {
        let Some(from) = &self.from else { return Ok(None) };
        let failed = |reason: String| DialFailure::Password(reason);
        if self.under_way.is_none() {
            let (send, receive) = oneshot::channel();
            let from = from.clone();
            let begun = self.threads.run(move || {
                // Nobody waits for it any more where the store has gone.
                let _gone = send.send(from.first_readable());
            });
            begun.map_err(|error| failed(error.to_string()))?;
            self.under_way = Some(receive);
        }
        let Some(reading) = &mut self.under_way else { return Ok(None) };
        let read = reading.await;
        self.under_way = None;
        match read {
            Ok(Ok(password)) => Ok(Some(password)),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_broken_off) => Err(failed("reading it broke off".into())),
        }
    }
}
