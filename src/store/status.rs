//! What there is to say of the store to people.

use std::time::{Duration, SystemTime};

/// The connection, at this moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoreStatus {
    pub(crate) state: StoreState,
    /// Since when it is in this state.
    pub(crate) since: SystemTime,
    /// Name and version as the server says them, `valkey 8.1.8`; of the last connection, if there is none now.
    pub(crate) server: Option<String>,
    /// `host:port`, or the path of a socket; of the last connection, if there is none now.
    pub(crate) address: Option<String>,
    pub(crate) tls: bool,
    /// How long the last answer took.
    pub(crate) latency: Option<Duration>,
    /// What went wrong last; `None` while nothing has.
    pub(crate) last_error: Option<String>,
    /// What to do about it, where that is known.
    pub(crate) remedy: Option<&'static str>,
    /// The server is there and refuses what the configuration says: waiting mends nothing.
    pub(crate) misconfigured: bool,
    pub(crate) push: Push,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreState {
    Connected,
    /// No connection, or none yet.
    Away,
    /// What is there can be read.
    RefusingWrites,
}

/// Whether the server says by itself what others have put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Push {
    /// It is not asked to, or there is no connection.
    Off,
    On,
    /// It does not, by an old protocol or by its ACL.
    Refused,
}

impl Push {
    /// As in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Refused => "refused",
        }
    }
}

impl StoreState {
    /// As in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Away => "away",
            Self::RefusingWrites => "refusing_writes",
        }
    }
}
