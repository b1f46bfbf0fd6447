//! The only place that knows the file format.
//!
//! [`Config::load`] reads `proxy.toml`, checks all of it, and gives plain settings with every default filled in, or
//! **all** the problems of the file at once.

mod error;


use std::path::Path;

pub use error::{ConfigErrors, Problem};

use crate::credential::CredentialSettings;
use crate::listen::{Limits, ListenAddress};
use crate::proxy::{ForwardSettings, ListenerMode};
use crate::route::RouteSettings;
use crate::secret::SecretSource;
use crate::upstream::UpstreamSettings;

/// A validated configuration: every name resolves, every value is in range, every secret can be read.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it came from, as it is shown to a person: a path, or `the command line`.
    pub source: String,
    /// `[listeners.X]`, in the file's order.
    pub listeners: Vec<ListenerConfig>,
    /// `[admin]`.
    pub admin: Option<AdminConfig>,
    /// `[credentials.X]`, in the file's order.
    pub credentials: Vec<CredentialSettings>,
    /// `[upstreams.X]`, in the file's order.
    pub upstreams: Vec<UpstreamConfig>,
    /// `[forward]`.
    pub forward: ForwardSettings,
    /// `[limits]`.
    pub limits: Limits,
    /// What is allowed but unwise, e.g. a secret written into the file.
    pub warnings: Vec<Problem>,
}

/// `[listeners.X]`.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The name in `[listeners.NAME]`.
    pub name: String,
    /// `address`.
    pub address: ListenAddress,
    /// `mode` and what goes with it.
    pub mode: ListenerMode,
}

/// `[admin]`.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// `address`.
    pub address: ListenAddress,
    /// `token`: required of callers from outside this machine.
    pub token: Option<SecretSource>,
}

/// `[upstreams.X]`.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// How it is reached.
    pub connection: UpstreamSettings,
    /// What may pass, and how.
    pub route: RouteSettings,
    /// The name of its credential.
    pub credential: Option<String>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every problem of the file, or that it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        todo!()
    }

    /// Checks a text. `source` is the name that problems are reported under.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(source: &str, text: &str) -> Result<Self, ConfigErrors> {
        todo!()
    }
}
