//! Where listeners really listen; a reload changes it.

use std::sync::{Arc, RwLock};

use super::settings::ListenAddress;
use crate::sync::{read, write};

/// Every listener's real address. A clone is a reference.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listening(Arc<RwLock<Vec<ListeningAt>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListeningAt {
    /// Its name in the configuration.
    pub(crate) name: String,
    /// Where it is bound; never port 0.
    pub(crate) address: ListenAddress,
    /// `forward`, `reverse`, …; `admin`.
    pub(crate) mode: &'static str,
    /// How a program names what is spoken there: `http`, `https`, `socks5h`.
    pub(crate) scheme: &'static str,
}

impl ListeningAt {
    /// As programs are pointed at it: a URL, or `unix:` and the socket's path.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        match &self.address {
            ListenAddress::Tcp(address) => format!("{}://{address}", self.scheme),
            ListenAddress::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

impl Listening {
    /// All of them, in the configuration's order.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<ListeningAt> {
        read(&self.0).clone()
    }

    /// After a start or a reload.
    pub(crate) fn replace(&self, all: Vec<ListeningAt>) {
        *write(&self.0) = all;
    }
}
