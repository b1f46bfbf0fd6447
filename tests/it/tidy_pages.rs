//! What the compiler does not check about the pages: that they are true, and in plain words.

use std::path::Path;

use attache::config::Config;

use crate::support::Folder;
use crate::tidy::{WORDS, collect_all, fenced, read, root, with_secrets};

#[test]
fn the_readme_begins_with_the_two_commands() {
    let readme = read("README.md");
    let first = fenced(&readme).into_iter().next().map(|(_, text)| text).unwrap_or_default();
    for command in ["cargo run --release -- demo", "cargo test"] {
        assert!(first.lines().any(|line| line.starts_with(command)), "the first block of README.md lacks {command:?}");
    }
}

#[test]
fn the_reference_configuration_loads() {
    let errors = Config::parse("proxy.toml", &with_secrets(&read("proxy.toml"))).err();
    assert!(errors.is_none(), "{}", errors.unwrap());
}

#[test]
fn the_configuration_in_the_readme_and_that_of_the_examples_are_one_valid_file_each() {
    for page in ["README.md", "docs/examples.md"] {
        let text = read(page);
        let blocks: Vec<_> = fenced(&text).into_iter().filter(|(language, _)| *language == "toml").collect();
        assert!(!blocks.is_empty());
        let file = blocks.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n");
        let dir = Folder::new();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "sentinel").unwrap();
        let file = file.replace("/run/secrets/billing", secret.to_str().unwrap());
        let read = Config::parse(page, &with_secrets(&file));
        let read = read.unwrap_or_else(|errors| panic!("{errors}\n{file}"));
        assert_eq!(read.warnings, []);
    }
}

#[test]
fn the_readme_is_an_overview() {
    let length = read("README.md").len();
    assert!(length <= 9 * 1024, "README.md has {length} bytes, and may have 9 KiB: details belong into docs/");
}

/// In pages and comments, `folder/file.rs` is a file whose path ends so.
#[test]
fn files_that_are_named_are_there() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        collect_all(&root().join(folder), &mut files);
    }
    let there: Vec<String> =
        files.iter().map(|file| format!("/{}", file.strip_prefix(root()).unwrap().display())).collect();
    let texts = files.iter().map(|file| file.strip_prefix(root()).unwrap().display().to_string());
    let texts = texts.filter(|file| !["tidy.rs", "tidy_pages.rs", "circles.rs"].iter().any(|own| file.ends_with(own)));
    for page in pages().into_iter().chain(texts) {
        let text = read(&page);
        for named in text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | '-' | ':'))) {
            let named = named.trim_end_matches(['.', ':']).trim_start_matches("../");
            let rust = Path::new(named).extension().is_some_and(|extension| extension == "rs");
            let is_path = rust && named.contains('/') && !named.contains("://") && !named.starts_with("docs.rs");
            if is_path {
                let end = format!("/{named}");
                assert!(there.iter().any(|file| file.ends_with(&end)), "{page} names {named}, which is not there");
            }
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in pages() {
        let text = read(&page);
        let folder = Path::new(&page).parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let there = if path.is_empty() { page.clone().into() } else { folder.join(path) };
            assert!(root().join(&there).exists(), "{page} links to {link}, which is not there");
            if !heading.is_empty() {
                let known = read(there.to_str().unwrap()).lines().any(|line| anchor(line) == heading);
                assert!(known, "{page} links to {link}, and there is no such heading");
            }
        }
    }
}

#[test]
fn pages_and_sources_are_in_plain_words() {
    for page in pages().into_iter().chain(["proxy.toml".to_owned()]) {
        assert_plain(&page);
    }
    let mut files = vec![root().join("src/config/generate/keys.txt"), root().join("tests/clients/install.sh")];
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        collect_all(&root().join(folder), &mut files);
    }
    // This file has the list.
    for path in files.iter().filter(|path| !path.ends_with("tests/it/tidy.rs")) {
        assert_plain(path.strip_prefix(root()).unwrap().to_str().unwrap());
    }
}

#[test]
fn what_contributors_are_sent_to_is_there() {
    let page = read("CONTRIBUTING.md");
    let named = page.split('`').skip(1).step_by(2).filter(|text| {
        ["src/", "tests/", "contrib/", "docs/"].iter().any(|folder| text.starts_with(folder)) && !text.contains(' ')
    });
    let mut count = 0;
    for path in named {
        assert!(root().join(path).exists(), "CONTRIBUTING.md names {path}, which is not there");
        count += 1;
    }
    assert!(count > 10, "{count}");
}

/// What `docs/credentials.md` shows is what attache takes, with the files that it names beside it.
#[test]
fn every_configuration_in_the_page_on_credentials_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["me".to_owned()]).unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, text) in [
        ("ca.pem", made.cert.pem()),
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
        ("service-account.json", r#"{"private_key":"x"}"#.to_owned()),
        ("new.secret", "x".to_owned()),
        ("old.secret", "x".to_owned()),
        ("static.token", "x".to_owned()),
        ("jwt", "a.b.c".to_owned()),
    ] {
        std::fs::write(path(name), text).unwrap();
    }
    let page = read("docs/credentials.md");
    let blocks: Vec<_> = fenced(&page).into_iter().filter(|(language, _)| *language == "toml").collect();
    assert!(blocks.len() > 8, "{}", blocks.len());
    for (_, block) in blocks {
        let text = block.replace("{ env = \"SECRET\" }", "{ file = \"new.secret\" }");
        let text = text.replace("/var/run/secrets/tokens/login", "jwt");
        let listener = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";
        std::fs::write(path("proxy.toml"), format!("{listener}{text}")).unwrap();
        Config::load(&path("proxy.toml")).unwrap_or_else(|errors| panic!("{errors}\n{block}"));
    }
}

/// The same of `docs/egress.md`.
#[test]
fn every_configuration_in_the_page_on_egress_is_understood() {
    let page = read("docs/egress.md");
    let blocks: Vec<_> = fenced(&page).into_iter().filter(|(language, _)| *language == "toml").collect();
    assert_eq!(blocks.len(), 2);
    for (_, block) in blocks {
        let listener = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";
        let text = with_secrets(&format!("{listener}{block}").replace("env = \"SECRET\"", "env = \"ORDERS_SECRET\""));
        let read = Config::parse("docs/egress.md", &text).unwrap_or_else(|errors| panic!("{errors}\n{block}"));
        assert_eq!(read.warnings, []);
    }
}

/// The same of `docs/fleet.md`, with a credential that shares.
#[test]
fn every_configuration_in_the_page_on_the_fleet_is_understood() {
    let page = read("docs/fleet.md");
    let folder = Folder::new();
    let path = |name: &str| folder.path().join(name);
    for name in ["cache.key", "new.key", "old.key", "cache.password", "sentinel.password"] {
        std::fs::write(path(name), "a text of thirty-two characters and more").unwrap();
    }
    let blocks: Vec<_> = fenced(&page).into_iter().filter(|(language, _)| *language == "toml").collect();
    assert_eq!(blocks.len(), 3);
    for (_, block) in blocks {
        let credential = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[credentials.a]\ntoken_endpoint = \"https://login.test/t\"\nclient_id = \"a\"\nclient_auth = \"none\"\n[upstreams.a]\norigin = \"https://a.test\"\ncredential = \"a\"\n";
        std::fs::write(path("proxy.toml"), format!("{credential}{block}")).unwrap();
        let read = Config::load(&path("proxy.toml")).unwrap_or_else(|errors| panic!("{errors}\n{block}"));
        assert_eq!(read.warnings, []);
    }
}

/// The same of `docs/routing.md`.
#[test]
fn every_configuration_in_the_page_on_routing_is_understood() {
    let page = read("docs/routing.md");
    let blocks: Vec<_> = fenced(&page).into_iter().filter(|(language, _)| *language == "toml").collect();
    assert_eq!(blocks.len(), 2);
    for (_, block) in blocks {
        let callers = if block.contains("[callers.") { "callers = [\"shop\", \"warehouse\"]\n" } else { "" };
        let listener = format!("[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n{callers}");
        let text = with_secrets(&format!("{listener}{block}").replace("env = \"SECRET\"", "env = \"ORDERS_SECRET\""));
        let read = Config::parse("docs/routing.md", &text).unwrap_or_else(|errors| panic!("{errors}\n{block}"));
        assert_eq!(read.warnings, []);
    }
}

/// A second page about security is one that becomes wrong: README.md says where the one is, and no more.
#[test]
fn one_page_speaks_of_security() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("\n## Security\n").expect("README.md has a section on security");
    let section = section.split("\n## ").next().unwrap();
    for page in ["(docs/security.md)", "(SECURITY.md)"] {
        assert!(section.contains(page), "the section on security in README.md links to {page}");
    }
    let lines = section.lines().filter(|line| !line.is_empty()).count();
    assert!(
        lines <= 3 && section.len() < 600 && !section.contains("- "),
        "what there is to say about security is said in docs/security.md, and README.md links there"
    );
}

/// Each row of a table of docs/security.md names the tests of what it says, and they are there.
#[test]
fn what_the_security_page_says_is_tested_where_it_says() {
    let page = read("docs/security.md");
    let rows =
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| threat ") && line.contains(" | "));
    let mut named = 0;
    for row in rows.filter(|row| !row.contains("| test |") && !row.contains("where it is tested")) {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test stands in {row}");
        for name in names {
            let file = name.strip_prefix("tests/it/").unwrap_or(name);
            let module = name.replace("::", "/");
            let places = [
                format!("tests/it/{file}"),
                name.to_owned(),
                format!("src/{module}.rs"),
                format!("src/{module}/mod.rs"),
            ];
            let there = places.iter().any(|place| root().join(place).is_file());
            assert!(there, "docs/security.md names {name}, which is not there: {row}");
            named += 1;
        }
    }
    assert!(named > 40, "only {named} tests are named");
}

/// The pages for users and contributors.
fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let others =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benches/README.md", "contrib/README.md"];
    docs.map(|path| format!("docs/{}", path.file_name().unwrap().display())).chain(others.map(str::to_owned)).collect()
}

/// How a heading is linked to, as GitHub makes it.
fn anchor(line: &str) -> String {
    let Some(heading) = line.strip_prefix('#') else { return String::new() };
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[track_caller]
fn assert_plain(path: &str) {
    for (number, line) in read(path).lines().enumerate() {
        let line = line.to_lowercase();
        for (word, plain) in WORDS {
            assert!(!line.contains(word), "{path}:{}: {word:?}: write {plain}", number + 1);
        }
    }
}
