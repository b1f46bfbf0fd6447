//! What the compiler does not check about the source: a plain text scan, so that ARCHITECTURE.md stays true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What opens the inside to others.
const SHOWING: [&str; 2] = ["bench.rs", "lib.rs"];

/// What every folder may use.
const EVERYWHERE: [&str; 3] = ["digest", "http_auth", "sync"];

/// Lines of one file without its tests. Longer files hold more than one idea.
const MAX_LINES: usize = 400;

/// Lines of one file with its tests.
const MAX_LINES_WITH_TESTS: usize = 500;

/// Files on one level of one folder.
const MAX_FILES: usize = 17;

/// Where each library may be used. Exchanging one is then a change in one place.
const DOORS: [(&str, &[&str]); 32] = [
    ("anstream::", &["cli/"]),
    ("arc_swap::", &["credential/", "fleet/", "runtime.rs", "token/cache/"]),
    ("axum::", &["admin/", "demo/"]),
    ("backon::", &["token/delay.rs"]),
    ("bytesize::", &["config/"]),
    ("clap::", &["cli/"]),
    ("clap_complete::", &["cli/"]),
    ("clap_mangen::", &["cli/man.rs"]),
    ("fastrand::", &["fleet/live.rs", "store/back_off.rs", "store/connect/", "token/delay.rs"]),
    ("flate2::", &["admin/coding.rs", "oauth/coding.rs"]),
    ("h2::", &["http2/", "listen/connection/http2/", "listen/upgrade.rs", "upstream/"]),
    ("hyper::client", &["oauth/connection.rs", "cli/admin/session.rs"]),
    ("hyper::server", &["listen/", "demo/"]),
    ("jsonwebtoken::", &["demo/"]),
    ("proxy_header::", &["listen/connection/proxy_protocol.rs"]),
    ("rcgen::", &["tls/authority.rs"]),
    ("opentelemetry", &["telemetry/traces/"]),
    ("redis::", &["store/"]),
    ("reqwest::", &["telemetry/traces/mod.rs"]),
    ("rustls_platform_verifier::", &["tls/"]),
    ("listenfd::", &["listen/bind/inherited.rs"]),
    ("sd_notify::", &["cli/run/service_manager.rs"]),
    ("secrecy::", &["secret/"]),
    ("shuttle::", &["token/control.rs"]),
    ("simple_dns::", &["exec/isolate/resolver.rs"]),
    ("socket2::", &["exec/isolate/strays.rs", "listen/", "store/connect/transport.rs"]),
    ("toml::", &["config/"]),
    ("toml_edit::", &["config/generate/"]),
    ("tracing_subscriber::", &["telemetry/"]),
    ("rustls_native_certs::", &["tls/trust_store.rs"]),
    ("tempfile::", &["exec/folders.rs"]),
    (
        "x509_parser::",
        &["tls/authority.rs", "tls/authority_certificate.rs", "tls/pinned.rs", "tls/server.rs", "tls/validity.rs"],
    ),
];

/// Who may look into a secret, and what for.
const EXPOSING: [&str; 26] = [
    "cli/admin/session.rs",         // the admin token goes to the admin listener
    "cli/env/caller.rs",            // the caller's password goes into the URL that its programs are given
    "cli/token.rs",                 // `attache token` prints the token: that is the command
    "config/syntax/document.rs",    // the text of a file may hold secrets, and is read
    "credential/fixed.rs",          // the value that is put on requests is made, once for each secret
    "fleet/fuzzing.rs",             // a token that was opened is looked at by the fuzz target
    "fleet/keys.rs",                // the key of the shared cache is read
    "fleet/names.rs",               // a token has a fingerprint that takes a key to make
    "fleet/value/mod.rs",           // a token is sealed for the shared cache
    "jose/key.rs",                  // a key is read, once
    "oauth/request/client_auth.rs", // the client's secret goes into the token request
    "oauth/fuzzing.rs",             // a token that was taken is looked at by the fuzz targets
    "oauth/request/grant.rs",       // the subject of a token exchange, a given assertion
    "oauth/identity.rs",            // whose a given assertion is, and whom it is for
    "oauth/response/mod.rs",        // a token is checked before it may enter a header
    "proxy/token_endpoint.rs",      // a token is handed to the program that asked for it
    "secret/mod.rs",                // blank or not, and the fingerprint
    "secret/pasted.rs",             // what stands around it, and the line ends of a PEM
    "secret/source.rs",             // a member of a document that is a secret as a whole
    "store/connect/session.rs",     // the password goes to the store
    "tls/authority_source.rs",      // the key of a new CA is written into its file, a certificate is parsed
    "tls/authority.rs",             // the key of the local CA is read
    "tls/certificates.rs",          // a certificate is parsed
    "tls/identity.rs",              // certificate and key come out of their PEM
    "dial/parent_proxy/mod.rs",     // the password goes to the parent proxy
    "token/access_token.rs",        // the header value is made, once for each token
];

/// What lies in the root of the repository, besides what `.gitignore` names there.
const ROOT: [&str; 28] = [
    ".cargo",
    ".ci",
    ".editorconfig",
    ".git",
    ".github",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "benches",
    "build.rs",
    "clippy.toml",
    "contrib",
    "deny.toml",
    "docs",
    "fuzz",
    "justfile",
    "proxy.toml",
    "rustfmt.toml",
    "src",
    "tests",
];

/// What `cargo package` packs besides `src/` and the pages of `docs/`. The last four are cargo's own.
const PACKED: [&str; 13] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "build.rs",
    "proxy.toml",
    "Cargo.toml",
    "Cargo.lock",
    "Cargo.toml.orig",
    ".cargo_vcs_info.json",
];

/// Words that make an engineer translate, and what to write.
pub(crate) const WORDS: [(&str, &str); 21] = [
    ("how-manieth", "which one, by its number"),
    ("cannot be had", "is unavailable, is not there"),
    ("is to be had", "is available"),
    ("to be had", "that is there"),
    ("is no use", "cannot be used"),
    ("nobody's", "whose it is"),
    ("for the asking", "free, or leave it out"),
    ("of ours", "attache's"),
    (" our ", "attache's, this machine's"),
    ("ourselves", "attache itself"),
    ("is told nothing", "gets no answer"),
    ("proven itself", "is authenticated"),
    ("hands out", "returns"),
    ("handed out", "returned"),
    ("in its turn", "nothing, or \"then\""),
    ("likewise", "also, or \"the same holds for\""),
    ("thereof", "of it"),
    ("whoever", "a caller, a program, the task that"),
    ("what became of", "the outcome of"),
    ("once more", "again"),
    ("somebody", "a caller, a program"),
];

const PRINTING: [&str; 9] = [
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
    "dbg!",
    "process::exit",
    "process::abort",
    "io::stdout",
    "io::stderr",
];

#[test]
fn arrows_between_folders_are_those_of_the_architecture() {
    let allowed = arrows(&read("ARCHITECTURE.md"));
    let mut found: BTreeMap<(String, String), String> = BTreeMap::new();
    // `bench` and `lib` show what is inside; nothing inside knows them.
    for Source { path, code } in sources().into_iter().filter(|source| !SHOWING.contains(&source.path.as_str())) {
        let from = area(&path);
        for to in crate_paths(&path, &code) {
            if to != from && !EVERYWHERE.contains(&to.as_str()) {
                found.entry((from.clone(), to)).or_insert_with(|| path.clone());
            }
        }
    }
    for ((from, to), path) in &found {
        let known = allowed.contains(&(from.clone(), to.clone()));
        assert!(known, "src/{path} uses crate::{to}, but ARCHITECTURE.md has no arrow {from} -> {to}");
    }
    for (from, to) in &allowed {
        let used = found.contains_key(&(from.clone(), to.clone()));
        assert!(used, "ARCHITECTURE.md has an arrow {from} -> {to} that nothing in src/{from} uses: take it out");
    }
}

#[test]
fn the_code_map_has_every_folder_and_no_other() {
    let mapped = code_map(&read("ARCHITECTURE.md"));
    let place = |source: Source| match source.path.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/"),
        None => source.path,
    };
    let there: BTreeSet<String> = sources().into_iter().map(place).collect();
    for path in &there {
        assert!(
            mapped.contains(path),
            "src/{path} is not in the code map of ARCHITECTURE.md: say there what it is for"
        );
    }
    for path in &mapped {
        assert!(there.contains(path), "the code map of ARCHITECTURE.md has src/{path}, which is not there");
    }
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    for Source { path, .. } in sources() {
        let text = read(&format!("src/{path}"));
        let first = text.lines().find(|line| !line.starts_with("#![")).unwrap_or_default();
        assert!(first.starts_with("//! "), "src/{path} does not begin with a line that says what it is for");
    }
}

#[test]
fn each_library_has_one_door() {
    for Source { path, code } in sources() {
        for (library, doors) in DOORS {
            let inside = doors.iter().any(|door| path.starts_with(door));
            assert!(inside || !uses(&code, library), "src/{path} uses {library} which belongs to {doors:?}");
        }
    }
}

#[test]
fn secrets_are_exposed_in_listed_places_only() {
    for Source { path, code } in sources() {
        let exposes = [".expose()", "::expose", "expose_secret"].iter().any(|call| code.contains(call));
        let listed = EXPOSING.contains(&path.as_str());
        assert!(listed || !exposes, "src/{path} exposes a secret: is it put on the wire there? Then list it here");
        assert!(exposes || !listed, "src/{path} exposes nothing any more: take it off the list");
    }
}

#[test]
fn only_the_command_line_prints_or_exits() {
    for Source { path, code } in sources() {
        for word in PRINTING {
            // The log goes to stderr; that is no printing.
            let log = (path == "telemetry/log/journal.rs" && word == "io::stderr")
                // Where the configuration says so.
                || (path == "telemetry/access_log/sink.rs" && word == "io::stdout");
            assert!(path.starts_with("cli/") || log || !uses(&code, word), "src/{path} has {word}");
        }
    }
}

#[test]
fn no_file_is_longer_than_it_can_be_read() {
    for Source { path, code } in sources() {
        let lines = code.lines().count();
        assert!(lines <= MAX_LINES, "src/{path} has {lines} lines without its tests, and may have {MAX_LINES}");
    }
    // Those of tests too, which the others are read without.
    let mut files = Vec::new();
    collect_all(&root().join("src"), &mut files);
    collect_all(&root().join("tests"), &mut files);
    for path in files {
        let (all, path) = (std::fs::read_to_string(&path).unwrap().lines().count(), path.display());
        assert!(
            all <= MAX_LINES_WITH_TESTS,
            "{path} has {all} lines: give its tests, or some of them, a file of their own"
        );
    }
}

#[test]
fn no_folder_is_fuller_than_it_can_be_looked_over() {
    let mut folders = BTreeMap::new();
    let mut files = Vec::new();
    collect_all(&root().join("src"), &mut files);
    for path in files {
        *folders.entry(path.parent().unwrap().to_owned()).or_insert(0) += 1;
    }
    for (folder, files) in folders {
        assert!(files <= MAX_FILES, "{} has {files} files, and may have {MAX_FILES}: give it rooms", folder.display());
    }
}

#[test]
fn nothing_lies_in_the_root_that_does_not_belong_there() {
    let ignored = read(".gitignore");
    let is_ignored = |name: &str| {
        ignored.lines().any(|line| match line.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => line.strip_prefix('/') == Some(name),
        })
    };
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = ROOT.contains(&name.as_str()) || is_ignored(&name);
        assert!(known, "{name} lies in the root: does it belong there? Then list it here");
    }
    for name in ROOT.into_iter().filter(|name| *name != ".git") {
        assert!(root().join(name).exists(), "{name} is not there any more: take it off the list");
    }
}

#[test]
fn the_package_holds_the_crate_and_nothing_else() {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let listed = cargo.args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(root()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(listed.stdout).unwrap(), String::from_utf8_lossy(&listed.stderr));
    assert!(listed.status.success(), "{stderr}");
    let packed: BTreeSet<String> = stdout.lines().map(|line| line.replace('\\', "/")).collect();
    for path in &packed {
        let page = path.strip_prefix("docs/").and_then(|page| page.strip_suffix(".md"));
        let page = page.is_some_and(|page| !page.contains('/'));
        let known = path.starts_with("src/") || page || PACKED.contains(&path.as_str());
        assert!(known, "cargo package packs {path}: see `include` in Cargo.toml");
    }
    for Source { path, .. } in sources() {
        assert!(packed.contains(&format!("src/{path}")), "cargo package leaves out src/{path}");
    }
}

/// Waiting for the thing itself is quicker than a pause, and holds on a busy machine.
#[test]
fn tests_sleep_in_one_place() {
    for (path, text) in tests() {
        let sleeps = text.lines().any(|line| line.contains("sleep(") && !line.contains(".sleep()"));
        let allowed = ["tests/it/support/time.rs", "tests/it/tidy.rs"].contains(&path.as_str());
        assert!(allowed || !sleeps, "{path} sleeps: wait for what it waits for, by `until`; see support/time.rs");
    }
}

/// A test that checks nothing fails where everything is to be checked; see support/skipped.rs.
#[test]
fn tests_are_skipped_in_one_place() {
    for (path, text) in tests() {
        let says = text.to_lowercase().contains("\"skip");
        let allowed = ["tests/it/support/skipped.rs", "tests/it/tidy.rs"].contains(&path.as_str());
        assert!(allowed || !says, "{path} says that it is skipped: call `skipped`, which fails in CI");
    }
}

/// The files of `tests/it`, with their text.
fn tests() -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(&root().join("tests/it"), &mut files);
    assert!(files.len() > 50, "the scan has found {} files only", files.len());
    let named = |path: PathBuf| path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
    files.into_iter().map(named).map(|path| (path.clone(), read(&path))).collect()
}

/// One file of `src/`: its path there, and its code without comments and tests.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) code: String,
}

pub(crate) fn sources() -> Vec<Source> {
    let root = root().join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 50, "the scan has found {} files only", files.len());
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        Source { path, code: code(&text) }
    };
    files.into_iter().map(read).collect()
}

/// Every file of Rust, tests too.
pub(crate) fn collect_all(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_all(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && stem != "tests"
            && stem != "testing"
            && !stem.ends_with("_tests")
        {
            files.push(path);
        }
    }
}

/// What is compiled into the program: tests come last in a file, and comments are talk.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default();
        if line == "#[cfg(test)]" && (next.starts_with("mod tests") || next.starts_with("#[path")) {
            break;
        }
        // `//` after a colon is a URL in a string.
        let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':')).map(|(at, _)| at);
        code.push_str(comment.map_or(line, |at| &line[..at]));
        code.push('\n');
    }
    code
}

/// True if the word stands there as a path or macro of its own, and not at the end of another.
fn uses(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || matches!(before, '_' | '"' | '`'))
    })
}

/// The folder or file of `src/` that a path belongs to.
fn area(path: &str) -> String {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

/// What follows `crate::` (`attache::` in the binary), also in braces.
fn crate_paths(path: &str, code: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_').collect()
    };
    let library = if path == "main.rs" { "attache::" } else { "crate::" };
    let mut found = BTreeSet::new();
    for rest in code.split(library).skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => found.extend(list.split('}').next().unwrap_or_default().split(',').map(name)),
            None => drop(found.insert(name(rest))),
        }
    }
    found.remove("");
    found
}

/// The first word of each line of the code map: a file of `src/`, or a folder.
fn code_map(architecture: &str) -> BTreeSet<String> {
    let map = fenced(section(architecture, "## Code map")).into_iter().next().map(|(_, text)| text).unwrap_or_default();
    let names = map.lines().filter(|line| line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// The lines `from → to, to` of the architecture's section on arrows.
fn arrows(architecture: &str) -> BTreeSet<(String, String)> {
    let text = fenced(section(architecture, "## Arrows")).into_iter().next().map(|(_, text)| text).unwrap_or_default();
    let mut arrows = BTreeSet::new();
    for (from, targets) in text.lines().filter_map(|line| line.split_once('→')) {
        for to in targets.split(',') {
            arrows.insert((from.trim().to_owned(), to.trim().to_owned()));
        }
    }
    assert!(!arrows.is_empty(), "ARCHITECTURE.md has no arrows");
    arrows
}

/// From this heading to the next of its kind.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{heading:?} is not there"));
    let rest = &text[start + 1..];
    rest[1..].find("\n## ").map_or(rest, |end| &rest[..=end])
}

/// The fenced blocks, with their languages.
pub(crate) fn fenced(text: &str) -> Vec<(&str, &str)> {
    let inside = text.split("\n```").skip(1).step_by(2);
    inside.filter_map(|block| block.split_once('\n')).map(|(language, text)| (language.trim(), text)).collect()
}

/// Environment variables that the examples name and a test has not got.
pub(crate) fn with_secrets(toml: &str) -> String {
    ["ORDERS_CLIENT_SECRET", "ORDERS_SECRET", "SEARCH_API_KEY"]
        .iter()
        .fold(toml.to_owned(), |text, name| text.replace(&format!("env = \"{name}\""), "env = \"CARGO_MANIFEST_DIR\""))
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}
