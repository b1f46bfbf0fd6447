//! A file that holds a secret, within a time and within a bound: it may be a pipe that nobody writes into, or lie on a network
//! that hangs.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::blocking::BlockingPool;
use crate::sync::lock;

/// The largest secret file that is read; a private key or a token fits many times over.
const MAX_FILE: u64 = 1024 * 1024;

/// How long a file may take. Those who wait for a token wait longer.
const LIMIT: Duration = Duration::from_secs(5);

/// One for each file at a time, and only while it is read.
const MAX_THREADS: usize = 512;

type Outcome = Result<Zeroizing<Vec<u8>>, String>;

/// The readings under way. One for each file: a file that hangs holds one thread, however often it is wanted.
static READINGS: LazyLock<Readings> = LazyLock::new(|| Readings {
    threads: BlockingPool::new("attache-secrets", MAX_THREADS),
    under_way: Mutex::default(),
});

struct Readings {
    threads: Arc<BlockingPool>,
    under_way: Mutex<HashMap<PathBuf, Arc<Reading>>>,
}

struct Reading {
    began: Instant,
    outcome: Mutex<Option<Outcome>>,
    done: Condvar,
}

/// Reads a file. A task that comes while it is being read gets what comes of that.
///
/// # Errors
/// A sentence: what the system says, a file too large, or one of which nothing comes in time.
pub(super) fn read(path: &Path) -> Outcome {
    read_within(path, LIMIT)
}

fn read_within(path: &Path, limit: Duration) -> Outcome {
    READINGS.join(path).map_err(|error| error.to_string())?.wait(limit)
}

impl Readings {
    fn join(&'static self, path: &Path) -> io::Result<Arc<Reading>> {
        let mut under_way = lock(&self.under_way);
        if let Some(reading) = under_way.get(path) {
            return Ok(Arc::clone(reading));
        }
        let reading = Arc::new(Reading { began: Instant::now(), outcome: Mutex::default(), done: Condvar::default() });
        let (of, read) = (path.to_owned(), Arc::clone(&reading));
        self.threads.run(move || {
            let outcome = read_now(&of);
            // Before anybody is told: who comes later reads anew.
            lock(&self.under_way).remove(&of);
            *lock(&read.outcome) = Some(outcome);
            read.done.notify_all();
        })?;
        under_way.insert(path.to_owned(), Arc::clone(&reading));
        Ok(reading)
    }
}

impl Reading {
    /// From when it began: of a file that hangs already nothing is waited for.
    fn wait(&self, limit: Duration) -> Outcome {
        let left = (self.began + limit).saturating_duration_since(Instant::now());
        let outcome = lock(&self.outcome);
        let waited = self.done.wait_timeout_while(outcome, left, |outcome| outcome.is_none());
        let (outcome, _) = waited.unwrap_or_else(PoisonError::into_inner);
        outcome.clone().unwrap_or_else(|| {
            let limit = humantime::format_duration(limit);
            Err(format!(
                "nothing came of it within {limit}; is it a pipe that nobody writes into, or on a file system that hangs?"
            ))
        })
    }
}

fn read_now(path: &Path) -> Outcome {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err("it is larger than 1 MiB, which is no secret".into());
    }
    Ok(bytes)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn fifo(directory: &Path) -> PathBuf {
        let path = directory.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    #[test]
    fn a_pipe_that_nobody_writes_into_is_a_sentence_and_holds_one_thread() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(directory.path());
        let began = Instant::now();
        let error = read_within(&path, Duration::from_secs(1)).unwrap_err();
        assert!(error.starts_with("nothing came of it within 1s; is it a pipe"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
        // It hangs already: nobody waits for it again, and nothing else is begun.
        let again = Instant::now();
        let first = READINGS.join(&path).unwrap();
        assert!(read_within(&path, Duration::from_secs(1)).is_err());
        assert!(again.elapsed() < Duration::from_millis(900));
        assert!(Arc::ptr_eq(&first, &READINGS.join(&path).unwrap()));
        // A good one beside it.
        let good = directory.path().join("good");
        std::fs::write(&good, "s3cret").unwrap();
        assert_eq!(**read(&good).unwrap(), *b"s3cret");
        // What is written in the end goes to the reading that has waited; from then on it is read anew.
        std::fs::write(&path, "late").unwrap();
        assert_eq!(**first.wait(Duration::from_secs(10)).unwrap(), *b"late");
    }

    #[test]
    fn a_pipe_that_is_written_into_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(directory.path());
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || std::fs::write(path, "s3cret").unwrap())
        };
        assert_eq!(**read(&path).unwrap(), *b"s3cret");
        writer.join().unwrap();
    }
}
