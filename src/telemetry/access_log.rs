//! One line for each request, written by a thread of its own: a disk that is slow or full holds up no request.

use std::borrow::Cow;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};

/// Lines that wait to be written; beyond that they are dropped and counted.
const WAITING: usize = 8192;

/// How often a file is looked at: one that was moved away by a rotation is opened anew.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The part of `[telemetry]` about the access log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessLogSettings {
    /// Where it goes; `None`: nowhere.
    pub(crate) to: Option<AccessLogTarget>,
    /// One JSON object a line instead of a text.
    pub(crate) json: bool,
    /// Queries too, which may hold secrets.
    pub(crate) query: bool,
}

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// What is told of a request. Never a field or a body, and a query only if asked for: they may hold secrets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AccessRecord {
    /// When its head was there (RFC 3339).
    pub(crate) time: String,
    /// Of the problem documents too.
    pub(crate) request_id: String,
    /// Address or user of the other end.
    pub(crate) peer: String,
    /// As whom it is authenticated.
    pub(crate) caller: Option<String>,
    pub(crate) listener: String,
    /// The upstream; `-` for none.
    pub(crate) upstream: String,
    /// The credential that went on it.
    pub(crate) credential: Option<String>,
    /// Which of the credential's tokens.
    pub(crate) generation: Option<u64>,
    /// As it came.
    pub(crate) method: String,
    /// As it came; empty in a path alone.
    pub(crate) host: String,
    /// Without its query, unless `access_log_query` asks for it.
    pub(crate) path: String,
    /// What the caller was answered.
    pub(crate) status: u16,
    /// `injected`, `passed`, `passed_without_token`, `tunneled`, `denied`, `failed`.
    pub(crate) outcome: Cow<'static, str>,
    /// Of the response body.
    pub(crate) bytes: u64,
    /// What was done where the upstream refused the token (`attache_unauthorized_total`).
    pub(crate) unauthorized: Option<Cow<'static, str>>,
    /// Until there was a token; milliseconds, as the following.
    pub(crate) token_ms: Option<f64>,
    /// Of what follows, the wait for a connection to the upstream; `None` where one was there.
    pub(crate) connect_ms: Option<f64>,
    /// From then to the head of the upstream's answer: connecting, sending, and its own time.
    pub(crate) upstream_ms: Option<f64>,
    /// From the head to the last byte of the response.
    pub(crate) duration_ms: f64,
}

/// Takes lines. A clone is a reference.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
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
    pub(crate) fn start(target: AccessLogTarget, json: bool, query: bool, dropped: Counter) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let mut sink = Sink::open(target)?;
        std::thread::Builder::new().name("attache-access-log".into()).spawn(move || sink.write_all(&waiting))?;
        Ok(Self { lines, json, query, dropped })
    }

    /// True if queries are asked for.
    #[must_use]
    pub(crate) const fn wants_query(&self) -> bool {
        self.query
    }

    /// Hands a record over; never waits.
    pub(crate) fn write(&self, record: &AccessRecord) {
        let line = if self.json { serde_json::to_string(record).unwrap_or_default() } else { record.line() };
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped.inc();
        }
    }
}

impl AccessRecord {
    /// For people, and for programs that take it apart at blanks and quotes:
    /// `time listener peer caller "GET host/path" 200 1234B 3.2ms injected upstream credential id`.
    #[must_use]
    pub(crate) fn line(&self) -> String {
        let Self { status, bytes, duration_ms, .. } = self;
        let [time, outcome, request_id] = [&*self.time, &*self.outcome, &*self.request_id].map(Escaped::of);
        let [listener, peer, caller, method, host, path, upstream, credential] = [
            Escaped::of(&self.listener),
            Escaped::of(&self.peer),
            Escaped::optional(self.caller.as_deref()),
            Escaped::of(&self.method),
            Escaped::host(&self.host),
            Escaped::of(&self.path),
            Escaped::of(&self.upstream),
            Escaped::optional(self.credential.as_deref()),
        ];
        let refused =
            self.unauthorized.as_deref().map(|outcome| format!(" 401:{}", Escaped::of(outcome))).unwrap_or_default();
        format!(
            "{time} {listener} {peer} {caller} \"{method} {host}{path}\" {status} {bytes}B {duration_ms:.1}ms {outcome} {upstream} {credential} {request_id}{refused}"
        )
    }
}

/// A field of a line. Callers choose what is in it: what would end the field, or the line, and what a
/// terminal would act on stands as `\xNN`, as in the logs of other servers.
struct Escaped<'a> {
    text: &'a str,
    /// Host and path stand side by side: the first slash begins the path.
    slash: bool,
}

impl<'a> Escaped<'a> {
    const fn of(text: &'a str) -> Self {
        Self { text, slash: false }
    }

    const fn host(text: &'a str) -> Self {
        Self { text, slash: true }
    }

    /// `-` stands for none.
    fn optional(text: Option<&'a str>) -> Self {
        Self::of(text.unwrap_or("-"))
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stands =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\') && (byte != b'/' || !self.slash);
        let mut rest = self.text;
        while let Some(at) = rest.bytes().position(|byte| !stands(byte)) {
            f.write_str(&rest[..at])?;
            let character = rest[at..].chars().next().map_or(1, char::len_utf8);
            for byte in rest[at..at + character].bytes() {
                write!(f, "\\x{byte:02x}")?;
            }
            rest = &rest[at + character..];
        }
        f.write_str(rest)
    }
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
            let mut batch = match waiting.recv_timeout(POLL_INTERVAL) {
                Ok(line) => line + "\n",
                Err(RecvTimeoutError::Timeout) => String::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for line in waiting.try_iter().take(WAITING) {
                batch.push_str(&line);
                batch.push('\n');
            }
            if looked.elapsed().is_ok_and(|since| since >= POLL_INTERVAL) {
                self.reopen_if_moved();
                looked = SystemTime::now();
            }
            // Only this log could tell, which could not be written; the next lines may fare better.
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
    use proptest::prelude::*;

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
            outcome: "injected".into(),
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

    /// A line, taken apart as a program would that knows nothing of attache: at blanks outside of quotes, then `\xNN` read back.
    fn taken_apart(line: &str) -> Vec<String> {
        let (before, rest) = line.split_once('"').unwrap();
        let (request, behind) = rest.split_once('"').unwrap();
        assert!(!behind.contains('"') && !line.contains(char::is_control), "{line:?}");
        let (method, target) = request.split_once(' ').unwrap();
        let (host, path) = target.split_at(target.find('/').unwrap_or(target.len()));
        let words = before.split(' ').filter(|word| !word.is_empty()).chain([method, host, path]);
        words.chain(behind.split(' ').skip(1)).map(unescaped).collect()
    }

    fn unescaped(text: &str) -> String {
        let mut parts = text.split("\\x");
        let mut bytes = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend(&part.as_bytes()[2..]);
        }
        String::from_utf8(bytes).unwrap()
    }

    fn fields(of: &AccessRecord) -> Vec<String> {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let (status, bytes, took) =
            (of.status.to_string(), format!("{}B", of.bytes), format!("{:.1}ms", of.duration_ms));
        let begin = [of.time.clone(), of.listener.clone(), of.peer.clone(), or_none(&of.caller)];
        let asked = [of.method.clone(), of.host.clone(), of.path.clone(), status, bytes, took, of.outcome.to_string()];
        let end = [of.upstream.clone(), or_none(&of.credential), of.request_id.clone()];
        begin.into_iter().chain(asked).chain(end).collect()
    }

    proptest! {
        #[test]
        fn a_line_is_taken_apart_into_exactly_its_fields(
            host in ".{0,40}", path in "(/.{0,40})?", method in "[!-~]{1,9}", caller in "[^ ].{0,20}", peer in "[!-~]{1,20}",
        ) {
            let record = AccessRecord { host, method, caller: Some(caller), peer, ..record(&path) };
            prop_assert_eq!(taken_apart(&record.line()), fields(&record));
        }
    }

    #[test]
    fn no_field_of_a_request_forges_a_line() {
        let mut record = record("/x\u{2028}\r\n2026-01-01 \u{1b}[2J");
        record.host = "good\" 200 0B 0.1ms injected orders orders deadbeef \"".into();
        let line = record.line();
        assert_eq!(taken_apart(&line), fields(&record));
        assert!(
            line.is_ascii() && line.matches(' ').count() == self::record("/x").line().matches(' ').count(),
            "{line}"
        );
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
