//! Each key of the file is decided: a changed file that has another value there waits, or is taken.

use std::collections::BTreeSet;

use super::*;

/// Waits for any difference of the table: whatever key is added there.
const WHOLE: [&str; 2] = ["credentials.*", "cache"];

/// Waits, by key: a file before, and what it has instead.
const WAITS: &[(&str, &str, &str)] = &[
    ("upstreams.*.origin", "origin = \"https://a.test\"", "origin = \"https://evil.test\""),
    ("upstreams.*.credential", "credential = \"k\"\n", ""),
    ("upstreams.*.connect", "#upstream", "connect = \"192.0.2.1:443\""),
    ("upstreams.*.via", "#upstream", "via = \"http://evil.test:1\""),
    ("upstreams.*.via.url", "via = \"http://proxy.test:1\" #b", "via = { url = \"http://evil.test:1\" }"),
    (
        "upstreams.*.via.username",
        "\"http://proxy.test:1\" #b",
        "{ url = \"http://proxy.test:1\", username = \"x\", password = \"y\" }",
    ),
    (
        "upstreams.*.via.password",
        "\"http://proxy.test:1\" #b",
        "{ url = \"http://proxy.test:1\", username = \"x\", password = { env = \"PATH\" } }",
    ),
    ("upstreams.*.via.ca_file", "\"http://proxy.test:1\" #b", "{ url = \"https://proxy.test:1\", ca_file = \"CA\" }"),
    ("upstreams.*.tls", "#upstream", "tls = { server_name = \"evil.test\" }"),
    ("upstreams.*.tls.ca_file", "#upstream", "tls = { ca_file = \"CA\" }"),
    ("upstreams.*.tls.server_name", "#upstream", "tls = { server_name = \"evil.test\" }"),
    ("upstreams.*.tls.min_version", "#upstream", "tls = { min_version = \"1.3\" }"),
    ("upstreams.*.tls.client_certificate", "#upstream", "tls = { client_certificate = { command = [\"x\"] } }"),
    (
        "upstreams.*.tls.client_key",
        "#upstream",
        "tls = { client_certificate = { command = [\"x\"] }, client_key = { command = [\"y\"] } }",
    ),
    ("forward.via", "#forward", "via = \"http://evil.test:1\""),
    ("forward.via.url", "#forward", "via = { url = \"http://evil.test:1\" }"),
    ("forward.via.username", "#forward", "via = { url = \"http://evil.test:1\", username = \"x\", password = \"y\" }"),
    (
        "forward.via.password",
        "#forward",
        "via = { url = \"http://evil.test:1\", username = \"x\", password = { env = \"PATH\" } }",
    ),
    ("forward.via.ca_file", "#forward", "via = { url = \"https://evil.test:1\", ca_file = \"CA\" }"),
];

/// Waits if it names another program, and is taken else: what it says is compared with what callers show, or shown to callers.
const WAITS_FOR_A_PROGRAM: &[(&str, &str, &str)] = &[
    ("callers.*.password", "password = \"x\"", "password = { command = [\"x\"] }"),
    ("listeners.*.tls.certificate", "#listener", "tls = { certificate = { command = [\"x\"] } }"),
    ("listeners.*.tls.key", "#listener", "tls = { certificate = { command = [\"x\"] }, key = { command = [\"y\"] } }"),
    ("admin.token", "#admin", "token = { command = [\"x\"] }"),
    (
        "intercept.ca_certificate",
        "#end",
        "[intercept]\nca_certificate = { command = [\"x\"] }\nca_key = { command = [\"x\"] }",
    ),
    ("intercept.ca_key", "#end", "[intercept]\nca_certificate = { command = [\"y\"] }\nca_key = { command = [\"x\"] }"),
];

/// Is taken: no secret goes elsewhere by it, or it takes effect with the next start, as [admin] and [telemetry] do.
const PASSES: &[(&str, &str)] = &[
    ("", "include"),
    (
        "listeners.*",
        "address mode upstream upstreams open hosts callers tls users title_case socket_mode proxy_protocol trusted_proxies",
    ),
    ("listeners.*.trusted_proxies", "networks field"),
    ("listeners.*.tls", "client_ca"),
    ("admin", "address"),
    ("callers.*", "certificate credential"),
    (
        "upstreams.*",
        "path_prefix paths allow caller_authorization retry on_token_error http rewrite callers requests_per_second intercept \
         allow_plaintext origin_from timeouts pool title_case",
    ),
    ("upstreams.*.allow", "methods paths"),
    ("upstreams.*.retry", "on max_body enabled"),
    ("upstreams.*.timeouts", "connect response idle body"),
    ("upstreams.*.pool", "max max_idle queue"),
    ("forward", "unmatched connect_ports no_proxy private_addresses"),
    (
        "limits",
        "connections connections_per_address header_bytes body_bytes header_timeout keep_alive requests_per_second \
         requests_per_second_per_caller replay_memory drain drain_delay",
    ),
    ("telemetry", "access_log access_log_format access_log_query server_timing otlp_endpoint request_id"),
];

const BEFORE: &str = "[listeners.l]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\ncallers = [\"c\"]\n#listener\n\
    [admin]\naddress = \"127.0.0.1:0\"\n#admin\n[forward]\n#forward\n[callers.c]\npassword = \"x\"\n\
    [credentials.k]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"me\"\nclient_auth = \"none\"\n\
    [upstreams.a]\norigin = \"https://a.test\"\ncredential = \"k\"\n#upstream\n\
    [upstreams.b]\norigin = \"https://b.test\"\nvia = \"http://proxy.test:1\" #b\n#end\n";

/// The keys of the reference, with the path of their table.
fn keys() -> BTreeSet<(String, String)> {
    let mut table = String::new();
    let mut keys = BTreeSet::new();
    let lines = include_str!("../../config/generate/keys.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '>'])) {
        if let Some((path, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            table = path.to_owned();
        } else {
            let mut columns = line.split('|').map(str::trim);
            let (name, forms) = (columns.next().unwrap(), columns.next().unwrap());
            // A table at the top is decided by its keys.
            let top = table.is_empty() && ["table", "names"].contains(&forms);
            if !top {
                keys.insert((table.clone(), name.to_owned()));
            }
        }
    }
    keys
}

#[test]
fn every_key_is_decided_once() {
    let whole = |table: &str| WHOLE.iter().any(|whole| table == *whole || table.starts_with(&format!("{whole}.")));
    let mut decided = Vec::new();
    for (path, ..) in WAITS.iter().chain(WAITS_FOR_A_PROGRAM) {
        let (table, key) = path.rsplit_once('.').unwrap();
        decided.push((table.to_owned(), key.to_owned()));
    }
    for (table, names) in PASSES {
        decided.extend(names.split_whitespace().map(|name| ((*table).to_owned(), name.to_owned())));
    }
    let once: BTreeSet<(String, String)> = decided.iter().cloned().collect();
    assert_eq!(once.len(), decided.len(), "a key is decided twice");
    let keys: BTreeSet<_> = keys().into_iter().filter(|(table, _)| !whole(table)).collect();
    let undecided: Vec<_> = keys.difference(&once).collect();
    assert!(undecided.is_empty(), "does a changed file wait for these? {undecided:?}");
    let gone: Vec<_> = once.difference(&keys).collect();
    assert!(gone.is_empty(), "no such keys: {gone:?}");
}

#[test]
fn what_is_to_wait_waits() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap().cert.pem()).unwrap();
    let config = |text: &str| {
        Config::parse("proxy.toml", &text.replace("\"CA\"", &format!("\"{}\"", ca.display())))
            .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    };
    let before = config(BEFORE);
    assert_eq!(waiting(&before, &before), [""; 0]);
    for (key, was, is) in WAITS.iter().chain(WAITS_FOR_A_PROGRAM) {
        assert!(BEFORE.contains(was), "{key}");
        let after = config(&BEFORE.replacen(was, is, 1));
        assert_ne!(waiting(&before, &after), [""; 0], "{key}: {is}");
    }
    // Programs aside, these secrets are compared or shown, and sent nowhere.
    let after = BEFORE.replace("password = \"x\"", "password = \"y\"").replace("#admin", "token = \"z\"");
    assert_eq!(waiting(&before, &config(&after)), [""; 0]);
}
