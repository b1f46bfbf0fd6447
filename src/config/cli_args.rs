//! A configuration from the command line: one upstream, or one token request. Written as the file would be and read by
//! the same code, so that both mean the same.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::config::syntax::error::{ConfigErrors, Problem, ProblemKind};
use crate::config::syntax::words::shortened;
use crate::config::types::Config;
use crate::credential::CredentialSettings;
use crate::dial::OriginPattern;

/// The name that problems are reported under.
const SOURCE: &str = "the command line";

/// What one upstream needs.
#[derive(Debug, Clone)]
pub(crate) struct SingleUpstream {
    /// Its origin.
    pub(crate) upstream: String,
    /// Certificates that it is trusted by.
    pub(crate) upstream_ca_file: Option<PathBuf>,
    /// Where programs with `HTTP_PROXY` connect.
    pub(crate) forward: String,
    /// The base URL.
    pub(crate) reverse: String,
    /// The admin listener, if there is one.
    pub(crate) admin: Option<String>,
    /// How its token is obtained.
    pub(crate) request: AdHocRequest,
}

/// One token request.
#[derive(Clone)]
pub(crate) struct AdHocRequest {
    /// `token_endpoint`.
    pub(crate) token_endpoint: String,
    /// `client_id`.
    pub(crate) client_id: String,
    /// `client_secret`.
    pub(crate) client_secret: Option<SecretPlace>,
    /// `client_auth`.
    pub(crate) client_auth: Option<String>,
    /// `private_key`: a PEM or JWK file.
    pub(crate) private_key: Option<PathBuf>,
    /// `key_id`.
    pub(crate) key_id: Option<String>,
    /// `scope`.
    pub(crate) scope: Vec<String>,
    /// `audience`.
    pub(crate) audience: Option<String>,
    /// `resource`.
    pub(crate) resource: Vec<String>,
    /// `parameters`; a name may come several times.
    pub(crate) parameters: Vec<(String, String)>,
    /// `ca_file`.
    pub(crate) ca_file: Option<PathBuf>,
}

impl fmt::Debug for AdHocRequest {
    /// Values of parameters may be keys, and a URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<&String> = self.parameters.iter().map(|(name, _)| name).collect();
        f.debug_struct("AdHocRequest")
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .field("parameters", &parameters)
            .finish_non_exhaustive()
    }
}

/// Where the secret is; never the secret itself, which other users could read in the process list.
#[derive(Debug, Clone)]
pub(crate) enum SecretPlace {
    /// A credential that a unit of systemd's loads.
    Credential(String),
    /// An environment variable.
    Env(String),
    File(PathBuf),
}

impl Config {
    /// The configuration of `attache run --upstream …`.
    ///
    /// # Errors
    /// Every problem of the arguments.
    pub(crate) fn for_one_upstream(single: &SingleUpstream) -> Result<Self, ConfigErrors> {
        let name = &name_of(&single.upstream);
        let mut upstream = Table::new();
        put(&mut upstream, "origin", single.upstream.clone());
        put(&mut upstream, "credential", name);
        if let Some(path) = &single.upstream_ca_file {
            upstream.insert("tls".into(), one("ca_file", text(path)));
        }
        let listener = |address: &str, mode: &str| {
            let mut listener = Table::new();
            put(&mut listener, "address", address);
            put(&mut listener, "mode", mode);
            listener
        };
        let mut reverse = listener(&single.reverse, "reverse");
        put(&mut reverse, "upstream", name);
        let mut listeners = Table::new();
        listeners.insert("forward".into(), Value::Table(listener(&single.forward, "forward")));
        listeners.insert("reverse".into(), Value::Table(reverse));
        let mut root = Table::new();
        root.insert("listeners".into(), Value::Table(listeners));
        if let Some(address) = &single.admin {
            root.insert("admin".into(), one("address", Value::String(address.clone())));
        }
        root.insert("credentials".into(), one(name, Value::Table(single.request.table())));
        root.insert("upstreams".into(), one(name, Value::Table(upstream)));
        read(&root, name, &single.request)
    }

    /// The credential of `attache token --token-endpoint …`.
    ///
    /// # Errors
    /// Every problem of the arguments.
    pub(crate) fn ad_hoc_credential(request: &AdHocRequest) -> Result<CredentialSettings, ConfigErrors> {
        // A whole configuration around it: what reads credentials reads files.
        let single = SingleUpstream {
            upstream: "https://localhost".into(),
            upstream_ca_file: None,
            forward: "127.0.0.1:0".into(),
            reverse: "127.0.0.1:0".into(),
            admin: None,
            request: request.clone(),
        };
        let config = Self::for_one_upstream(&single)?;
        let nothing = || ConfigErrors { source: SOURCE.into(), problems: Vec::new() };
        config.credentials.into_iter().next().ok_or_else(nothing)
    }
}

impl AdHocRequest {
    fn table(&self) -> Table {
        let mut table = Table::new();
        put(&mut table, "token_endpoint", self.token_endpoint.clone());
        put(&mut table, "client_id", self.client_id.clone());
        match &self.client_secret {
            None => {}
            Some(SecretPlace::Credential(name)) => {
                table.insert("client_secret".into(), one("credential", Value::String(name.clone())));
            }
            Some(SecretPlace::Env(name)) => {
                table.insert("client_secret".into(), one("env", Value::String(name.clone())));
            }
            Some(SecretPlace::File(path)) => {
                table.insert("client_secret".into(), one("file", text(path)));
            }
        }
        if let Some(method) = &self.client_auth {
            put(&mut table, "client_auth", method.clone());
        }
        if let Some(path) = &self.private_key {
            table.insert("private_key".into(), text(path));
        }
        if let Some(key_id) = &self.key_id {
            put(&mut table, "key_id", key_id.clone());
        }
        if let Some(audience) = &self.audience {
            put(&mut table, "audience", audience.clone());
        }
        // `--scope "a b"` is what people copy from a scope of their server's; in the file a list has one in each entry.
        let scope: Vec<String> =
            self.scope.iter().flat_map(|scope| scope.split_whitespace()).map(str::to_owned).collect();
        for (key, values) in [("scope", &scope), ("resource", &self.resource)] {
            if !values.is_empty() {
                table.insert(key.into(), Value::Array(values.iter().cloned().map(Value::String).collect()));
            }
        }
        if !self.parameters.is_empty() {
            table.insert("parameters".into(), Value::Table(self.parameters_table()));
        }
        if let Some(path) = &self.ca_file {
            table.insert("ca_file".into(), text(path));
        }
        table
    }

    fn parameters_table(&self) -> Table {
        let mut table = Table::new();
        for (name, value) in &self.parameters {
            let values = table.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(values) = values {
                values.push(Value::String(value.clone()));
            }
        }
        table
    }
}

fn put(table: &mut Table, key: &str, value: impl Into<String>) {
    table.insert(key.into(), Value::String(value.into()));
}

fn one(key: &str, value: Value) -> Value {
    let mut table = Table::new();
    table.insert(key.into(), value);
    Value::Table(table)
}

fn text(path: &Path) -> Value {
    Value::String(path.display().to_string())
}

/// What upstream and credential are called in messages: the host, as far as the origin can be read.
fn name_of(origin: &str) -> String {
    let host = origin.parse::<OriginPattern>().map(|pattern| pattern.base().host.bare().to_owned());
    host.unwrap_or_else(|_problem| "upstream".to_owned())
}

fn read(root: &Table, name: &str, request: &AdHocRequest) -> Result<Config, ConfigErrors> {
    // Lines of a file that nobody wrote would only confuse.
    let in_flags = |problems: &mut Vec<Problem>| problems.iter_mut().for_each(|one| in_flags(one, name, request));
    match Config::parse_as_it_is(SOURCE, &root.to_string()) {
        Ok(mut config) => {
            in_flags(&mut config.warnings);
            Ok(config)
        }
        Err(mut errors) => {
            in_flags(&mut errors.problems);
            Err(errors)
        }
    }
}

/// The flag that each key was made of.
const FLAGS: [(&str, &str); 18] = [
    ("credentials.upstream.token_endpoint", "--token-endpoint"),
    ("credentials.upstream.client_id", "--client-id"),
    ("credentials.upstream.client_secret.env", "--client-secret-env"),
    ("credentials.upstream.client_secret.file", "--client-secret-file"),
    ("credentials.upstream.client_secret", "--client-secret-env"),
    ("credentials.upstream.client_auth", "--client-auth"),
    ("credentials.upstream.private_key", "--private-key"),
    ("credentials.upstream.key_id", "--key-id"),
    ("credentials.upstream.scope", "--scope"),
    ("credentials.upstream.audience", "--audience"),
    ("credentials.upstream.resource", "--resource"),
    ("credentials.upstream.parameters", "--parameter"),
    ("credentials.upstream.ca_file", "--ca-file"),
    ("upstreams.upstream.origin", "--upstream"),
    ("upstreams.upstream.tls.ca_file", "--upstream-ca-file"),
    ("listeners.forward.address", "--forward"),
    ("listeners.reverse.address", "--reverse"),
    ("admin.address", "--admin"),
];

/// Says a problem in the words of the command line.
fn in_flags(problem: &mut Problem, name: &str, request: &AdHocRequest) {
    problem.at = None;
    let Some(key) = &problem.key else { return };
    let key = [name, &shortened(name)].iter().fold(key.clone(), |key, name| {
        let named = format!(".{name}.");
        key.replacen(&named, ".upstream.", 1)
    });
    let flag = FLAGS.iter().find_map(|(of, flag)| match key.strip_prefix(of)? {
        "" => Some((*flag).to_owned()),
        below => below.strip_prefix('.').map(|name| format!("{flag} {name}")),
    });
    let Some(flag) = flag else { return };
    if problem.kind == ProblemKind::Unused {
        problem.what = match &request.client_auth {
            Some(method) => format!("is not sent with --client-auth {method}"),
            None => "is not sent beside the other flags".to_owned(),
        };
    }
    if let Some(remedy) = remedy(problem.kind, &flag) {
        problem.remedy = remedy;
    }
    problem.key = Some(flag);
}

/// What to do where the file would have something written; `None` where that is the same.
fn remedy(kind: ProblemKind, flag: &str) -> Option<String> {
    const SECRET: &str = "--client-secret-env";
    let remedy = match (kind, flag) {
        (ProblemKind::Missing, SECRET) => {
            "give --client-secret-env NAME or --client-secret-file FILE, or --client-auth none for a client without one"
        }
        (ProblemKind::Missing, "--private-key") => "give --private-key FILE",
        (ProblemKind::Missing, flag) => return Some(format!("give {flag}")),
        (ProblemKind::Empty, _) => "give its value",
        (ProblemKind::Unused, _) => "leave it out, or leave out --client-auth",
        (ProblemKind::Unreadable, SECRET) => "set it before attache starts, or give --client-secret-file FILE",
        (ProblemKind::OpenToOthers, "--admin") => {
            "write 127.0.0.1 and the port; with a token it takes a file, which `attache init` writes"
        }
        (ProblemKind::OpenToOthers, _) => {
            "write 127.0.0.1 and the port; with `callers` or `open` it takes a file, which `attache init` writes"
        }
        (ProblemKind::Plaintext, _) => {
            "write https://…; with `allow_plaintext` it takes a file, which `attache init` writes"
        }
        (ProblemKind::Unreadable | ProblemKind::Other, _) => return None,
    };
    Some(remedy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> AdHocRequest {
        AdHocRequest {
            token_endpoint: "https://login.test/token".into(),
            client_id: "me".into(),
            client_secret: None,
            client_auth: Some("none".into()),
            private_key: None,
            key_id: None,
            scope: vec!["a b".into(), "c".into()],
            audience: Some("https://a\"b.test".into()),
            resource: Vec::new(),
            parameters: vec![("x".into(), "1".into()), ("x".into(), "2".into())],
            ca_file: None,
        }
    }

    #[test]
    fn arguments_are_read_as_the_file_would_be() {
        let settings = Config::ad_hoc_credential(&request()).unwrap();
        let oauth = settings.oauth().unwrap();
        assert_eq!(oauth.audience.as_deref(), Some("https://a\"b.test"));
        assert_eq!(oauth.parameters, [("x".into(), "1".into()), ("x".into(), "2".into())]);
        assert_eq!(oauth.scope, ["a", "b", "c"]);
    }

    #[test]
    fn problems_have_no_line_of_a_file_that_nobody_wrote() {
        let bad = AdHocRequest { token_endpoint: "http://login.test/token".into(), client_auth: None, ..request() };
        let errors = Config::ad_hoc_credential(&bad).unwrap_err();
        assert!(errors.problems.iter().all(|problem| problem.at.is_none()));
        assert_eq!(errors.problems.len(), 2, "{errors}");
        assert!(errors.to_string().starts_with("the command line: "));
    }

    #[test]
    fn problems_between_flags_name_them_too() {
        let said = |upstream: &str, forward: &str, reverse: &str| {
            let single = SingleUpstream {
                upstream: upstream.into(),
                upstream_ca_file: None,
                forward: forward.into(),
                reverse: reverse.into(),
                admin: None,
                request: request(),
            };
            Config::for_one_upstream(&single).unwrap_err().to_string()
        };
        let (https, free) = ("https://a.test", "127.0.0.1:0");
        for (problem, flag, what) in [
            (said("http://a.test", free, free), "--upstream", "is plain http"),
            (said(https, "0.0.0.0:18080", free), "--forward", "is open to other machines"),
            (said(https, "127.0.0.1:18080", "127.0.0.1:18080"), "--reverse", "is that of"),
        ] {
            assert!(problem.starts_with(&format!("the command line: `{flag}` {what}")), "{problem}");
            assert!(!problem.contains("= true"), "a key is no flag: {problem}");
        }
    }

    #[test]
    fn problems_name_flags_and_no_keys() {
        let told = |request: AdHocRequest| Config::ad_hoc_credential(&request).unwrap_err().to_string();
        let with_secret = |secret, method: Option<&str>| {
            told(AdHocRequest { client_secret: secret, client_auth: method.map(Into::into), ..request() })
        };
        let unset = with_secret(Some(SecretPlace::Env("SURELY_UNSET".into())), None);
        assert_eq!(
            unset,
            "the command line: `--client-secret-env` names the environment variable SURELY_UNSET, which is not set; \
             set it before attache starts, or give --client-secret-file FILE"
        );
        let file = with_secret(Some(SecretPlace::File("/surely/not/there".into())), None);
        assert!(file.starts_with("the command line: `--client-secret-file` cannot be used: "), "{file}");
        let missing = with_secret(None, None);
        assert_eq!(
            missing,
            "the command line: `--client-secret-env` is missing; give --client-secret-env NAME or \
             --client-secret-file FILE, or --client-auth none for a client without one"
        );
        let needless = with_secret(Some(SecretPlace::Env("PATH".into())), Some("none"));
        assert!(needless.contains("is not sent with --client-auth none; leave it out, "), "{needless}");
        let method = with_secret(None, Some("private_key_jwt"));
        assert_eq!(method, "the command line: `--private-key` is missing; give --private-key FILE");
        let endpoint = told(AdHocRequest { token_endpoint: "http://login.test/token".into(), ..request() });
        assert!(endpoint.starts_with("the command line: `--token-endpoint` is plain http"), "{endpoint}");
        let trust = told(AdHocRequest { ca_file: Some("/surely/not/there".into()), ..request() });
        assert!(trust.starts_with("the command line: `--ca-file` names /surely/not/there, which "), "{trust}");
        let own = told(AdHocRequest { parameters: vec![("scope".into(), "x".into())], ..request() });
        assert!(own.starts_with("the command line: `--parameter scope` is set by attache itself; "), "{own}");
    }
}
