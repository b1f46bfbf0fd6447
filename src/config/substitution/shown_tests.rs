//! What stands in a variable is in no message, wherever the variable stands in the file.

use std::path::Path;

use crate::config::Config;
use crate::config::generate::keys::{Form, Key, tables};
use crate::config::testing::{CREDENTIAL, forward, upstream};

/// In every value that a variable has here, and in no word of a message.
const MARK: &str = "s3n";

/// Files in which each key has a meaning somewhere: table by table, with keys of its own.
const FILES: [&[(&str, &[&str])]; 3] = [
    &[
        ("listeners.a", &["address = \"127.0.0.1:0\"", "mode = \"forward\""]),
        ("upstreams.a", &["origin = \"https://*.a.test\"", "credential = \"a\""]),
        ("credentials.a", OAUTH),
        ("cache", &["shared = \"rediss://127.0.0.1\"", "key = { env = \"KEY\" }"]),
    ],
    &[
        ("listeners.a", &["address = \"127.0.0.1:0\"", "mode = \"token\"", "callers = [\"a\"]"]),
        ("callers.a", &["password = { env = \"KEY\" }"]),
        ("credentials.a", OAUTH),
    ],
    &[
        ("listeners.a", &["address = \"127.0.0.1:0\"", "mode = \"reverse\"", "upstream = \"a\"", "callers = [\"a\"]"]),
        ("callers.a", &["password = { env = \"KEY\" }"]),
        ("upstreams.a", &["origin = \"http://a.test\"", "credential = \"a\""]),
        ("credentials.a", &["kind = \"bearer\"", "token = { env = \"KEY\" }"]),
    ],
];

const OAUTH: &[&str] =
    &["token_endpoint = \"https://login.test/token\"", "client_id = \"a\"", "client_secret = { env = \"KEY\" }"];

/// A file with this key in place of its own.
fn file(tables: &[(&str, &[&str])], table: &str, array: bool, key: &str, value: &str) -> String {
    let line = format!("{key} = {value}\n");
    let own = |line: &str| line.split(' ').next() == Some(key);
    let mut text = if table.is_empty() { line.clone() } else { String::new() };
    for (name, lines) in tables {
        text.push_str(&format!("[{name}]\n"));
        lines.iter().filter(|line| *name != table || !own(line)).for_each(|line| text.push_str(&format!("{line}\n")));
        if *name == table {
            text.push_str(&line);
        }
    }
    if !table.is_empty() && !tables.iter().any(|(name, _)| *name == table) {
        text.push_str(&if array { format!("[[{table}]]\n{line}") } else { format!("[{table}]\n{line}") });
    }
    text
}

fn told(text: &str, dir: &Path, content: &str) -> Vec<String> {
    let environment = |name: &str| match name {
        "BAD" => Some(content.to_owned()),
        "KEY" => Some("0123456789abcdef".repeat(4)),
        _ => None,
    };
    match Config::parse_with("proxy.toml", text, dir, &environment) {
        Ok(read) => read.warnings.iter().map(ToString::to_string).collect(),
        Err(errors) => errors.problems.iter().map(ToString::to_string).collect(),
    }
}

/// What a variable may hold that ends up at the wrong key.
fn contents(key: &Key) -> Vec<String> {
    let word = key.forms.iter().find_map(|form| if let Form::Word(word) = form { Some(*word) } else { None });
    let mut contents = vec![
        "s3nt".to_owned(),
        format!("/{MARK}/{}", "x".repeat(60)),
        format!("https://bücher.test/{MARK}"),
        format!("https://::1:8443/{MARK}"),
        format!("https://me:{MARK}@a.test"),
    ];
    contents.extend(word.map(|word| format!("{word}{MARK}")));
    contents
}

fn values(key: &Key) -> &'static [&'static str] {
    let is_secret = |form: &Form| matches!(form, Form::Secret | Form::Secrets | Form::Pem | Form::Pems);
    if key.forms.iter().any(is_secret) {
        &[
            "\"${BAD}\"",
            "\"./${BAD}\"",
            "{ file = \"${BAD}\" }",
            "{ env = \"${BAD}\" }",
            "{ credential = \"${BAD}\" }",
            "{ file = \"${BAD}\", field = \"${BAD}\" }",
            "{ command = [\"${BAD}\", \"${BAD}\"] }",
        ]
    } else {
        &["\"${BAD}\"", "[\"${BAD}\", \"${BAD}\"]", "{ env = \"BAD\" }"]
    }
}

#[test]
fn no_message_repeats_what_a_variable_holds_at_whatever_key() {
    let folder = tempfile::tempdir().unwrap();
    let (mut named, mut leaks) = (0, Vec::new());
    for table in tables() {
        let name = table.path.replace('*', "a");
        let array = table.path == "upstreams.*.allow";
        for key in &table.keys {
            for (tables, value) in FILES.iter().flat_map(|tables| values(key).iter().map(move |value| (tables, value)))
            {
                let text = file(tables, &name, array, key.name, value);
                for content in contents(key) {
                    let told = told(&text, folder.path(), &content);
                    named += told.iter().filter(|line| line.contains("${BAD}")).count();
                    let leaking = told.into_iter().filter(|line| line.to_lowercase().contains(MARK));
                    leaks.extend(leaking.map(|line| format!("{name} {} = {value}: {line}", key.name)));
                }
            }
        }
    }
    leaks.sort();
    leaks.dedup();
    assert_eq!(leaks, [""; 0]);
    assert!(named > 200, "{named} messages show what is written");
}

#[cfg(unix)]
#[test]
fn a_file_that_a_variable_names_is_shown_as_it_is_written() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(folder.path().join(MARK), "'quoted'").unwrap();
    std::fs::set_permissions(folder.path().join(MARK), std::fs::Permissions::from_mode(0o644)).unwrap();
    let secret = CREDENTIAL.replace("{ env = \"SECRET\" }", "{ file = \"${BAD}\" }");
    let used = upstream("a", "https://a.test", "credential = \"key\"\n");
    let told = told(&forward(&format!("{used}{secret}")), folder.path(), MARK);
    let shown = folder.path().join("${BAD}").display().to_string();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].ends_with(&format!("may read {shown}; chmod o-rwx {shown}")), "{told:#?}");
    assert!(told[1].contains(&format!("the secret in the file {shown} ")), "{told:#?}");
}

#[test]
fn a_secret_in_a_key_that_is_none_is_warned_of() {
    let secret = CREDENTIAL.replace("SECRET", "BAD");
    for (origin, warned) in
        [("https://${BAD}.test", true), ("https://${HOST:-a}.test", false), ("https://a.test", false)]
    {
        let used = upstream("a", origin, "credential = \"key\"\n");
        let told = told(&forward(&format!("{used}{secret}")), Path::new(""), "sentinel");
        let what = "`upstreams.a.origin` reads the variable BAD, which is a secret of this file: here it is shown, and sent in clear; name another variable";
        let expected: &[&str] = if warned { &[what] } else { &[] };
        assert_eq!(told, expected, "{origin}");
    }
}
