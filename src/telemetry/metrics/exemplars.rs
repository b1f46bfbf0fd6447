//! Which trace a request was that fell into a bucket: the newest for each, where requests are traced.
//!
//! The library writes exemplars of its own histogram only, whose every observation takes a lock. So they are put behind the
//! lines that it has written.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use crate::sync::{lock, try_lock};

/// How many buckets have one.
const MAX_BUCKETS: usize = 32;

/// Those of one histogram. A clone is a reference.
#[derive(Debug, Clone, Default)]
pub(super) struct Exemplars(Arc<OnceLock<Mutex<HashMap<usize, Exemplar>>>>);

/// A request that was traced.
#[derive(Debug, Clone)]
pub(super) struct Exemplar {
    trace: TraceId,
    took: Duration,
    at: SystemTime,
}

/// W3C Trace Context: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) [u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Exemplars {
    pub(super) fn note(&self, bucket: usize, trace: TraceId, took: Duration) {
        if bucket < MAX_BUCKETS {
            let exemplar = Exemplar { trace, took, at: SystemTime::now() };
            // Where another thread has it, there is an exemplar that is as new: no request waits for this.
            if let Some(mut newest) = try_lock(self.0.get_or_init(Mutex::default)) {
                newest.insert(bucket, exemplar);
            }
        }
    }

    pub(super) fn of(&self, bucket: usize) -> Option<Exemplar> {
        lock(self.0.get()?).get(&bucket).cloned()
    }
}

/// As OpenMetrics has it behind a bucket.
impl fmt::Display for Exemplar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (took, at) = (self.took.as_secs_f64(), at.as_secs_f64());
        write!(f, "# {{trace_id=\"{}\"}} {took:.6} {at:.3}", self.trace)
    }
}

/// The same text with each exemplar behind the series it belongs to.
pub(super) fn put_behind(text: &str, exemplars: &HashMap<String, Exemplar>) -> String {
    let mut out = String::with_capacity(text.len() + exemplars.len() * 80);
    for line in text.lines() {
        out += line;
        if let Some(exemplar) = line.rsplit_once(' ').and_then(|(series, _)| exemplars.get(series)) {
            out += &format!(" {exemplar}");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_waits_for_the_lock_of_another() {
        let (exemplars, took) = (Exemplars::default(), Duration::from_millis(3));
        exemplars.note(0, TraceId([1; 16]), took);
        let held = lock(exemplars.0.get().unwrap());
        let (done, is_done) = std::sync::mpsc::channel();
        let other = exemplars.clone();
        std::thread::spawn(move || {
            other.note(0, TraceId([2; 16]), took);
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(10)).expect("it does not wait");
        drop(held);
        assert_eq!(exemplars.of(0).unwrap().trace, TraceId([1; 16]));
        exemplars.note(0, TraceId([3; 16]), took);
        assert_eq!(exemplars.of(0).unwrap().trace, TraceId([3; 16]));
    }

    #[test]
    fn an_exemplar_stands_behind_its_own_bucket() {
        let exemplar = Exemplar {
            trace: TraceId([0xab; 16]),
            took: Duration::from_millis(3),
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
        };
        let all = HashMap::from([("a_bucket{le=\"1.0\"}".to_owned(), exemplar)]);
        assert_eq!(
            put_behind("# TYPE a histogram\na_bucket{le=\"1.0\"} 2\na_bucket{le=\"10.0\"} 2\n# EOF\n", &all),
            format!(
                "# TYPE a histogram\na_bucket{{le=\"1.0\"}} 2 # {{trace_id=\"{}\"}} 0.003000 1.500\na_bucket{{le=\"10.0\"}} 2\n# EOF\n",
                "ab".repeat(16)
            )
        );
    }
}
