//! One line for each request, written by a thread of its own: a disk that is slow or full holds up no request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

/// Lines that wait to be written; beyond that they are dropped and counted.
const WAITING: usize = 8192;

/// How often a file is looked at: one that was moved away by a rotation is opened anew.
const LOOK: Duration = Duration::from_secs(5);

/// The part of `[telemetry]` about the access log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Where it goes; `None`: nowhere.
    pub to: Option<AccessLogTarget>,
    /// One JSON object a line instead of a text.
    pub json: bool,
    /// Queries too, which may hold secrets.
    pub query: bool,
}

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// What is told of a request. Never a field or a body, and a query only if asked for: they may hold secrets.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AccessRecord {
    /// When its head was there (RFC 3339).
    pub time: String,
    /// Of the problem documents too.
    pub request_id: String,
    /// Address or user of the other end.
    pub peer: String,
    /// As whom it has proven itself.
    pub caller: Option<String>,
    /// The listener.
    pub listener: String,
    /// The upstream; `-` for none.
    pub upstream: String,
    /// The credential that went on it.
    pub credential: Option<String>,
    /// Which of the credential's tokens.
    pub generation: Option<u64>,
    /// As it came.
    pub method: String,
    /// As it came; empty in a path alone.
    pub host: String,
    /// Without its query, unless `access_log_query` asks for it.
    pub path: String,
    /// What the caller was answered.
    pub status: u16,
    /// `injected`, `passed`, `passed_without_token`, `tunneled`, `denied`, `failed`.
    pub outcome: &'static str,
    /// Of the response body.
    pub bytes: u64,
    /// What was done where the upstream refused the token (`attache_unauthorized_total`).
    pub unauthorized: Option<&'static str>,
    /// Until there was a token; milliseconds, as the following.
    pub token_ms: Option<f64>,
    /// Of what follows, the wait for a connection to the upstream; `None` where one was there.
    pub connect_ms: Option<f64>,
    /// From then to the head of the upstream's answer: connecting, sending, and its own time.
    pub upstream_ms: Option<f64>,
    /// From the head to the last byte of the response.
    pub duration_ms: f64,
}

/// Takes lines. A clone is a reference.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: SyncSender<String>,
    json: bool,
    query: bool,
    dropped: Counter,
}

impl AccessLog {
    /// Opens the file, if it is one, and starts the writer. It ends when the last clone is gone, and has written everything then.
    ///
    /// # Errors
    /// A file that cannot be opened, or a thread that cannot be started.
    pub fn start(target: AccessLogTarget, json: bool, query: bool, dropped: Counter) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let mut sink = Sink::open(target)?;
        std::thread::Builder::new().name("attache-access-log".into()).spawn(move || sink.write_all(&waiting))?;
        Ok(Self { lines, json, query, dropped })
    }

    /// True if queries are asked for.
    #[must_use]
    pub const fn wants_query(&self) -> bool {
        self.query
    }

    /// Hands a record over; never waits.
    pub fn write(&self, record: &AccessRecord) {
        let line = if self.json { serde_json::to_string(record).unwrap_or_default() } else { text(record) };
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped.inc();
        }
    }
}

/// For people: `time listener peer "GET host/path" 200 1234B 3.2ms injected upstream credential id`.
fn text(record: &AccessRecord) -> String {
    let AccessRecord {
        time, listener, peer, method, host, path, status, bytes, duration_ms, outcome, upstream, ..
    } = record;
    let (caller, credential) = (record.caller.as_deref().unwrap_or("-"), record.credential.as_deref().unwrap_or("-"));
    let id = &record.request_id;
    let refused = record.unauthorized.map(|outcome| format!(" 401:{outcome}")).unwrap_or_default();
    format!(
        "{time} {listener} {peer} {caller} \"{method} {host}{path}\" {status} {bytes}B {duration_ms:.1}ms {outcome} {upstream} {credential} {id}{refused}"
    )
}

enum Sink {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Sink {
    fn open(target: AccessLogTarget) -> io::Result<Self> {
        Ok(match target {
            AccessLogTarget::Stdout => Self::Stdout,
            AccessLogTarget::File(path) => Self::File { file: append(&path)?, path },
        })
    }

    fn write_all(&mut self, waiting: &Receiver<String>) {
        let mut looked = SystemTime::now();
        loop {
            let mut batch = match waiting.recv_timeout(LOOK) {
                Ok(line) => line + "\n",
                Err(RecvTimeoutError::Timeout) => String::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for line in waiting.try_iter().take(WAITING) {
                batch.push_str(&line);
                batch.push('\n');
            }
            if looked.elapsed().is_ok_and(|since| since >= LOOK) {
                self.reopen_if_moved();
                looked = SystemTime::now();
            }
            // There is nobody to tell but this log itself; the next lines may fare better.
            let _lost = match self {
                Self::Stdout => io::stdout().lock().write_all(batch.as_bytes()),
                Self::File { file, .. } => file.write_all(batch.as_bytes()),
            };
        }
    }

    fn reopen_if_moved(&mut self) {
        let Self::File { path, file } = self else { return };
        if !is_same_file(file, path)
            && let Ok(anew) = append(path)
        {
            *file = anew;
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => open.ino() == there.ino() && open.dev() == there.dev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> AccessRecord {
        AccessRecord {
            time: "2026-01-01T00:00:00.000Z".into(),
            request_id: "1".into(),
            peer: "127.0.0.1:1".into(),
            listener: "proxy".into(),
            upstream: "api".into(),
            credential: Some("key".into()),
            method: "GET".into(),
            host: "api.test".into(),
            path: path.into(),
            status: 200,
            outcome: "injected",
            bytes: 3,
            duration_ms: 1.25,
            ..AccessRecord::default()
        }
    }

    fn until(path: &Path, expected: &str) {
        for _ in 0..3000 {
            if std::fs::read_to_string(path).is_ok_and(|text| text.contains(expected)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{expected} is not in {}", path.display());
    }

    #[test]
    fn lines_are_appended_and_a_file_that_was_moved_away_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::fs::write(&path, "before\n").unwrap();
        let log = AccessLog::start(AccessLogTarget::File(path.clone()), false, false, Counter::default()).unwrap();
        log.write(&record("/one"));
        until(
            &path,
            "before\n2026-01-01T00:00:00.000Z proxy 127.0.0.1:1 - \"GET api.test/one\" 200 3B 1.2ms injected api key 1\n",
        );
        let mut sink = Sink::open(AccessLogTarget::File(path.clone())).unwrap();
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        sink.reopen_if_moved();
        assert!(path.exists());
    }

    #[test]
    fn json_is_an_object_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::start(AccessLogTarget::File(path.clone()), true, false, Counter::default()).unwrap();
        log.write(&record("/one"));
        until(&path, "\"outcome\":\"injected\"");
        let text = std::fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&line["status"], &line["path"]), (&200.into(), &"/one".into()));
    }
}
