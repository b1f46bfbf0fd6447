//! What people who look at the status page are told of a request: why it was refused, each try, and the caller's fields.

use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderName};

use crate::proxy::request_id::REQUEST_ID;
use crate::telemetry::{AccessRecord, RecentRequest, RecentRequests, Try, millis};

/// How many fields of a request are told, and how much of a name, a value, and the target.
const MAX_FIELDS: usize = 64;
const MAX_NAME_CHARS: usize = 64;
const MAX_VALUE_CHARS: usize = 200;
const MAX_TARGET_CHARS: usize = 1024;

/// A request goes out a few times at the most; more are not told.
const MAX_TRIES: usize = 32;

/// Fields whose values say what a request wants. Anything else could be a key, a cookie or a token.
const SHOWN: [HeaderName; 22] = [
    header::ACCEPT,
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::DATE,
    header::EXPECT,
    header::HOST,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
    header::VIA,
    REQUEST_ID,
];

/// Noted while the request is on its way.
#[derive(Debug)]
pub(super) struct Watched {
    ring: RecentRequests,
    reason: Option<String>,
    tries: Vec<Try>,
    fields: Vec<(String, String)>,
}

/// How a try ended: the status, with the wait for a connection if there was one; or why there is no answer.
pub(super) type Tried = Result<(u16, Option<Duration>), String>;

impl Watched {
    pub(super) fn new(ring: RecentRequests, headers: &HeaderMap) -> Self {
        let fields = headers.iter().take(MAX_FIELDS).map(|(name, value)| {
            let shown =
                if SHOWN.contains(name) { String::from_utf8_lossy(value.as_bytes()) } else { "•••".into() };
            (cut(name.as_str(), MAX_NAME_CHARS), cut(&shown, MAX_VALUE_CHARS))
        });
        Self { ring, reason: None, tries: Vec::new(), fields: fields.collect() }
    }

    pub(super) fn note_reason(&mut self, reason: &str) {
        self.reason = Some(reason.to_owned());
    }

    /// `request_began` is when its head was there.
    pub(super) fn note_try(&mut self, request_began: Instant, began: Instant, tried: Tried) {
        if self.tries.len() == MAX_TRIES {
            return;
        }
        self.tries.push(Try {
            began_ms: millis(began - request_began),
            took_ms: millis(began.elapsed()),
            connect_ms: tried.as_ref().ok().and_then(|(_, connecting)| *connecting).map(millis),
            status: tried.as_ref().ok().map(|(status, _)| *status),
            failure: tried.err(),
        });
    }

    pub(super) fn finish(self, mut record: AccessRecord) {
        record.path = cut(&record.path, MAX_TARGET_CHARS);
        record.host = cut(&record.host, MAX_TARGET_CHARS);
        record.user_agent = record.user_agent.map(|agent| cut(&agent, MAX_VALUE_CHARS));
        let Self { ring, reason, tries, fields } = self;
        ring.keep(RecentRequest { id: 0, record, reason, tries, fields });
    }
}

fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_values_that_cannot_be_secrets_are_told() {
        let headers: HeaderMap = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/plain")),
            (header::AUTHORIZATION, HeaderValue::from_static("Bearer s3cret")),
            (header::COOKIE, HeaderValue::from_static("session=s3cret")),
            (HeaderName::from_static("x-api-key"), HeaderValue::from_static("s3cret")),
            (header::USER_AGENT, HeaderValue::from_str(&"a".repeat(900)).unwrap()),
        ]
        .into_iter()
        .collect();
        let watched = Watched::new(RecentRequests::default(), &headers);
        let of = |name: &str| watched.fields.iter().find(|(field, _)| field == name).unwrap().1.clone();
        assert_eq!((of("content-type").as_str(), of("authorization").as_str()), ("text/plain", "•••"));
        assert_eq!((of("cookie").as_str(), of("x-api-key").as_str()), ("•••", "•••"));
        assert_eq!(of("user-agent").len(), MAX_VALUE_CHARS);
    }
}
