//! What the fuzz targets (fuzz/) have been given or have found, once more.

use std::path::Path;

use attache::config::Config;
use attache::proxy::{parse_challenges, spoken, verdict};
use attache::upstream::{Authority, Host};
use attache::{listen, oauth, proxy, renewal, route, upstream};
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

/// What a target makes of the whole of its input.
type Target = fn(&[u8]) -> Result<(), String>;

fn replayed(target: &str, holds: Target) {
    for (name, bytes) in corpus(target) {
        assert_eq!(holds(&bytes), Ok(()), "{name}");
    }
}

#[test]
fn every_target_is_built_and_has_a_corpus() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let replays = include_str!("fuzz_corpus.rs");
    for entry in std::fs::read_dir(fuzz.join("fuzz_targets")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not in fuzz/Cargo.toml");
        let replayed = [format!("replayed(\"{name}\""), format!("corpus(\"{name}\")")];
        assert!(replayed.iter().any(|call| replays.contains(call)), "{name} is not replayed here");
        assert!(fuzz.join("corpus").join(name).is_dir(), "{name} has no corpus");
    }
}

#[test]
fn token_responses() {
    replayed("token_response", oauth::fuzzing::token_response);
}

#[test]
fn answers_of_http1_upstreams() {
    replayed("response_head", upstream::fuzzing::answer);
}

#[test]
fn bodies_of_http1_upstreams() {
    replayed("chunks", upstream::fuzzing::chunks);
}

#[test]
fn bodies_that_are_sent_again() {
    replayed("replay", proxy::fuzzing::replay);
}

#[test]
fn histories_of_refusals() {
    replayed("renewal", renewal::fuzzing::history);
}

#[test]
fn paths_that_servers_read_each_in_its_own_way() {
    replayed("path", route::fuzzing::path);
}

#[test]
fn frames_of_callers() {
    replayed("frames", listen::fuzzing::frames);
}

#[test]
fn heads_of_callers() {
    replayed("request_heads", listen::fuzzing::heads);
}

#[test]
fn callers_in_socks() {
    replayed("socks", listen::fuzzing::socks);
}

#[test]
fn basic_pairs() {
    for (name, bytes) in corpus("basic") {
        let text = String::from_utf8(bytes).unwrap();
        let (id, secret) = text.split_once('\0').unwrap_or((&text, ""));
        assert_eq!(oauth::fuzzing::basic(id, secret), Ok(()), "{name}");
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
