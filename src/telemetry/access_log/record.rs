//! What is told of one request, in whichever format.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What is told of a request. Never a body, of the fields beside the host only `User-Agent` and `Referer`, and a query only if
/// asked for: the rest may hold secrets.
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
    /// Under which the caller asked: `http`, `https`.
    pub(crate) scheme: Cow<'static, str>,
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
    /// Of the caller's side: `HTTP/1.1`.
    pub(crate) protocol: Cow<'static, str>,
    /// As the caller names itself; shortened. Not in `text`.
    pub(crate) user_agent: Option<String>,
    /// Without query, fragment and user information; shortened. In `combined` alone.
    #[serde(skip)]
    pub(crate) referer: Option<String>,
    /// The caller named scheme and host in its target.
    #[serde(skip)]
    pub(crate) is_absolute: bool,
    /// What the caller was answered.
    pub(crate) status: u16,
    /// `injected`, `passed`, `passed_without_token`, `tunneled`, `denied`, `failed`.
    pub(crate) outcome: Cow<'static, str>,
    /// Of the request body, as far as it was read.
    pub(crate) request_bytes: u64,
    /// Of the response body.
    pub(crate) bytes: u64,
    /// Why attache answered itself: the error of `Proxy-Status` (RFC 9209 section 2.3).
    pub(crate) error: Option<Cow<'static, str>>,
    /// Where the connection to the upstream led, which answered.
    pub(crate) upstream_address: Option<SocketAddr>,
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
    /// The trace that it belongs to (W3C Trace Context).
    pub(crate) trace_id: Option<String>,
    /// The span that attache has made for it.
    pub(crate) span_id: Option<String>,
}

impl AccessRecord {
    /// The host that was asked for, without its port; and that port, or the scheme's own.
    pub(in crate::telemetry) fn server(&self) -> (&str, Option<u16>) {
        let (host, port) = match self.host.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
            _ => (self.host.as_str(), None),
        };
        let usual = match (&*self.scheme, host) {
            (_, "") => None,
            ("https", _) => Some(443),
            _ => Some(80),
        };
        (host.trim_start_matches('[').trim_end_matches(']'), port.or(usual))
    }

    /// The caller's address without its port, and that port where it is known; neither for a unix socket.
    pub(in crate::telemetry) fn client(&self) -> Option<(IpAddr, Option<u16>)> {
        if let Ok(address) = self.peer.parse::<SocketAddr>() {
            return Some((address.ip().to_canonical(), Some(address.port())));
        }
        // A proxy in front has written it into the request.
        Some((self.peer.parse::<IpAddr>().ok()?.to_canonical(), None))
    }

    /// `1.1` of `HTTP/1.1`, `2` of `HTTP/2.0`.
    pub(in crate::telemetry) fn protocol_version(&self) -> &str {
        let version = self.protocol.strip_prefix("HTTP/").unwrap_or_default();
        version.strip_suffix(".0").filter(|_| version != "1.0").unwrap_or(version)
    }

    /// The path, and the query where that was asked for.
    pub(in crate::telemetry) fn path_and_query(&self) -> (&str, Option<&str>) {
        self.path.split_once('?').map_or((&*self.path, None), |(path, query)| (path, Some(query)))
    }

    /// By which the telemetry conventions tell failures apart: attache's own by name, the upstream's by status.
    pub(in crate::telemetry) fn error_type(&self) -> Option<Cow<'_, str>> {
        let by_status = || (self.status >= 500).then(|| self.status.to_string().into());
        self.error.as_deref().map(Cow::Borrowed).or_else(by_status)
    }
}

/// How much is kept of a field.
const MAX_FIELD: usize = 1024;

/// A field as it may be logged: what is no text, and what is beyond a bound, is left out.
#[must_use]
pub(crate) fn shortened(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(&field[..field.len().min(MAX_FIELD)]);
    text.into_owned()
}

/// The same of a `Referer`: a query, a fragment and what stands before an @ may hold secrets. They go first: what is shortened may
/// have lost the @ that tells one.
#[must_use]
pub(crate) fn bare_referer(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field);
    let bare = text.split(['?', '#']).next().unwrap_or_default();
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let whole = format!("{scheme}://{}{path}", authority.rsplit('@').next().unwrap_or_default());
            shortened(whole.as_bytes())
        }
        None => shortened(bare.rsplit('@').next().unwrap_or_default().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_versions_are_told_apart() {
        let of = |host: &str, scheme: &'static str| {
            let record = AccessRecord { host: host.into(), scheme: scheme.into(), ..AccessRecord::default() };
            let (host, port) = record.server();
            (host.to_owned(), port)
        };
        assert_eq!(of("api.test:8080", "http"), ("api.test".into(), Some(8080)));
        assert_eq!(of("api.test", "https"), ("api.test".into(), Some(443)));
        assert_eq!(of("[::1]:9", "http"), ("::1".into(), Some(9)));
        assert_eq!((of("[::1]", "http"), of("", "http")), (("::1".into(), Some(80)), (String::new(), None)));
        let version = |protocol: &'static str| {
            AccessRecord { protocol: protocol.into(), ..AccessRecord::default() }.protocol_version().to_owned()
        };
        assert_eq!(["HTTP/1.0", "HTTP/1.1", "HTTP/2.0"].map(version), ["1.0", "1.1", "2"]);
    }

    #[test]
    fn a_caller_may_have_an_address_without_a_port_or_none() {
        let of = |peer: &str| {
            let record = AccessRecord { peer: peer.into(), ..AccessRecord::default() };
            record.client().map(|(ip, port)| (ip.to_string(), port))
        };
        assert_eq!(of("[::ffff:192.0.2.7]:5000"), Some(("192.0.2.7".into(), Some(5000))));
        assert_eq!(of("2001:db8::7"), Some(("2001:db8::7".into(), None)));
        assert_eq!((of("unix:uid=7"), of("")), (None, None));
    }

    #[test]
    fn a_referer_says_from_where_and_nothing_else() {
        let bare = |text: &str| bare_referer(text.as_bytes());
        assert_eq!(bare("https://me:secret@a.test/x/y?token=secret#secret"), "https://a.test/x/y");
        assert_eq!(
            (bare("/x?secret"), bare("me:secret@a.test"), bare("")),
            ("/x".into(), "a.test".into(), String::new())
        );
        assert_eq!(shortened(&[b'a'; 5000]).len(), MAX_FIELD);
    }

    #[test]
    fn a_secret_longer_than_what_is_kept_is_no_part_of_a_referer() {
        let secret = "secret".repeat(400);
        let bare = |before: &str, after: &str| bare_referer(format!("{before}{secret}{after}").as_bytes());
        assert_eq!(bare("https://me:", "@a.test/x"), "https://a.test/x");
        assert_eq!(bare("me:", "@a.test"), "a.test");
        assert_eq!(bare("https://me:", &format!("@a.test/{}", "x".repeat(5000))).len(), MAX_FIELD);
    }
}
