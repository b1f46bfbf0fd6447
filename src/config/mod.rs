//! The only place that knows the file format.
//!
//! [`Config::load`] reads `proxy.toml`, checks all of it, and gives plain settings with every default filled in, or
//! **all** the problems of the file at once. The work is done in four steps:
//!
//! 1. `file` parses the text and collects problems with their place;
//! 2. `reader` and `value` take tables and values apart, `section` those whose keys are names;
//! 3. `listeners`, `credentials` (with `token_request`, `client_auth`, `preset`, `fixed_credentials`, `inject`, `extra_fields`
//!    and `secrets`), `upstreams` (with `client_identity`), `intercept` and `limits` know the keys;
//! 4. `check` holds the tables against each other, and `unused` warns of what has no effect.
//!
//! A key is added in step 3: one line that asks for it, one line in `keys.txt`, and its description in `proxy.toml`. From
//! `keys.txt`, `schema` makes what editors are told and `reference` the page in docs/.

mod admin_access;
mod checks;
mod cli_args;
mod generate;
mod syntax;
mod tables;
#[cfg(test)]
mod testing;

use std::path::{Path, PathBuf};

pub(crate) use cli_args::{AdHocRequest, SecretPlace, SingleUpstream};
pub(crate) use generate::edit::{Draft, Question};
pub(crate) use generate::reference::markdown as reference_page;
pub use generate::schema::json_schema;
pub use generate::starter::STARTER;
pub use syntax::error::{ConfigErrors, Problem};
pub(crate) use tables::credentials::preset::{PROVIDERS, Provider};
pub(crate) use tables::intercept::InterceptPlan;

use checks::Tables;
use syntax::error;
use syntax::file::{Environment, File};
use syntax::reader::TableReader;
use syntax::section::Section;
use syntax::value::At;
use tables::listeners::Mode;
use tables::parent_proxy::Via;
use tables::{callers, credentials, intercept, limits, listeners, telemetry, upstreams};

use crate::caller::CallerSettings;
use crate::credential::{CredentialKind, CredentialSettings};
use crate::listen::{Limits, ListenAddress};
use crate::proxy::{ForwardSettings, ListenerMode};
use crate::route::RouteSettings;
use crate::secret::{Secret, SecretSource};
use crate::telemetry::TelemetrySettings;
use crate::tls::AuthoritySource;
use crate::tls::server::ListenerTls;
use crate::upstream::UpstreamSettings;

/// A validated configuration: every name resolves, every value is in range, every secret can be read.
#[derive(Debug, Clone)]
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
    /// `[limits]`.
    pub(crate) limits: Limits,
    /// `[telemetry]`.
    pub(crate) telemetry: TelemetrySettings,
    /// `[intercept]`: the local CA.
    pub(crate) intercept: Option<AuthoritySource>,
    /// The environment variables that secrets are read from, in alphabetical order: `{ env = "NAME" }` anywhere.
    pub(crate) variables: Vec<String>,
    /// What is allowed but unwise, e.g. a secret written into the file.
    pub warnings: Vec<Problem>,
}

/// A file that was read, and what was in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    /// Absolute, so that it stays the same file wherever the process goes.
    pub(crate) path: PathBuf,
    /// SHA-256 of its content: there may be secrets in the text itself.
    pub(crate) digest: [u8; 32],
}

impl ConfigFile {
    /// The digest of what a file holds now; `None` if it cannot be read.
    #[must_use]
    pub(crate) fn digest(path: &Path) -> Option<[u8; 32]> {
        Some(Secret::new(std::fs::read_to_string(path).ok()?).fingerprint())
    }
}

/// What somebody needs of a file besides that it is right.
#[derive(Debug, Clone, Copy)]
struct Needs {
    listeners: bool,
    secrets: bool,
}

impl Needs {
    const ALL: Self = Self { listeners: true, secrets: true };
}

/// `[listeners.X]`.
#[derive(Debug, Clone)]
pub(crate) struct ListenerConfig {
    /// The name in `[listeners.NAME]`.
    pub(crate) name: String,
    /// `address`.
    pub(crate) address: ListenAddress,
    /// `mode` and what goes with it.
    pub(crate) mode: ListenerMode,
    /// Who may use it; `None`: whoever can connect.
    pub(crate) callers: Option<Vec<CallerSettings>>,
    /// `users`: who may connect to its unix socket; of `attache exec` also to its port.
    pub(crate) users: Option<Vec<u32>>,
    /// `socket_mode`: of its unix socket's file.
    pub(crate) socket_mode: Option<u32>,
    /// `tls`: towards callers.
    pub(crate) tls: Option<ListenerTls>,
    /// `title_case`: names of fields in Title-Case over HTTP/1.1, for callers that read no others.
    pub(crate) title_case: bool,
}

/// `[admin]`.
#[derive(Debug, Clone)]
pub(crate) struct AdminConfig {
    /// `address`.
    pub(crate) address: ListenAddress,
    /// `token`: required of callers from outside this machine.
    pub(crate) token: Option<SecretSource>,
}

/// `[upstreams.X]`.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamConfig {
    /// How it is reached.
    pub(crate) connection: UpstreamSettings,
    /// What may pass, and how.
    pub(crate) route: RouteSettings,
    /// The name of its credential.
    pub(crate) credential: Option<String>,
}

impl Config {
    /// Reads and checks a file that is to be served. Relative paths in it start at its directory.
    ///
    /// # Errors
    /// Every problem of the file, or that it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, Needs::ALL)
    }

    /// As [`Config::load`], for those who serve nothing, or bring a listener of their own: a file may have none.
    ///
    /// # Errors
    /// Every other problem of the file, or that it cannot be read.
    pub(crate) fn load_without_listeners(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, Needs { listeners: false, ..Needs::ALL })
    }

    /// As [`Config::load_without_listeners`], for those who only describe what runs elsewhere: a secret that cannot be read
    /// here is none of their problems.
    ///
    /// # Errors
    /// Every other problem of the file, or that it cannot be read.
    pub(crate) fn load_without_secrets(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, Needs { listeners: false, secrets: false })
    }

    fn load_with(path: &Path, needs: Needs) -> Result<Self, ConfigErrors> {
        let source = path.display().to_string();
        // The text may hold secrets, so it is not left behind in memory.
        let text = read_text(path)?;
        // A reload comes with this path, and has to find what the start has found: paths of the file are absolute, too.
        let absolute = std::path::absolute(path).unwrap_or_else(|_nowhere| path.to_owned());
        let dir = absolute.parent().unwrap_or(&absolute);
        let config = Self::parse_file(&source, text.expose(), dir, &environment, needs)?;
        Ok(Self { file: Some(ConfigFile { path: absolute, digest: text.fingerprint() }), ..config })
    }

    /// Checks a text. `source` is the name that problems are reported under; relative paths start at the current
    /// directory.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(source: &str, text: &str) -> Result<Self, ConfigErrors> {
        Self::parse_with(source, text, Path::new(""), &environment)
    }

    fn parse_with(source: &str, text: &str, dir: &Path, environment: Environment<'_>) -> Result<Self, ConfigErrors> {
        Self::parse_file(source, text, dir, environment, Needs::ALL)
    }

    fn parse_file(
        source: &str,
        text: &str,
        dir: &Path,
        environment: Environment<'_>,
        needs: Needs,
    ) -> Result<Self, ConfigErrors> {
        let (mut file, tree) = File::parse(text, dir, environment);
        file.secrets_matter = needs.secrets;
        let mut root = TableReader::new(&file, String::new(), 0, &tree);

        let listeners = Section::read(&mut root, "listeners");
        let credentials = Section::read(&mut root, "credentials");
        let upstreams = Section::read(&mut root, "upstreams");
        let callers = Section::read(&mut root, "callers");
        if needs.listeners && listeners.names.is_empty() && !listeners.broken {
            root.missing("listeners", error::ADD_LISTENER);
        }
        let intercept = root.table("intercept");
        let intercept_at = intercept.as_ref().map(|table| table.at);
        let intercept = intercept.and_then(intercept::intercept);
        let tables = Tables {
            intercept_at,
            listeners: listeners.tables.into_iter().map(|(name, table)| listeners::listener(name, table)).collect(),
            admin: root.table("admin").and_then(listeners::admin),
            upstream_names: upstreams.names,
            upstreams: upstreams
                .tables
                .into_iter()
                .filter_map(|(name, table)| upstreams::upstream(name, table))
                .collect(),
            credential_names: credentials.names,
            credentials: credentials
                .tables
                .into_iter()
                .filter_map(|(name, table)| Some(At { at: table.at, it: credentials::credential(name, table)? }))
                .collect(),
            caller_names: callers.names,
            callers: callers.tables.into_iter().filter_map(|(name, table)| callers::caller(name, table)).collect(),
            forward: root.table("forward").map(limits::forward).unwrap_or_default(),
        };
        let limits = root.table("limits").map(limits::limits).unwrap_or_default();
        root.not_yet("cache", "remove it; each process keeps its own tokens");
        let telemetry = root.table("telemetry").map(telemetry::telemetry).unwrap_or_default();
        root.finish();
        checks::check(&file, &tables);

        let config = Self { telemetry, ..tables.into_config(source, limits, intercept) };
        let variables = file.variables.take().into_iter().collect();
        let (problems, warnings) = file.into_findings();
        if problems.is_empty() {
            Ok(Self { variables, warnings, ..config })
        } else {
            Err(ConfigErrors { source: source.to_owned(), problems })
        }
    }
}

impl Tables<'_> {
    /// The plain settings. Whatever could not be read is left out here, and is a problem already.
    fn into_config(self, source: &str, limits: Limits, intercept: Option<AuthoritySource>) -> Config {
        let listeners = self.listeners.iter().filter_map(|listener| {
            let upstreams = checks::reached(listener, &self.upstreams);
            let upstreams = upstreams.iter().map(|upstream| upstream.config.connection.name.clone()).collect();
            let mode = match listener.mode? {
                Mode::Forward => ListenerMode::Forward { upstreams },
                Mode::Socks5 => ListenerMode::Socks5 { upstreams },
                Mode::Reverse => ListenerMode::Reverse { upstreams, hosts: listener.hosts.clone() },
                Mode::Token => ListenerMode::Token { clients: callers::clients(listener, &self) },
            };
            Some(ListenerConfig {
                name: listener.name.clone(),
                address: listener.address.as_ref()?.it.clone(),
                mode,
                callers: callers::of_listener(listener, &self),
                users: listener.users.clone(),
                socket_mode: listener.socket_mode,
                tls: listener.tls.clone(),
                title_case: listener.title_case,
            })
        });
        let listeners = listeners.collect();
        let mut credentials: Vec<CredentialSettings> =
            self.credentials.into_iter().map(|credential| credential.it).collect();
        for upstream in &self.upstreams {
            keep_member(&mut credentials, &upstream.config);
        }
        let forward_via = self.forward.via.clone();
        let resolved = |upstream: upstreams::Upstream| {
            let via = match upstream.via.map(|via| via.it) {
                None | Some(Via::Direct) => None,
                Some(Via::AsForward) => forward_via.clone(),
                Some(Via::Proxy(proxy)) => Some(proxy),
            };
            let connection = UpstreamSettings { via, ..upstream.config.connection };
            UpstreamConfig { connection, ..upstream.config }
        };
        let upstreams = self.upstreams.into_iter().map(resolved).collect();
        Config {
            source: source.to_owned(),
            file: None,
            listeners,
            admin: self.admin.map(|admin| admin.it),
            credentials,
            upstreams,
            forward: self.forward,
            limits,
            intercept,
            telemetry: TelemetrySettings::default(),
            variables: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// `origin_from` is a wish of the upstream's, and its credential's token request has to know of it.
fn keep_member(credentials: &mut [CredentialSettings], upstream: &UpstreamConfig) {
    let Some(member) = &upstream.route.origin_from else { return };
    let credential = credentials.iter_mut().find(|credential| Some(&credential.name) == upstream.credential.as_ref());
    if let Some(CredentialKind::OAuth(token)) = credential.map(|credential| &mut credential.kind)
        && !token.oauth.members.contains(member)
    {
        token.oauth.members.push(member.clone());
    }
}

/// The text of a file. It may hold secrets, so it is not left behind in memory.
fn read_text(path: &Path) -> Result<Secret, ConfigErrors> {
    std::fs::read_to_string(path).map(Secret::new).map_err(|error| {
        let what = format!("the configuration file cannot be read: {error}");
        let remedy = "name a file with --config or ATTACHE_CONFIG, or write one with `attache init`".to_owned();
        ConfigErrors { source: path.display().to_string(), problems: vec![Problem { at: None, what, remedy }] }
    })
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::testing::{config, problems};
    use super::*;

    #[test]
    fn the_reference_file_loads_as_it_stands() {
        let read = config(include_str!("../../proxy.toml"));
        assert_eq!(read.listeners.len(), 2);
        assert_eq!(read.warnings, []);
        assert_eq!(read.limits, Limits::default());
        assert_eq!(read.forward, ForwardSettings::default());
    }

    /// Takes the comment signs away from `#key = …` and `#[table]`, so that what the file shows is checked too.
    #[test]
    fn everything_the_reference_file_shows_in_comments_is_understood() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.pem"), key.cert.pem()).unwrap();
        std::fs::write(dir.path().join("client.pem"), key.cert.pem()).unwrap();
        std::fs::write(dir.path().join("client.key"), key.signing_key.serialize_pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), key.signing_key.serialize_pem()).unwrap();
        std::fs::write(dir.path().join("workload.jwt"), "a.b.c").unwrap();
        let ca = crate::tls::CertificateAuthority::generate(&[]).unwrap();
        std::fs::write(dir.path().join("ca.key"), ca.key.expose()).unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.certificate).unwrap();
        std::fs::set_permissions(dir.path().join("ca.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let shown: String = include_str!("../../proxy.toml")
            .lines()
            .map(|line| {
                let bare = line.strip_prefix('#').unwrap_or(line);
                let code = bare.starts_with('[') || bare.starts_with(|first: char| first.is_ascii_lowercase());
                format!("{}\n", if code { bare } else { line })
            })
            .collect();
        let read = testing::parse_in(dir.path(), &shown).map_err(|errors| errors.to_string()).unwrap();
        assert!(read.upstreams.len() > 1 && read.credentials.len() > 1);
    }

    #[test]
    fn what_debug_prints_of_a_configuration_has_no_secret_in_it() {
        let read = config(
            r#"
[listeners.proxy]
address = "127.0.0.1:0"
mode = "forward"
[admin]
address = "127.0.0.1:0"
token = "sentinel-admin"
[credentials.a]
token_endpoint = "https://login.test/token?key=sentinel-query"
client_id = "me"
client_secret = "sentinel-secret"
parameters = { key = "sentinel-parameter" }
headers = { X-Key = "sentinel-header" }
[credentials.b]
token_endpoint = "https://login.test/token"
client_id = "me"
client_secret = { env = "SECRET" }
client_auth = "client_secret_post"
[upstreams.a]
origin = "https://a.test"
credential = "a"
[upstreams.b]
origin = "https://b.test"
credential = "b"
"#,
        );
        for shown in [format!("{read:?}"), format!("{read:#?}"), format!("{:?}", read.credentials)] {
            assert!(shown.contains("login.test") && shown.contains("\"key\"") && shown.contains("x-key"), "{shown}");
            assert!(!shown.contains("sentinel"), "{shown}");
        }
        let asked = AdHocRequest {
            token_endpoint: "https://me:sentinel@login.test/".into(),
            client_id: "me".into(),
            client_secret: None,
            client_auth: None,
            private_key: None,
            key_id: None,
            scope: Vec::new(),
            audience: None,
            resource: Vec::new(),
            parameters: vec![("key".into(), "sentinel".into())],
            ca_file: None,
        };
        assert!(!format!("{asked:?}").contains("sentinel"));
    }

    #[test]
    fn the_starter_loads_without_a_warning() {
        let read = config(STARTER);
        assert_eq!((read.listeners.len(), read.warnings.len()), (1, 0));
    }

    #[test]
    fn three_mistakes_are_three_messages_in_the_order_of_the_file() {
        let found = problems(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"froward\"\n\n[credentials.a]\n\
             token_endpoint = \"https://login.test/token\"\nclient_id = \"a\"\nclient_secret = { env = \"SECRET\" }\n\
             \x20 scop = \"x\"\n\n[upstreams.a]\norigin = \"https://a.test\"\ncredential = \"b\"\nretry = { max_body = 5 }\n",
        );
        assert_eq!(
            found,
            [
                "proxy.toml:3:8: `listeners.proxy.mode` cannot be \"froward\"; did you mean \"forward\"?",
                "proxy.toml:9:3: unknown key `scop` in [credentials.a]; did you mean `scope`?",
                "proxy.toml:13:14: there is no credential \"b\"; did you mean \"a\"?",
                "proxy.toml:14:22: `upstreams.a.retry.max_body` is a number without a unit; \
                 write the unit and the quotes too, such as \"5B\" or \"1MiB\"",
            ]
        );
    }

    #[test]
    fn broken_syntax_does_not_hide_the_other_mistakes_nor_invent_new_ones() {
        let found = problems(
            "[listeners.proxy]\naddress = 127.0.0.1:0\nmode = \"froward\"\n[upstreams.a]\norigin = \"https://a.test\n",
        );
        let places: Vec<_> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(places, ["proxy.toml:2:16", "proxy.toml:3:8", "proxy.toml:5:25"], "{found:#?}");
    }

    #[test]
    fn keys_below_a_broken_header_are_not_called_unknown() {
        let found = problems("[credentials orders]\nclient_id = \"a\"\nscope = 1\n[admin]\nadress = \"127.0.0.1:0\"\n");
        assert_eq!(
            found,
            [
                "proxy.toml:1:13: unclosed table; write `]` here",
                "proxy.toml:5:1: unknown key `adress` in [admin]; did you mean `address`?",
            ]
        );
    }

    #[test]
    fn an_empty_file_says_what_to_add() {
        assert_eq!(
            problems(""),
            [
                "proxy.toml: `listeners` is missing; add [listeners.proxy] with address = \"127.0.0.1:8080\" and mode = \"forward\""
            ]
        );
        assert_eq!(
            problems("[listener.a]\nmode = 1\n"),
            ["proxy.toml:1:2: unknown key `listener`; did you mean `listeners`?"]
        );
        assert!(problems("[listeners]\n")[0].starts_with("proxy.toml: `listeners` is missing; "));
    }

    #[test]
    fn only_what_is_served_needs_a_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.toml");
        let text = "[credentials.a]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"me\"\nclient_auth = \"none\"\n\
             [upstreams.a]\norigin = \"https://a.test\"\ncredential = \"a\"\n";
        std::fs::write(&path, text).unwrap();
        let errors = Config::load(&path).unwrap_err().to_string();
        assert!(
            errors.ends_with(
                "`listeners` is missing; add [listeners.proxy] with address = \"127.0.0.1:8080\" and mode = \"forward\""
            ),
            "{errors}"
        );
        for read in [Config::load_without_listeners(&path).unwrap(), Config::load_without_secrets(&path).unwrap()] {
            assert_eq!((read.listeners.len(), read.upstreams.len(), read.warnings.len()), (0, 1, 0));
        }
        std::fs::write(&path, format!("[listener.a]\n{text}")).unwrap();
        let errors = Config::load_without_listeners(&path).unwrap_err().to_string();
        assert!(errors.ends_with("unknown key `listener`; did you mean `listeners`?"), "{errors}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_problem_under_the_given_name() {
        let errors = Config::load(Path::new("surely/not/there.toml")).unwrap_err();
        assert_eq!(errors.problems.len(), 1);
        assert!(errors.to_string().starts_with("surely/not/there.toml: the configuration file cannot be read: "));
    }

    #[test]
    fn a_file_is_loaded_under_its_path_and_with_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.toml");
        let text = STARTER.replace("env = \"ORDERS_CLIENT_SECRET\"", "file = \"secret\"");
        std::fs::write(&path, text).unwrap();
        let errors = Config::load(&path).unwrap_err().to_string();
        assert!(errors.starts_with(&format!("{}:", path.display())) && errors.contains("cannot read "), "{errors}");
        std::fs::write(dir.path().join("secret"), "sentinel").unwrap();
        assert_eq!(Config::load(&path).unwrap().source, path.display().to_string());
    }
}
