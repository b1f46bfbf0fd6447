//! Why a dial brought no connection.

use std::time::Duration;

use crate::dial::DialError;
use crate::store::error::{Refusal, StoreError};
use crate::store::fault::Fault;
use crate::store::settings::StoreAddress;

/// A sentence for the operator, without a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::store) enum DialFailure {
    #[error("{0}")]
    Dial(DialError),
    #[error("cannot connect to {address}: {reason}")]
    Socket { address: String, reason: String },
    #[error("{0} is no host that can be dialled")]
    Host(String),
    #[error("the password is not available: {0}")]
    Password(String),
    #[error("the certificates are not available: {0}")]
    Certificates(String),
    /// Something that was asked on the way.
    #[error("{address}: {error}")]
    Answer { address: String, error: StoreError },
    #[error("{address} does not let database {database} be used: {error}")]
    Database { address: String, database: u16, error: StoreError },
    #[error("{address} is a {role}, not a primary")]
    Role { address: String, role: String },
    #[error("{0} is a sentinel: say so by cache.sentinel")]
    Sentinel(String),
    #[error("the sentinel {address} knows no primary of the name {master:?}")]
    UnknownMaster { address: String, master: String },
    #[error("{address} did not answer within {}", humantime::format_duration(*.within))]
    Silent { address: String, within: Duration },
    /// Not a failure of the node: the key is at another one.
    #[error("{address} says that the key is elsewhere, at a place that was not understood")]
    Moved { address: String, to: Option<StoreAddress> },
}

impl DialFailure {
    /// Of two failures of one dial the one that says more: what a server answers, rather than that another one is not there.
    pub(in crate::store) fn or_more_telling(self, earlier: Option<Self>) -> Self {
        let says_little = |failure: &Self| matches!(failure, Self::Dial(_) | Self::Socket { .. } | Self::Silent { .. });
        match earlier {
            Some(earlier) if says_little(&self) && !says_little(&earlier) => earlier,
            _ => self,
        }
    }

    /// What to do about it.
    pub(in crate::store) const fn remedy(&self) -> &'static str {
        match self {
            Self::Dial(_) | Self::Socket { .. } => {
                "see that the server runs and listens there, that no firewall stands between, and that cache.tls.ca_file names its authority"
            }
            Self::Host(_) => "correct the host in cache.shared",
            Self::Password(_) => "correct cache.password",
            Self::Certificates(_) => "correct the files that cache.tls names",
            Self::Answer { error: StoreError::Refused(Refusal::Unauthenticated), .. } => {
                "compare the user in cache.shared, and cache.password, with the users of the server"
            }
            // Within a script some servers call a missing permission an error like any other.
            Self::Answer { error: StoreError::Refused(Refusal::NoPermission | Refusal::Other(_)), .. } => {
                "give the user the permissions of the ACL line in docs/fleet.md; if it has them, see what the server's own log says"
            }
            Self::Answer { error: StoreError::Refused(_) | StoreError::Unexpected, .. } => {
                "see what the server's own log says"
            }
            Self::Answer { .. } | Self::Silent { .. } => {
                "see whether the server wants TLS (rediss://) or none (redis://), and that no firewall stands between"
            }
            Self::Database { .. } => {
                "correct the number behind the host in cache.shared (Redis has 0 to 15), or add +select to what the user may do"
            }
            Self::Role { .. } => "name the primary in cache.shared, or its sentinels there with cache.sentinel",
            Self::Sentinel(_) => "write cache.sentinel = { master = \"…\" }",
            Self::UnknownMaster { .. } => "correct cache.sentinel.master",
            Self::Moved { .. } => "name the servers of the cluster in cache.shared",
        }
    }

    /// True if the server is there and refuses what the configuration says, its password above all.
    pub(in crate::store) const fn is_misconfigured(&self) -> bool {
        matches!(
            self,
            Self::Answer { error: StoreError::Refused(Refusal::Unauthenticated), .. }
                | Self::Database { .. }
                | Self::Sentinel(_)
                | Self::UnknownMaster { .. }
        )
    }

    /// What was asked on the way was not answered, or with an error.
    pub(in crate::store) fn of(address: &StoreAddress, fault: &Fault) -> Self {
        Self::Answer { address: address.to_string(), error: fault.error.clone() }
    }
}
