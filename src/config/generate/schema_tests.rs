use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;
use crate::config::generate::keys::{Form, key, tables};
use crate::config::generate::starter::starter;
use crate::config::tables::credentials::preset::PROVIDERS;
use crate::config::testing::{Asked, noted, parse_in};

/// Everything that the reference file shows, also in comments; and a configuration of each provider. The files that they
/// name are in the folder.
fn corpus(folder: &Path) -> Vec<String> {
    let made = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let ca = crate::tls::CertificateAuthority::generate(&[]).unwrap();
    crate::tls::AuthoritySource::create(&ca, &folder.join("ca.pem"), &folder.join("ca.key")).unwrap();
    for (name, text) in [
        ("client.pem", certificate.as_str()),
        ("client.key", &key),
        ("cache.key", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        ("cache.password", "sentinel"),
        ("key.pem", &key),
        ("workload.jwt", "a.b.c"),
        ("service-account.json", r#"{"private_key":"x"}"#),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let shown = include_str!("../../../proxy.toml").lines().map(|line| {
        let bare = line.strip_prefix('#').unwrap_or(line);
        let code = bare.starts_with('[') || bare.starts_with(|first: char| first.is_ascii_lowercase());
        format!("{}\n", if code { bare } else { line })
    });
    let mut corpus = vec![shown.collect()];
    corpus.push(with(
        "upstreams.*.via",
        "url",
        "\"http://proxy.test:1\"\nusername = \"a\"\npassword = \"b\"\nca_file = \"ca.pem\"",
    ));
    corpus.push(with("forward", "connect_ports", "\"any\""));
    corpus.push(with("credentials.*.dpop", "private_key", "\"key.pem\""));
    let starter =
        |provider| starter(Some(provider)).to_string().replace("/var/run/secrets/tokens/google", "workload.jwt");
    corpus.extend(PROVIDERS.iter().map(|(_, provider)| starter(*provider)));
    corpus
}

/// `upstreams.orders.retry` as the table has it: `upstreams.*.retry`.
fn with_stars(path: &str) -> String {
    let tables = tables();
    let root = tables.iter().find(|table| table.path.is_empty()).unwrap();
    let mut segments: Vec<&str> = path.split('.').collect();
    let section = root.keys.iter().find(|key| key.name == segments[0]);
    if segments.len() > 1 && section.is_some_and(|key| key.forms.contains(&Form::Names)) {
        segments[1] = "*";
    }
    segments.join(".")
}

fn asked() -> (Asked, Asked) {
    let folder = tempfile::tempdir().unwrap();
    for text in corpus(folder.path()) {
        parse_in(folder.path(), &text).map_err(|errors| format!("{errors}\n{text}")).unwrap();
    }
    let (keys, forms) = noted();
    let star = |asked: Asked| asked.into_iter().map(|(path, what)| (with_stars(&path), what)).collect();
    (star(keys), star(forms))
}

#[test]
fn every_line_of_the_table_can_be_read() {
    for line in include_str!("keys.txt").lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[', '>'])) {
        assert!(key(line).is_some(), "{line}");
    }
    let tables = tables();
    let paths: BTreeSet<&str> = tables.iter().map(|table| table.path).collect();
    assert_eq!(paths.len(), tables.len(), "a table stands there twice");
    let mut below: BTreeSet<String> = BTreeSet::from([String::new()]);
    for table in &tables {
        for key in &table.keys {
            let path = if table.path.is_empty() { key.name.to_owned() } else { format!("{}.{}", table.path, key.name) };
            for form in &key.forms {
                match form {
                    Form::Table | Form::Tables => drop(below.insert(path.clone())),
                    Form::Names => drop(below.insert(format!("{path}.*"))),
                    _ => {}
                }
            }
        }
    }
    assert_eq!(
        below,
        paths.into_iter().map(str::to_owned).collect(),
        "a `table` has its section, and a section its key"
    );
}

#[test]
fn the_table_has_every_key_that_the_readers_ask_for_and_no_other() {
    let (asked, _) = asked();
    let mut listed = Asked::new();
    for table in tables() {
        listed.extend(table.keys.iter().map(|key| (table.path.to_owned(), key.name.to_owned())));
    }
    let missing: Vec<_> = asked.difference(&listed).collect();
    assert!(missing.is_empty(), "asked for and not in keys.txt: {missing:?}");
    let needless: Vec<_> = listed.difference(&asked).collect();
    assert!(
        needless.is_empty(),
        "in keys.txt, and no reader asks for it: {needless:?}; does proxy.toml show its table?"
    );
}

#[test]
fn the_table_says_of_each_key_what_the_readers_take() {
    let (_, forms) = asked();
    let mut read: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, form) in forms {
        read.entry(path).or_default().extend(form.split(" / ").map(str::to_owned));
    }
    let mut seen = 0;
    for table in tables() {
        for key in &table.keys {
            let path = if table.path.is_empty() { key.name.to_owned() } else { format!("{}.{}", table.path, key.name) };
            let listed: BTreeSet<String> = key.forms.iter().filter_map(|form| written(*form)).collect();
            match read.get(&path) {
                Some(read) => assert_eq!(&listed, read, "{path}"),
                // Numbers and words that proxy.toml does not show are no proof; whatever else is no such form.
                None => assert!(UNSEEN.contains(&path.as_str()) || listed.is_empty(), "{path}: {listed:?}"),
            }
            seen += usize::from(read.contains_key(&path));
        }
    }
    assert!(seen > 30, "{seen}");
}

/// Words that stand beside another form, which is what proxy.toml shows, or are read by hand.
const UNSEEN: [&str; 7] = [
    "telemetry.access_log",
    "listeners.*.hosts",
    "listeners.*.proxy_protocol",
    "credentials.*.assertion_audience",
    "credentials.*.dpop",
    "credentials.*.refresh_ahead",
    "upstreams.*.retry.on",
];

/// What `Value` notes of what it is read as.
fn written(form: Form) -> Option<String> {
    match form {
        Form::Word(word) => Some(format!("{word:?}")),
        Form::Boolean => Some("boolean".to_owned()),
        Form::Integer(first, last) | Form::Integers(first, last) => Some(format!("integer {first}..{last}")),
        Form::Duration => Some("duration".to_owned()),
        Form::Size => Some("size".to_owned()),
        _ => None,
    }
}

/// A file in which every table is, with a key and its value added to one of them.
fn with(path: &str, key: &str, value: &str) -> String {
    let mut text = String::from(
        "[listeners.a]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://*.a.test\"\ncredential = \"a\"\n\
         [credentials.a]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"a\"\nclient_secret = { env = \"SECRET\" }\n\
         [cache]\nshared = \"rediss://127.0.0.1\"\nkey = { env = \"CACHE_KEY\" }\n",
    );
    let header = format!("[{}]\n", path.replace('*', "a"));
    let line = format!("{key} = {value}\n");
    match text.find(&header) {
        Some(at) => text.insert_str(at + header.len(), &line),
        None => text.push_str(&format!("{header}{line}")),
    }
    text
}

#[test]
fn a_default_that_is_written_down_changes_nothing() {
    let mut checked = 0;
    for table in tables().iter().filter(|table| !table.path.is_empty()) {
        // A default of one kind or preset alone has no meaning in the others.
        let special = ["authorization_server", "environment", "subject_token_type", "assertion_audience"];
        for key in table.keys.iter().filter(|key| !special.contains(&key.name)) {
            if key.default_value().is_none() || ["dpop", "header"].contains(&key.name) {
                continue;
            }
            let written = with(table.path, key.name, key.default);
            let read = |text: &str| {
                let read = parse_in(Path::new(""), text).map_err(|errors| format!("{errors}\n{text}")).unwrap();
                // Only that it was written down, and what is said of that.
                let (forward_said, warnings) = (crate::proxy::ForwardSaid::default(), Vec::new());
                crate::config::Config { forward_said, warnings, ..read }
            };
            let (read, without) = (read(&written), read(&with("forward", "unmatched", "\"deny\"")));
            assert_eq!(format!("{read:?}"), format!("{without:?}"), "{}.{} = {}", table.path, key.name, key.default);
            checked += 1;
        }
    }
    assert!(checked > 25, "{checked}");
}

#[test]
fn the_schema_is_one_document_whose_references_lead_somewhere() {
    let schema = json_schema();
    let text = schema.to_string();
    for reference in text.split("\"$ref\":\"#/$defs/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{name}");
    }
    let limits = &schema["properties"]["limits"];
    assert_eq!(
        (limits["additionalProperties"].as_bool(), limits["properties"]["drain"]["default"].as_str()),
        (Some(false), Some("30s"))
    );
    let retry = &schema["properties"]["upstreams"]["additionalProperties"]["properties"]["retry"]["properties"];
    assert_eq!(retry["on"]["anyOf"][0]["items"]["minimum"], 200);
    assert_eq!(retry["enabled"]["anyOf"][1]["$ref"], "#/$defs/variable");
}

/// A key costs a line in keys.txt, one that reads it, and its description in proxy.toml: this one is forgotten first.
#[test]
fn the_annotated_file_shows_every_key_of_the_table() {
    let shown = include_str!("../../../proxy.toml");
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words: BTreeSet<&str> = shown.split(|letter| !is_word(letter)).collect();
    for table in tables() {
        for key in &table.keys {
            assert!(words.contains(key.name), "proxy.toml does not show `{}` of [{}]", key.name, table.path);
        }
    }
}

/// A configuration whose settings are compared: what was warned of, and which variables it names, are none.
fn settings(path: &str, key: &str, value: &str) -> Option<crate::config::Config> {
    let read = parse_in(Path::new(""), &with(path, key, value)).ok()?;
    Some(crate::config::Config {
        warnings: Vec::new(),
        variables: Vec::new(),
        forward_said: crate::proxy::ForwardSaid::default(),
        ..read
    })
}

/// A value of this form that is another than the default.
fn another(form: Form, default: &str) -> Option<String> {
    let other = match form {
        Form::Word(word) => format!("{word:?}"),
        Form::Boolean => (default != "true").to_string(),
        Form::Integer(first, _) => (first + 7).to_string(),
        Form::Duration => "\"7s\"".to_owned(),
        Form::Size => "\"9KiB\"".to_owned(),
        _ => return None,
    };
    (other != default).then_some(other)
}

/// What a reload takes over is found by comparing settings: a field that is left out of the comparison would stay as it was.
#[test]
fn settings_that_differ_in_one_key_are_told_apart() {
    let base = settings("forward", "unmatched", "\"deny\"").unwrap();
    assert_eq!(base, settings("forward", "unmatched", "\"deny\"").unwrap());
    let (mut checked, mut same) = (BTreeSet::new(), BTreeSet::new());
    for table in tables().iter().filter(|table| !table.path.is_empty()) {
        for key in &table.keys {
            for value in key.forms.iter().filter_map(|form| another(*form, key.default)) {
                // Some have no meaning without others.
                let Some(read) = settings(table.path, key.name, &value) else { continue };
                if base == read {
                    same.insert(key.name);
                }
                checked.insert((table.path, key.name));
            }
        }
    }
    assert!(checked.len() > 30, "{}: {checked:?}", checked.len());
    // `open` leaves out a check; the others have no effect beside what is there: a secret, an endpoint, no key and no assertion.
    let without_effect =
        BTreeSet::from(["client_assertion_type", "client_auth", "open", "preset", "signing_algorithm"]);
    assert_eq!(same, without_effect);
    for (path, key, value) in [
        ("credentials.*", "audience", "\"x\""),
        ("credentials.*", "scope", "\"x\""),
        ("credentials.*", "resource", "\"urn:x\""),
        ("credentials.*", "parameters", "{ x = \"1\" }"),
        ("credentials.*", "headers", "{ x = \"1\" }"),
        ("credentials.*", "token_member", "\"x\""),
        ("credentials.*", "proxy", "\"http://proxy.test\""),
        ("credentials.*", "assertion_audience", "\"x\""),
        ("credentials.*", "inject", "{ header = \"X-Token\" }"),
        ("credentials.*", "refresh_ahead", "0.5"),
        ("credentials.*", "budget", "\"6/h\""),
        ("credentials.*", "issuer", "\"https://login.test\""),
        ("upstreams.*", "connect", "\"10.0.0.1:1\""),
        ("upstreams.*", "path_prefix", "\"/x\""),
        ("upstreams.*", "paths", "\"/x\""),
        ("upstreams.*", "allow", "[{ methods = [\"GET\"] }]"),
        ("upstreams.*", "via", "\"http://proxy.test\""),
        ("upstreams.*", "origin_from", "\"x\""),
        ("upstreams.*.retry", "on", "[403]"),
        ("upstreams.*.tls", "server_name", "\"b.test\""),
        ("listeners.*", "proxy_protocol", "[\"10.0.0.0/8\"]"),
        ("listeners.*", "trusted_proxies", "[\"10.0.0.0/8\"]"),
        ("forward", "via", "\"http://proxy.test\""),
        ("forward", "private_addresses", "[\"10.0.0.0/8\"]"),
        ("forward", "connect_ports", "[8443]"),
        ("telemetry", "access_log", "\"stdout\""),
        ("telemetry", "otlp_endpoint", "\"http://collector.test\""),
        ("admin", "address", "\"127.0.0.1:1\""),
        ("cache", "prefix", "\"x\""),
        ("cache", "password", "{ env = \"SECRET\" }"),
        ("cache", "sentinel", "{ master = \"x\" }"),
        ("cache.tls", "server_name", "\"b.test\""),
    ] {
        let read = settings(path, key, value).unwrap_or_else(|| panic!("{path}.{key} = {value}"));
        assert_ne!(base, read, "{path}.{key} = {value}");
    }
    // A secret that is written into the file is told from another, though neither is shown.
    let [one, other] = ["\"one\"", "\"other\""].map(|token| {
        let text = with("admin", "address", &format!("\"127.0.0.1:1\"\ntoken = {token}"));
        parse_in(Path::new(""), &text).unwrap()
    });
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    assert_ne!(one, other);
}
