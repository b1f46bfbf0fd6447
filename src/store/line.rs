//! The connection that questions go over now, and the one moment at which it is given up. Held by those who ask and by the
//! supervisor that makes it.

use std::future::Future;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

use super::condition::Condition;
use super::connect::Allowance;
use super::error::{Refusal, StoreError};
use super::fault::{Fault, Loss};
use super::metrics::StoreMetrics;
use super::script::{PRIMARY, role};
use crate::sync::{lock, read, write};

/// So many messages may wait for one who listens; who is slower misses the oldest, and polls.
const MESSAGES: usize = 32;

/// A server is asked for its role no more often than this, and not waited for longer.
const DOUBT: Duration = Duration::from_secs(5);

/// What those who ask and the supervisor share.
pub(super) struct Shared {
    /// One question, from when it is sent to its answer.
    timeout: Duration,
    pub(super) metrics: StoreMetrics,
    pub(super) condition: Mutex<Condition>,
    line: RwLock<Option<Arc<Line>>>,
    /// How many connections have been made.
    made: watch::Sender<u64>,
    pub(super) messages: broadcast::Sender<String>,
}

/// One connection.
pub(super) struct Line {
    connection: MultiplexedConnection,
    allowance: Allowance,
    pub(super) made_at: Instant,
    loss: watch::Sender<Option<Loss>>,
    /// Told of a refusal that may have any reason.
    doubt: Notify,
}

impl Shared {
    pub(super) fn new(timeout: Duration, metrics: StoreMetrics) -> Self {
        Self {
            timeout,
            metrics,
            condition: Mutex::new(Condition::new()),
            line: RwLock::default(),
            made: watch::Sender::new(0),
            messages: broadcast::Sender::new(MESSAGES),
        }
    }

    /// Asks over the connection that there is. Never dials, never waits for a connection. Dropped on the way, the answer is
    /// thrown away when it comes.
    pub(super) async fn ask<F>(
        &self,
        operation: &'static str,
        writes: bool,
        question: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<Value, StoreError>
    where
        F: Future<Output = RedisResult<Value>>,
    {
        let Some(line) = read(&self.line).clone() else {
            self.metrics.asked(operation, None, Some(&StoreError::Away));
            return Err(StoreError::Away);
        };
        let began = Instant::now();
        let fault = match tokio::time::timeout(self.timeout, question(line.connection.clone())).await {
            Ok(Ok(value)) => {
                line.allowance.renew();
                self.answered(operation, began.elapsed(), None, writes);
                return Ok(value);
            }
            Ok(Err(error)) => Fault::of(&error),
            Err(_elapsed) => Fault::TIMEOUT,
        };
        line.allowance.renew();
        self.answered(operation, began.elapsed(), Some(&fault.error), writes);
        match (fault.loss, &fault.error) {
            (Some(loss), _) => self.give_up(&line, loss),
            (None, StoreError::Refused(Refusal::Other(_))) => line.doubt.notify_one(),
            (None, _) => {}
        }
        Err(fault.error)
    }

    fn answered(&self, operation: &'static str, took: Duration, error: Option<&StoreError>, writes: bool) {
        self.metrics.asked(operation, Some(took), error);
        lock(&self.condition).answered(took, error, writes);
    }

    /// From here on questions go over this connection.
    pub(super) fn open(&self, connection: MultiplexedConnection, allowance: Allowance) -> Arc<Line> {
        let line = Line {
            connection,
            allowance,
            made_at: Instant::now(),
            loss: watch::Sender::new(None),
            doubt: Notify::new(),
        };
        let line = Arc::new(line);
        *write(&self.line) = Some(Arc::clone(&line));
        self.made.send_modify(|made| *made += 1);
        line
    }

    /// Ends a connection for all: who asks from now on is told that there is none. The first reason is the one that counts.
    pub(super) fn give_up(&self, line: &Arc<Line>, loss: Loss) {
        {
            let mut current = write(&self.line);
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, line)) {
                *current = None;
            }
        }
        line.loss.send_if_modified(|first| first.is_none().then(|| *first = Some(loss)).is_some());
    }

    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }
}

impl Line {
    /// Waits until the connection is given up, and says why.
    pub(super) async fn lost(&self) -> Loss {
        let mut loss = self.loss.subscribe();
        let lost = loss.wait_for(Option::is_some).await;
        lost.ok().and_then(|loss| loss.clone()).unwrap_or(Loss::Closed)
    }

    /// Waits until it turns out, after a refusal that may have any reason, that the server is no primary any more: before Redis 7 a
    /// script that may not write has failed, and no more is said than that.
    pub(super) async fn demoted(&self) -> Loss {
        loop {
            self.doubt.notified().await;
            let mut connection = self.connection.clone();
            let asked = tokio::time::timeout(DOUBT, role(&mut connection)).await;
            if let Ok(Ok(Some(role))) = asked
                && role != PRIMARY
            {
                return Loss::ReadOnly;
            }
            tokio::time::sleep(DOUBT).await;
        }
    }
}
