//! Reading a file: parsed, its tables read, these held against each other, and names turned into what they name.

use std::path::{Path, PathBuf};

use crate::config::checks::{self, tables::Tables};
use crate::config::files::{self, watched::ConfigFile};
use crate::config::resolve;
use crate::config::syntax::error::{ADD_LISTENER, ConfigErrors};
use crate::config::syntax::file::{Environment, File, environment};
use crate::config::syntax::named::Named;
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::section::Section;
use crate::config::syntax::tree::Table;
use crate::config::syntax::value::Spanned;
use crate::config::tables::upstreams::Upstream;
use crate::config::tables::{
    admin, cache, callers, credentials, forward, intercept, limits, listeners, telemetry, upstreams,
};
use crate::config::types::{Config, VariablesRead};
use crate::secret::Secret;

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

    /// As [`Config::load_without_listeners`], for those who check what a unit will run: systemd credentials that are nowhere
    /// here are warned of.
    ///
    /// # Errors
    /// Every other problem of the file, or that it cannot be read.
    pub(crate) fn load_for_check(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, Needs { listeners: false, in_unit: false, ..Needs::ALL })
    }

    /// As [`Config::load_without_listeners`], for those who only describe what runs elsewhere: a secret that cannot be read
    /// here is none of their problems.
    ///
    /// # Errors
    /// Every other problem of the file, or that it cannot be read.
    pub(crate) fn load_without_secrets(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, Needs { listeners: false, secrets: false, ..Needs::ALL })
    }

    fn load_with(path: &Path, needs: Needs) -> Result<Self, ConfigErrors> {
        let mut file = File::new(&environment, needs.secrets);
        file.for_unit = !needs.in_unit;
        let tree = files::read(&mut file, path)?;
        let read = ConfigFile::of(path, &file);
        Ok(Self { file: Some(read), ..Self::of(file, &tree, &path.display().to_string(), needs)? })
    }

    /// Checks a text. `source` is the name that problems are reported under; relative paths start at the current
    /// directory.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(source: &str, text: &str) -> Result<Self, ConfigErrors> {
        Self::parse_with(source, text, Path::new(""), &environment)
    }

    /// As [`Config::parse`], of a text in which nothing is put in the place of variables: a shell has done that.
    ///
    /// # Errors
    /// Every problem of the text.
    pub(super) fn parse_as_it_is(source: &str, text: &str) -> Result<Self, ConfigErrors> {
        let mut file = File::new(&environment, true);
        let tree = file.add(source.to_owned(), Secret::new(text.to_owned()), PathBuf::new());
        Self::of(file, &tree, source, Needs::ALL)
    }

    pub(super) fn parse_with(
        source: &str,
        text: &str,
        dir: &Path,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigErrors> {
        let mut file = File::new(environment, true);
        let tree = files::read_whole(&mut file, source, Secret::new(text.to_owned()), dir, Path::new(""));
        Self::of(file, &tree, source, Needs::ALL)
    }

    fn of(file: File<'_>, tree: &Table, source: &str, needs: Needs) -> Result<Self, ConfigErrors> {
        let mut root = TableReader::new(&file, String::new(), 0, tree);
        let listeners = Section::read(&mut root, "listeners");
        let credentials = Section::read(&mut root, "credentials");
        let upstreams = Section::read(&mut root, "upstreams");
        let callers = Section::read(&mut root, "callers");
        if needs.listeners && listeners.names.is_empty() && !listeners.broken {
            root.missing("listeners", ADD_LISTENER);
        }
        let intercept = root.table("intercept");
        let intercept_at = intercept.as_ref().map(|table| table.at);
        let intercept = intercept.and_then(intercept::intercept);
        let cache = root.table("cache");
        let cache_at = cache.as_ref().map(|table| table.at);
        let cache = cache.and_then(cache::cache);
        let credential_tables = credentials.tables.into_iter().filter_map(|(name, table)| {
            Some(Spanned { at: table.at, value: credentials::credential(name, table, cache_at.is_some())? })
        });
        let upstream_tables = upstreams.tables.into_iter().filter_map(|(name, table)| upstreams::upstream(name, table));
        let caller_tables = callers.tables.into_iter().filter_map(|(name, table)| callers::caller(name, table));
        let (forward, forward_said) = root.table("forward").map(forward::forward).unwrap_or_default();
        let tables = Tables {
            intercept_at,
            cache_at,
            listeners: listeners.tables.into_iter().map(|(name, table)| listeners::listener(name, table)).collect(),
            admin: root.table("admin").and_then(admin::admin),
            upstream_names: upstreams.names,
            upstreams: Named::new(upstream_tables, Upstream::name),
            credential_names: credentials.names,
            credentials: Named::new(credential_tables, |credential| &credential.value.name),
            caller_names: callers.names,
            callers: Named::new(caller_tables, |caller| &caller.name),
            forward,
            forward_said,
        };
        let limits = root.table("limits").map(limits::limits).unwrap_or_default();
        let telemetry = root.table("telemetry").map(telemetry::telemetry).unwrap_or_default();
        // It was followed when the file was read.
        let _patterns = files::include::patterns(&mut root);
        root.finish();
        checks::check(&file, &tables);
        for (at, key, name) in file.written.exposed() {
            let what = format!(
                "`{key}` reads the variable {name}, which is a secret of this file: here it is shown, and sent in clear"
            );
            file.warning(at, what, "name another variable");
        }

        let config = Self { telemetry, cache, ..resolve::settings(tables, source, limits, intercept) };
        let variables = file.variables.take().into_iter().collect();
        let (plain, arguments) = file.written.variables();
        let variables_read = VariablesRead { plain, arguments };
        let (problems, warnings) = file.into_findings();
        if problems.is_empty() {
            Ok(Self { variables, variables_read, warnings, ..config })
        } else {
            Err(ConfigErrors { source: source.to_owned(), problems })
        }
    }
}

/// What a command needs of a file besides that it is right.
#[derive(Debug, Clone, Copy)]
struct Needs {
    listeners: bool,
    secrets: bool,
    /// What a unit loads has to be here, too.
    in_unit: bool,
}

impl Needs {
    const ALL: Self = Self { listeners: true, secrets: true, in_unit: true };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::generate::starter::STARTER;
    use crate::config::testing::{config, problems};
    use crate::listen::Limits;
    use crate::proxy::ForwardSettings;

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
        std::fs::write(dir.path().join("cache.key"), "0123456789abcdef".repeat(4)).unwrap();
        std::fs::write(dir.path().join("cache.password"), "sentinel").unwrap();
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
        let read = crate::config::testing::parse_in(dir.path(), &shown).map_err(|errors| errors.to_string()).unwrap();
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
        let asked = crate::config::AdHocRequest {
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
