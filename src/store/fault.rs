//! What an error means: for the question, and for the connection that it came over.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::error::{Refusal, StoreError};
use super::settings::StoreAddress;

/// The longest word that an error of the protocol is told by.
const MAX_WORD: usize = 32;

/// A question without an answer that is of use.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) error: StoreError,
    /// Why the connection is of no more use, if so.
    pub(super) loss: Option<Loss>,
}

/// Why a connection was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Loss {
    /// A question was not answered in time. What is answered later would be answers to nobody.
    Timeout,
    /// The other side closed it, it broke, or what came over it is not the protocol.
    Closed,
    /// The server takes no writes: another one does.
    ReadOnly,
    /// The server is about to serve, or has lost those that it belongs to.
    NotReady,
    /// The user or the password is not accepted any more.
    Unauthenticated,
    /// Another node of the cluster has the key; `None` where it was not understood which.
    Moved(Option<StoreAddress>),
}

impl Fault {
    pub(super) const TIMEOUT: Self = Self { error: StoreError::Timeout, loss: Some(Loss::Timeout) };

    /// By the library's types and the protocol's words, never by the text behind them.
    pub(super) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Io if error.is_timeout() => Self::TIMEOUT,
            ErrorKind::Io | ErrorKind::Parse => Self { error: StoreError::Broken, loss: Some(Loss::Closed) },
            ErrorKind::AuthenticationFailed => Self::lost(Refusal::Unauthenticated, Loss::Unauthenticated),
            ErrorKind::Server(kind) => Self::of_server(kind, error),
            ErrorKind::Extension => Self::of_word(error.code().unwrap_or_default()),
            // The library's own opinion of an answer.
            _ => Self { error: StoreError::Unexpected, loss: None },
        }
    }

    fn of_server(kind: ServerErrorKind, error: &RedisError) -> Self {
        let not_ready = || Refusal::NotReady(word(error.code().unwrap_or_default()));
        match kind {
            ServerErrorKind::ReadOnly => Self::lost(Refusal::ReadOnly, Loss::ReadOnly),
            ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown => {
                Self::lost(not_ready(), Loss::NotReady)
            }
            ServerErrorKind::Moved => {
                let node = error.redirect_node().and_then(|(address, _slot)| node(address));
                Self::lost(not_ready(), Loss::Moved(node))
            }
            // The slot is on its way: the next question may be answered.
            ServerErrorKind::Ask | ServerErrorKind::TryAgain => Self::kept(not_ready()),
            ServerErrorKind::NoPerm => Self::kept(Refusal::NoPermission),
            _ => Self::kept(Refusal::Other(word(error.code().unwrap_or_default()))),
        }
    }

    fn of_word(code: &str) -> Self {
        match code {
            "OOM" => Self::kept(Refusal::OutOfMemory),
            "NOAUTH" | "WRONGPASS" => Self::lost(Refusal::Unauthenticated, Loss::Unauthenticated),
            "BUSY" => Self::kept(Refusal::NotReady(word(code))),
            _ => Self::kept(Refusal::Other(word(code))),
        }
    }

    fn kept(refusal: Refusal) -> Self {
        Self { error: StoreError::Refused(refusal), loss: None }
    }

    fn lost(refusal: Refusal, loss: Loss) -> Self {
        Self { error: StoreError::Refused(refusal), loss: Some(loss) }
    }
}

impl Loss {
    /// Every cause.
    pub(super) const CAUSES: [&str; 6] = ["timeout", "closed", "read_only", "not_ready", "unauthenticated", "moved"];

    /// For people.
    pub(super) const fn sentence(&self) -> &'static str {
        match self {
            Self::Timeout => "it did not answer in time",
            Self::Closed => "the connection to it broke",
            Self::ReadOnly => "it is no primary any more",
            Self::NotReady => "it is not ready",
            Self::Unauthenticated => "the user name or password is not accepted any more",
            Self::Moved(_) => "another node of the cluster has the key",
        }
    }

    /// For metrics and the log.
    pub(super) const fn cause(&self) -> &'static str {
        let [timeout, closed, read_only, not_ready, unauthenticated, moved] = Self::CAUSES;
        match self {
            Self::Timeout => timeout,
            Self::Closed => closed,
            Self::ReadOnly => read_only,
            Self::NotReady => not_ready,
            Self::Unauthenticated => unauthenticated,
            Self::Moved(_) => moved,
        }
    }
}

impl Refusal {
    /// It is about writing alone: what is there can be read.
    pub(super) fn is_of_writes(&self) -> bool {
        match self {
            Self::OutOfMemory | Self::ReadOnly => true,
            // It cannot save what it has; too few replicas follow it.
            Self::Other(word) => matches!(word.as_str(), "MISCONF" | "NOREPLICAS"),
            _ => false,
        }
    }
}

/// The word of an error as it may be shown: what is none is `ERR`.
fn word(code: &str) -> String {
    let is_word = !code.is_empty() && code.len() <= MAX_WORD && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_word { code.to_owned() } else { "ERR".to_owned() }
}

/// `host:port` as a cluster writes it: an IPv6 address without brackets, no host at all for "the same".
fn node(address: &str) -> Option<StoreAddress> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    StoreAddress::named(host, port.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> Fault {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        Fault::of(&value.extract_error().unwrap_err())
    }

    #[test]
    fn refusals_that_another_server_would_not_give_cost_the_connection() {
        let lost = |line: &str| answered(line).loss;
        assert_eq!(lost("READONLY You can't write against a read only replica."), Some(Loss::ReadOnly));
        assert_eq!(lost("LOADING Redis is loading the dataset in memory"), Some(Loss::NotReady));
        assert_eq!(lost("MASTERDOWN Link with MASTER is down"), Some(Loss::NotReady));
        assert_eq!(lost("CLUSTERDOWN Hash slot not served"), Some(Loss::NotReady));
        assert_eq!(lost("NOAUTH Authentication required."), Some(Loss::Unauthenticated));
        assert_eq!(lost("WRONGPASS invalid username-password pair"), Some(Loss::Unauthenticated));
        for kept in ["OOM command not allowed", "NOPERM no permissions", "BUSY Redis is busy", "ERR x", "MISCONF y"] {
            assert_eq!(lost(kept), None, "{kept}");
        }
        assert_eq!(lost("ASK 866 127.0.0.1:7001"), None);
        assert_eq!(lost("TRYAGAIN Multiple keys request during rehashing of slot"), None);
    }

    #[test]
    fn of_an_error_the_first_word_is_told_and_no_more() {
        let error = |line: &str| answered(line).error.to_string();
        assert_eq!(error("ERR value of 'hunter2' is wrong"), "it refuses: ERR");
        assert_eq!(error("hunter2 is what was sent"), "it refuses: ERR");
        assert_eq!(error("MISCONF Redis is configured to save"), "it refuses: MISCONF");
        assert_eq!(error("BUSY Redis is busy"), "it refuses: it is not ready (BUSY)");
        assert_eq!(error("MOVED 1 a:1"), "it refuses: it is not ready (MOVED)");
    }

    #[test]
    fn a_cluster_names_the_node_that_has_the_key() {
        let moved = |to: &str| answered(&format!("MOVED 866 {to}")).loss;
        let at = |host: &str, port| Some(Loss::Moved(Some(StoreAddress::Tcp { host: host.into(), port })));
        assert_eq!(moved("127.0.0.1:7001"), at("127.0.0.1", 7001));
        assert_eq!(moved("node-2.cache.example:6379"), at("node-2.cache.example", 6379));
        assert_eq!(moved("::1:7001"), at("::1", 7001));
        assert_eq!(moved(":7001"), at("", 7001));
        assert_eq!(moved("nonsense"), Some(Loss::Moved(None)));
        let (longest, longer) = ("a".repeat(255), "a".repeat(256));
        assert_eq!(moved(&format!("{longest}:1")), at(&longest, 1));
        for other in [&*longer, "a\u{1b}[2Jb", "a\tb", "h\u{f6}st", "a\u{202e}b"] {
            assert_eq!(moved(&format!("{other}:1")), Some(Loss::Moved(None)), "{other:?}");
        }
    }
}
