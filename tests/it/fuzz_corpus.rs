//! What the fuzz targets (fuzz/) have been given or have found, once more.

use std::path::Path;

use attache::config::Config;
use attache::oauth::fuzzing;
use attache::proxy::{parse_challenges, spoken, verdict};
use attache::upstream::{Authority, Host};
use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};

/// Every entry of a corpus, by its name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
    };
    let corpus: Vec<_> = entries.map(read).collect();
    assert!(corpus.len() >= 15, "the corpus of {target} has {} entries", corpus.len());
    corpus
}

#[test]
fn token_responses() {
    for (name, bytes) in corpus("token_response") {
        assert_eq!(fuzzing::token_response(&bytes), Ok(()), "{name}");
    }
}

#[test]
fn basic_pairs() {
    for (name, bytes) in corpus("basic") {
        let text = String::from_utf8(bytes).unwrap();
        let (id, secret) = text.split_once('\0').unwrap_or((&text, ""));
        assert_eq!(fuzzing::basic(id, secret), Ok(()), "{name}");
    }
}

#[test]
fn challenges() {
    for (name, bytes) in corpus("challenge") {
        let value = HeaderValue::from_bytes(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(parse_challenges(&value).iter().all(|challenge| !challenge.scheme.is_empty()), "{name}");
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, value);
        let _verdict = verdict(&headers, |scheme| scheme.eq_ignore_ascii_case("bearer"));
    }
}

#[test]
fn first_bytes_of_tunnels() {
    for (name, bytes) in corpus("first_bytes") {
        let told = spoken(&bytes);
        for earlier in (0..bytes.len()).filter_map(|end| spoken(&bytes[..end])) {
            assert_eq!(Some(earlier), told, "{name}");
        }
    }
}

#[test]
fn authorities() {
    for (name, bytes) in corpus("authority") {
        let text = String::from_utf8(bytes).unwrap();
        let Ok(authority) = Authority::parse(&text) else { continue };
        assert_eq!(Host::parse(&authority.host).unwrap().as_str(), &*authority.host, "{name}");
    }
}

#[test]
fn configurations() {
    for (name, bytes) in corpus("config") {
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.split('\n').count();
        let Err(errors) = Config::parse("proxy.toml", &text) else { continue };
        assert!(!errors.problems.is_empty(), "{name}");
        let places: Vec<usize> =
            errors.problems.iter().filter_map(|problem| problem.at).map(|(line, _)| line).collect();
        assert!(places.iter().all(|line| (1..=lines).contains(line)), "{name}: {places:?}");
    }
}
