//! What the outside tells the inside: a file in the private folder, since a program's arguments have an end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's name.
const FILE: &str = "plan.json";

/// What the inside is to do. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The origins of the upstreams, as they are written in a configuration.
    pub(crate) origins: Vec<String>,
    /// Names that no upstream has resolve too: attache decides about them.
    pub(crate) others: bool,
    /// The unix socket that takes SOCKS 5: what is dialled by name goes there.
    pub(crate) socks: PathBuf,
    /// Ports of 127.0.0.1 that lead to attache as they are: the proxy itself, base URLs.
    pub(crate) doors: Vec<Door>,
    /// Who the program is to be.
    pub(crate) user: u32,
    /// And its group.
    pub(crate) group: u32,
}

/// A port inside, and the unix socket outside that it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Door {
    pub(crate) port: u16,
    pub(crate) socket: PathBuf,
}

impl Plan {
    /// Leaves it in the folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join(FILE), serde_json::to_vec(self)?)
    }

    /// Reads what the outside has left there.
    ///
    /// # Errors
    /// When there is none, or another program's.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        let content = fs::read(folder.join(FILE))?;
        serde_json::from_slice(&content).map_err(Into::into)
    }
}
