//! One line for each request, written by a thread of its own: a disk that is slow or full holds up no request.

mod combined;
mod otel;
pub(super) mod record;
mod settings;
mod sink;
mod text;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

pub(crate) use self::record::AccessRecord;
pub(crate) use self::settings::{AccessLogFormat, AccessLogSettings, AccessLogTarget};
use self::sink::Sink;

/// Lines that wait to be written; beyond that they are dropped and counted.
const WAITING: usize = 8192;

/// Takes lines. A clone is a reference.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    lines: SyncSender<String>,
    format: AccessLogFormat,
    query: bool,
    dropped: Counter,
}

/// The thread that writes. It ends when the last clone of its [`AccessLog`] is gone and everything is written, or with the process
/// and what waits by then is lost: so the end of the process waits for it.
#[derive(Debug)]
pub(crate) struct AccessLogWriter {
    thread: JoinHandle<()>,
    /// Closed by the thread's end.
    ended: Receiver<()>,
}

impl AccessLog {
    /// Opens the file, if it is one, and starts the writer.
    ///
    /// # Errors
    /// A file that cannot be opened, or a thread that cannot be started.
    pub(crate) fn start(
        target: AccessLogTarget,
        format: AccessLogFormat,
        query: bool,
        dropped: Counter,
    ) -> io::Result<(Self, AccessLogWriter)> {
        let (lines, waiting) = sync_channel(WAITING);
        let (running, ended) = channel();
        let mut sink = Sink::open(target)?;
        let write = move || {
            let _running = running;
            sink.write_all(&waiting);
        };
        let thread = std::thread::Builder::new().name("attache-access-log".into()).spawn(write)?;
        Ok((Self { lines, format, query, dropped }, AccessLogWriter { thread, ended }))
    }

    /// True if queries are asked for.
    #[must_use]
    pub(crate) const fn wants_query(&self) -> bool {
        self.query
    }

    /// Hands a record over; never waits.
    pub(crate) fn write(&self, record: &AccessRecord) {
        let line = match self.format {
            AccessLogFormat::Text => record.line(),
            AccessLogFormat::Json => serde_json::to_string(record).unwrap_or_default(),
            AccessLogFormat::Combined => combined::line(record),
            AccessLogFormat::Otel => otel::line(record),
        };
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped.inc();
        }
    }
}

impl AccessLogWriter {
    /// Waits until every line is written, for this long at most. False if some are not; they go with the process.
    #[must_use]
    pub(crate) fn finish(self, limit: Duration) -> bool {
        match self.ended.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => false,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => self.thread.join().is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        let (log, _writer) =
            AccessLog::start(AccessLogTarget::File(path.clone()), AccessLogFormat::Text, false, Counter::default())
                .unwrap();
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
    fn every_line_is_written_when_the_writer_has_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let target = AccessLogTarget::File(path.clone());
        let (log, writer) = AccessLog::start(target, AccessLogFormat::Text, false, Counter::default()).unwrap();
        for _ in 0..5000 {
            log.write(&record("/x"));
        }
        drop(log);
        assert!(writer.finish(Duration::from_secs(60)));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 5000);
    }

    #[test]
    fn a_writer_that_is_not_done_in_time_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let target = AccessLogTarget::File(folder.path().join("access.log"));
        let (log, writer) = AccessLog::start(target, AccessLogFormat::Text, false, Counter::default()).unwrap();
        assert!(!writer.finish(Duration::from_millis(1)), "more lines may come");
        drop(log);
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
        let (log, _writer) =
            AccessLog::start(AccessLogTarget::File(path.clone()), AccessLogFormat::Json, false, Counter::default())
                .unwrap();
        log.write(&record("/one"));
        until(&path, "\"outcome\":\"injected\"");
        let text = std::fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&line["status"], &line["path"]), (&200.into(), &"/one".into()));
    }
}
