//! Passwords and certificates, read at each dial: what a file holds or a program prints may have changed.

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::blocking::BlockingPool;

/// How one thing is read, blockingly.
type Read<T> = Arc<dyn Fn() -> Result<T, String> + Send + Sync>;

/// One thing that is read, wherever it comes from.
pub(in crate::store) struct Reading<T> {
    read: Option<Read<T>>,
    threads: Arc<BlockingPool>,
    /// Begun by an earlier dial, which did not wait for so long. It is not begun again beside it.
    under_way: Option<oneshot::Receiver<Result<T, String>>>,
}

impl<T: Send + 'static> Reading<T> {
    /// `None`: there is none.
    pub(in crate::store) fn new<E: Display>(read: Option<impl Fn() -> Result<T, E> + Send + Sync + 'static>) -> Self {
        let read = read.map(|read| Arc::new(move || read().map_err(|error| error.to_string())) as Read<T>);
        Self { read, threads: BlockingPool::new("attache-cache", 1), under_way: None }
    }

    /// As it is now; `None` if there is to be none.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read.
    pub(in crate::store) async fn now(&mut self) -> Result<Option<T>, String> {
        let Some(read) = &self.read else { return Ok(None) };
        if self.under_way.is_none() {
            let (send, receive) = oneshot::channel();
            let read = Arc::clone(read);
            let begun = self.threads.run(move || {
                // Nobody waits for it any more where the store has gone.
                let _gone = send.send(read());
            });
            begun.map_err(|error| error.to_string())?;
            self.under_way = Some(receive);
        }
        let Some(reading) = &mut self.under_way else { return Ok(None) };
        let read = reading.await;
        self.under_way = None;
        read.unwrap_or_else(|_broken_off| Err("reading it broke off".into())).map(Some)
    }
}
