//! A configuration that was read: plain settings, every default filled in.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::caller::CallerSettings;
use crate::config::files::watched::ConfigFile;
use crate::config::syntax::error::Problem;
use crate::credential::CredentialSettings;
use crate::fleet::FleetSettings;
use crate::listen::{Limits, ListenAddress, Networks, TrustedProxies};
use crate::proxy::{ForwardSaid, ForwardSettings, ListenerMode};
use crate::route::RouteSettings;
use crate::secret::SecretSource;
use crate::telemetry::TelemetrySettings;
use crate::tls::AuthoritySource;
use crate::tls::server::ListenerTls;
use crate::upstream::UpstreamSettings;

/// A validated configuration: every name resolves, every value is in range, every secret can be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where it came from, as it is shown to a person: a path, or `the command line`.
    pub(crate) source: String,
    /// The file that it was read from, and can be read from again.
    pub(crate) file: Option<ConfigFile>,
    /// `[listeners.X]`, in the file's order.
    pub(crate) listeners: Vec<ListenerConfig>,
    /// `[admin]`.
    pub(crate) admin: Option<AdminConfig>,
    /// `[credentials.X]`, in the file's order.
    pub(crate) credentials: Vec<CredentialSettings>,
    /// `[upstreams.X]`, in the file's order.
    pub(crate) upstreams: Vec<UpstreamConfig>,
    /// `[forward]`.
    pub(crate) forward: ForwardSettings,
    /// Which of its keys the file has.
    pub(crate) forward_said: ForwardSaid,
    /// `[limits]`.
    pub(crate) limits: Limits,
    /// `[telemetry]`.
    pub(crate) telemetry: TelemetrySettings,
    /// `[intercept]`: the local CA.
    pub(crate) intercept: Option<AuthoritySource>,
    /// `[cache]`: what replicas share.
    pub(crate) cache: Option<FleetSettings>,
    /// The environment variables that secrets are read from, in alphabetical order: `{ env = "NAME" }` anywhere.
    pub(crate) variables: Vec<String>,
    /// Those that were read for what is no secret.
    pub(crate) variables_read: VariablesRead,
    /// What is allowed but unwise, e.g. a secret written into the file.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// The same, with what the other says as well held once for both: most of a file stays as it is.
    #[must_use]
    pub(crate) fn sharing(mut self, other: &Self) -> Self {
        let known: HashMap<&str, &CredentialSettings> = other.credentials_by_name();
        for own in &mut self.credentials {
            if let Some(known) = known.get(own.name.as_str()).filter(|known| ***known == *own) {
                own.clone_from(known);
            }
        }
        let known: HashMap<&str, &UpstreamConfig> =
            other.upstreams.iter().map(|upstream| (upstream.connection.name.as_str(), upstream)).collect();
        for own in &mut self.upstreams {
            let Some(known) = known.get(own.connection.name.as_str()) else { continue };
            if known.connection == own.connection {
                own.connection = Arc::clone(&known.connection);
            }
            if known.route == own.route {
                own.route = Arc::clone(&known.route);
            }
        }
        self
    }

    /// `[credentials.X]`, to be looked up.
    #[must_use]
    pub(crate) fn credentials_by_name(&self) -> HashMap<&str, &CredentialSettings> {
        self.credentials.iter().map(|credential| (credential.name.as_str(), credential)).collect()
    }

    /// The same, with idle connections parked after this time. For tests: a file does not say it.
    #[doc(hidden)]
    #[must_use]
    pub const fn parking_after(mut self, idle: Duration) -> Self {
        self.limits.parks_after = idle;
        self
    }
}

/// The environment variables that a file's values are made of, besides its secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VariablesRead {
    /// In texts that are shown and sent in clear: origins, names, paths.
    pub(crate) plain: BTreeSet<String>,
    /// In the places of secrets: a file's path, the words of a program.
    pub(crate) arguments: BTreeSet<String>,
}

/// `[listeners.X]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListenerConfig {
    /// The name in `[listeners.NAME]`.
    pub(crate) name: String,
    /// `address`.
    pub(crate) address: ListenAddress,
    /// `mode` and what goes with it.
    pub(crate) mode: ListenerMode,
    /// Who may use it; `None`: every program that can connect.
    pub(crate) callers: Option<Vec<CallerSettings>>,
    /// `users`: who may connect to its unix socket; of `attache exec` also to its port.
    pub(crate) users: Option<Vec<u32>>,
    /// `socket_mode`: of its unix socket's file.
    pub(crate) socket_mode: Option<u32>,
    /// `tls`: towards callers.
    pub(crate) tls: Option<ListenerTls>,
    /// `proxy_protocol`: proxies in front that begin a connection with where its caller is.
    pub(crate) proxy_protocol: Option<Networks>,
    /// `trusted_proxies`: those that say so in each request.
    pub(crate) trusted_proxies: Option<TrustedProxies>,
    /// `title_case`: names of fields in Title-Case over HTTP/1.1, for callers that read no others.
    pub(crate) title_case: bool,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdminConfig {
    /// `address`.
    pub(crate) address: ListenAddress,
    /// `token`: required of callers from outside this machine.
    pub(crate) token: Option<SecretSource>,
}

/// `[upstreams.X]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UpstreamConfig {
    /// How it is reached.
    pub(crate) connection: Arc<UpstreamSettings>,
    /// What may pass, and how.
    pub(crate) route: Arc<RouteSettings>,
    /// The name of its credential.
    pub(crate) credential: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{CREDENTIAL, config, forward, upstream};

    #[test]
    fn what_two_configurations_say_alike_is_held_once() {
        let with = |rest: &str| {
            let two =
                upstream("a", "https://a.test", "credential = \"key\"\n") + &upstream("b", "https://b.test", rest);
            config(&forward(&format!("{two}{CREDENTIAL}")))
        };
        let (old, plain) = (with(""), with("http = \"refuse\"\n"));
        let new = plain.clone().sharing(&old);
        assert_eq!(new, plain, "nothing else is said by it");
        let same = |at: usize| {
            let (old, new) = (&old.upstreams[at], &new.upstreams[at]);
            (Arc::ptr_eq(&old.connection, &new.connection), Arc::ptr_eq(&old.route, &new.route))
        };
        assert_eq!((same(0), same(1)), ((true, true), (true, false)));
        let (Some(old), Some(new)) = (old.credentials[0].oauth(), new.credentials[0].oauth()) else { panic!() };
        assert!(std::ptr::eq(old, new));
    }
}
