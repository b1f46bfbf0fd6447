//! What the access log is told of a request: begun with its head, written with the last byte of its answer.

use std::time::{Instant, SystemTime};

use http::Response;
use http::request::Parts;

use super::body::CallerBody;
use super::error::{REQUEST_ID, RequestId};
use super::{Arrived, Refusal};
use crate::route::Route;
use crate::runtime::{Lane, ListenerRuntime};
use crate::telemetry::{AccessLog, AccessRecord, UNMATCHED};

/// Where an answer came from; goes along in its extensions, and only where there is a log.
#[derive(Debug, Clone)]
struct Answered {
    upstream: String,
    credential: Option<String>,
    outcome: &'static str,
}

/// A record in the making; written when it is dropped.
#[derive(Debug)]
pub(super) struct AccessEntry {
    log: AccessLog,
    began: Instant,
    record: AccessRecord,
}

/// Notes what is known with the head.
pub(super) fn begin(
    log: &AccessLog,
    listener: &ListenerRuntime,
    arrived: &Arrived<'_>,
    head: &Parts,
    began: Instant,
) -> Box<AccessEntry> {
    let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
    let host = host.or_else(|| Some(head.headers.get(http::header::HOST)?.to_str().ok()?.to_owned()));
    let request_id = head.headers.get(REQUEST_ID).map_or_else(RequestId::random, RequestId::of_value);
    let record = AccessRecord {
        time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        request_id: request_id.text().to_owned(),
        peer: arrived.caller.peer.to_string(),
        caller: arrived.inside.and_then(|inside| inside.caller.as_deref()).map(str::to_owned),
        listener: listener.name.clone(),
        upstream: UNMATCHED.to_owned(),
        credential: None,
        method: head.method.to_string(),
        host: host.unwrap_or_default(),
        path: if head.method == http::Method::CONNECT { String::new() } else { head.uri.path().to_owned() },
        status: 0,
        outcome: "passed",
        bytes: 0,
        duration_ms: 0.0,
    };
    Box::new(AccessEntry { log: log.clone(), began, record })
}

/// Has the answer say where it came from.
pub(super) fn tell(response: &mut Response<CallerBody>, route: &Route, outcome: &'static str) {
    let credential = route.credential.as_ref().filter(|_| outcome == "injected");
    let credential = credential.map(|credential| credential.name.clone());
    response.extensions_mut().insert(Answered { upstream: route.name().to_owned(), credential, outcome });
}

/// The answer takes the record along, where there is one.
pub(super) fn answered(entry: Option<Box<AccessEntry>>, response: Response<CallerBody>) -> Response<CallerBody> {
    match entry {
        None => response,
        Some(entry) => entry.answered(response),
    }
}

/// The same of an answer of our own, with what [`AccessEntry::refused`] has noted.
pub(super) fn refused(entry: Option<Box<AccessEntry>>, response: Response<CallerBody>) -> Response<CallerBody> {
    match entry {
        None => response,
        Some(mut entry) => {
            entry.record.status = response.status().as_u16();
            response.map(|body| body.with_entry(entry))
        }
    }
}

impl AccessEntry {
    fn answered(mut self: Box<Self>, mut response: Response<CallerBody>) -> Response<CallerBody> {
        self.record.status = response.status().as_u16();
        if self.record.method == "CONNECT" {
            self.record.outcome = "tunneled";
        }
        if let Some(Answered { upstream, credential, outcome }) = response.extensions_mut().remove() {
            (self.record.upstream, self.record.credential, self.record.outcome) = (upstream, credential, outcome);
        }
        response.map(|body| body.with_entry(self))
    }

    /// An answer of our own.
    pub(super) fn refused(
        mut self: Box<Self>,
        refusal: &Refusal,
        request_id: &RequestId,
        lane: Option<&Lane>,
    ) -> Box<Self> {
        self.record.outcome = if refusal.is_denial() { "denied" } else { "failed" };
        request_id.text().clone_into(&mut self.record.request_id);
        if let Some(lane) = lane {
            lane.route.name().clone_into(&mut self.record.upstream);
        }
        self
    }

    /// Bytes of the answer have gone.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.record.bytes += bytes as u64;
    }
}

impl Drop for AccessEntry {
    fn drop(&mut self) {
        self.record.duration_ms = self.began.elapsed().as_secs_f64() * 1e3;
        self.log.write(&self.record);
    }
}
